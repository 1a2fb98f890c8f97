#include "cli/commands.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <charconv>
#include <format>
#include <optional>

#include "base/duration.hpp"
#include "cli/completion.hpp"
#include "cli/doctor.hpp"
#include "cli/ha_certificates.hpp"
#include "cli/render_ha.hpp"
#include "cli/session.hpp"
#include "cli/upgrade/commands.hpp"

namespace gw::cli {
namespace {

using std::chrono::seconds;

constexpr seconds kLongestConfirm = std::chrono::hours(24);

// Of `diff`'s words: a number is a revision, anything else a file.
std::optional<std::uint32_t> revision_number(const std::string& word) {
  std::uint32_t n = 0;
  const auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), n);
  if (ec != std::errc() || end != word.data() + word.size() || n == 0) return std::nullopt;
  return n;
}

// One run: the tree is built, the words are parsed into the members, and the chosen command's action runs.
class Program {
 public:
  explicit Program(const Surroundings& surroundings)
      : surroundings_(surroundings), app_("Looks into the gateway and configures it (client of gwd).", "gwctl") {
    socket_ = surroundings.default_socket;
    app_.fallthrough();  // --json and --socket may stand anywhere
    app_.require_subcommand(1);
    app_.add_option("--socket", socket_, std::format("gwd's socket [{}]; also $GWD_SOCKET", kDefaultSocket))
        ->type_name("SOCKET");
    app_.add_option("--timeout", timeout_, "how long to wait for gwd [30s]")->type_name("DURATION");
    app_.add_flag("--json", json_, "print gwd's answer as JSON");
    app_.set_version_flag("--version", surroundings.version, "print gwctl's version");
    app_.footer(
        "Examples:\n  gwctl status\n  gwctl show tunnels --watch 2\n  gwctl apply --confirm 5m\n\n"
        "Exit codes: 0 yes, 1 gwd says no (doctor: findings), 2 wrong usage, 3 gwd does not answer, 4 --check found "
        "something down");
    add_status();
    add_show();
    add_routes();
    add_doctor();
    add_configuration();
    add_history();
    add_ha();
    add_upgrade();
    add_completion();
  }

  int run(const std::vector<std::string>& words) {
    try {
      app_.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    } catch (const CLI::ParseError& e) {
      return not_parsed(e);
    }
    const auto timeout = parse_duration(timeout_);
    if (!timeout || timeout->count() == 0)
      return usage(std::format("--timeout: {} (expected e.g. 30s)", timeout ? "is 0" : timeout.error().message));
    session_.emplace(surroundings_, Session::Target{socket_, *timeout}, json_ ? Format::kJson : Format::kText);
    return action_();
  }

 private:
  using Action = std::function<int()>;

  int usage(const std::string& message) const {
    surroundings_.err << "gwctl: " << message << "\n";
    return kUsage;
  }

  /// --help is no error; an unknown word is named, with what could stand there.
  int not_parsed(const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app_.exit(error, surroundings_.out, surroundings_.err);
    const CLI::App* deepest = &app_;
    while (!deepest->get_subcommands().empty()) deepest = deepest->get_subcommands().front();
    const std::string help = std::format("{} --help", command_line(*deepest));
    const std::vector<std::string> unknown = app_.remaining(true);
    std::string known;
    for (const CLI::App* sub : deepest->get_subcommands([](const CLI::App*) { return true; }))
      known += (known.empty() ? "" : ", ") + sub->get_name();
    const auto is = [&error](CLI::ExitCodes code) { return error.get_exit_code() == static_cast<int>(code); };
    if (unknown.empty() && is(CLI::ExitCodes::RequiredError))
      return usage(std::format("'{}' needs one of {} (see {})", command_line(*deepest), known, help));
    const std::string_view what = error.what();
    if (unknown.empty() && is(CLI::ExitCodes::ArgumentMismatch) && what.ends_with(" missing"))
      return usage(std::format("{} needs a value (see {})", what.substr(0, what.find(':')), help));
    if (unknown.empty()) return usage(std::format("{} (see {})", what, help));
    return usage(std::format("unknown word '{}' ({}see {})", unknown.front(),
                             known.empty() ? "" : "expected " + known + "; ", help));
  }

  static std::string command_line(const CLI::App& app) {
    return app.get_parent() == nullptr ? app.get_name() : command_line(*app.get_parent()) + " " + app.get_name();
  }

  CLI::App& command(CLI::App& parent, const std::string& name, const std::string& what, const std::string& examples) {
    CLI::App& sub = *parent.add_subcommand(name, what);
    sub.footer("Examples:\n" + examples);
    return sub;
  }
  void does(CLI::App& sub, Action action) {
    sub.callback([this, action = std::move(action)] { action_ = action; });
  }

  // --- show -------------------------------------------------------------------------------------

  void can_watch(CLI::App& sub) {
    sub.add_option("--watch", watch_, "again every N seconds, until Ctrl-C")
        ->type_name("N")
        ->check(CLI::Range(1, 3600));
  }
  void can_check(CLI::App& sub) { sub.add_flag("--check", check_, "exit with 4 if something is not up"); }

  /// Asks, prints, and asks again as long as --watch wants.
  template <class Reply>
  int show(const std::string& target) {
    while (true) {
      Reply reply;
      if (const Exit asked = session_->ask(get(target), reply); asked != kOk) return asked;
      if (watch_ != 0 && surroundings_.style == Style::kColoured)
        surroundings_.out << "\033[H\033[2J";  // to the top, clear
      if (json_)
        session_->print_json(reply);
      else
        surroundings_.out << render(reply, view());
      surroundings_.out.flush();
      if (watch_ == 0 || !surroundings_.pause(seconds(watch_))) return verdict(reply);
    }
  }

  View view() const {
    View view = session_->view();
    if (details_) view.detail = Detail::kLong;
    return view;
  }

  template <class Reply>
  int verdict(const Reply& reply) const {
    if constexpr (requires { all_up(reply); })
      if (check_ && !all_up(reply)) return kNotUp;
    return kOk;
  }

  template <class Reply>
  CLI::App& add_view(CLI::App& parent, const std::string& name, const std::string& what, const std::string& target,
                     const std::string& examples) {
    CLI::App& sub = command(parent, name, what, examples);
    can_watch(sub);
    if constexpr (requires(Reply reply) { all_up(reply); }) can_check(sub);
    does(sub, [this, target] { return show<Reply>(target); });
    return sub;
  }

  void add_status() {
    add_view<api::StatusReply>(app_, "status", "The gateway at a glance: revision, components", "/v1/status",
                               "  gwctl status\n  gwctl status --check && echo all well");
  }

  void add_show() {
    CLI::App& show_app =
        command(app_, "show", "Show tunnels, BGP, routes, counters, configuration",
                "  gwctl show tunnels\n  gwctl show bgp learned 169.254.21.2\n  gwctl --json show sas");
    show_app.require_subcommand(1);
    add_view<api::TunnelsReply>(show_app, "tunnels", "Every tunnel with its state, and why it is not up", "/v1/tunnels",
                                "  gwctl show tunnels\n  gwctl show tunnels --details\n  gwctl show tunnels --watch 2\n"
                                "  gwctl show tunnels --check || alert")
        .add_flag("--details", details_, "endpoint, IKE proposal, and why ESP is in UDP or not");
    add_view<api::SasReply>(show_app, "sas", "The security associations in the fast path", "/v1/sas",
                            "  gwctl show sas\n  gwctl show sas --json");
    add_bgp(show_app);
    CLI::App& routes = command(show_app, "routes", "Effective routes: every candidate, and why the best is the best",
                               "  gwctl show routes\n  gwctl show routes 10.20.0.0/16");
    can_watch(routes);
    routes.add_option("PREFIX", prefix_, "only this prefix");
    does(routes, [this] { return show<api::RoutesReply>(routes_target()); });
    add_view<api::CountersReply>(show_app, "counters", "Packets by side, and dropped ones by reason", "/v1/counters",
                                 "  gwctl show counters --watch 1");
    add_view<api::InterfacesReply>(show_app, "interfaces", "The fast path's ports and how they are attached",
                                   "/v1/interfaces", "  gwctl show interfaces");
    CLI::App& config =
        command(show_app, "config", "The running document, as it was applied", "  gwctl show config > gateway.yaml");
    does(config, [this] { return show_config(); });
    add_view<api::RevisionsReply>(show_app, "revisions", "What was applied when; * runs", "/v1/config/revisions",
                                  "  gwctl show revisions\n  gwctl diff 3 5");
  }

  std::string routes_target() const {
    return prefix_.empty() ? "/v1/routes" : "/v1/routes?prefix=" + percent_encode(prefix_);
  }

  void add_routes() {
    CLI::App& routes = command(app_, "routes", "Why traffic goes where it goes, and what would be if",
                               "  gwctl routes effective 10.20.0.0/16\n  gwctl routes what-if --circuit-down");
    routes.require_subcommand(1);
    CLI::App& effective =
        command(routes, "effective", "Every candidate: the step that decided, the line of policy, where it came from",
                "  gwctl routes effective\n  gwctl routes effective 10.20.0.0/16\n  gwctl routes effective 10.20.1.7");
    can_watch(effective);
    effective.add_option("PREFIX", prefix_, "only this prefix, or the longest that has this address");
    does(effective, [this] {
      details_ = true;
      return show<api::RoutesReply>(routes_target());
    });
    CLI::App& what_if = command(routes, "what-if", "What would move, on the live routes; nothing is touched",
                                "  gwctl routes what-if --peer-down paris-ce1/gw-a\n"
                                "  gwctl routes what-if --circuit-down\n"
                                "  gwctl routes what-if -f new.yaml\n"
                                "  gwctl routes what-if -f new.yaml --circuit-down");
    what_if.add_option("-f,--file", file_, "this document runs")->type_name("FILE");
    what_if.add_option("--peer-down", peers_down_, "this source's session is gone; more than once for more")
        ->type_name("SOURCE");
    what_if.add_flag("--circuit-down", circuit_down_, "all sessions of the circuit are gone");
    does(what_if, [this] { return what_if_routes(); });
  }

  int what_if_routes() {
    api::WhatIfRequest request;
    if (!file_.empty()) {
      api::ConfigRequest document;
      if (const Exit read = session_->read_document(file_, document); read != kOk) return read;
      request.set_document(document.document());
      request.set_file(document.file());
    }
    for (const std::string& name : peers_down_) request.add_peers_down(name);
    request.set_circuit_down(circuit_down_);
    api::WhatIfReply reply;
    if (const Exit asked = session_->ask(post("/v1/routes/what-if", request), reply); asked != kOk) return asked;
    if (json_) return session_->print_json(reply), kOk;
    for (const api::Finding& finding : reply.warnings()) surroundings_.err << render(finding) << "\n";
    surroundings_.out << render(reply, view());
    return kOk;
  }

  // --- doctor -----------------------------------------------------------------------------------

  void add_doctor() {
    CLI::App& doctor =
        command(app_, "doctor", "What is wrong, why, what it leads to and what to do; exit code 1 if anything",
                "  gwctl doctor\n  gwctl doctor --json | jq '.findings[].name'\n"
                "  gwctl doctor --bundle gw-support-hub-gw-a-20260131-120000.tar.gz");
    doctor.add_option("--bundle", bundle_, "of the gateway that this support bundle is of; asks no gwd")
        ->type_name("FILE");
    does(doctor, [this] { return bundle_.empty() ? examine_gateway(*session_) : examine_bundle(*session_, bundle_); });
    CLI::App& support = command(app_, "support-bundle", "One file with all that explains this gateway; no secrets",
                                "  gwctl support-bundle\n  gwctl support-bundle /tmp/hub.tar.gz");
    support.add_option("FILE", file_, "where to [a name with gateway, instance and time]")->type_name("FILE");
    does(support, [this] { return write_bundle(*session_, file_); });
  }

  void add_bgp(CLI::App& parent) {
    CLI::App& bgp =
        command(parent, "bgp", "BGP peers and routes",
                "  gwctl show bgp\n  gwctl show bgp learned\n  gwctl show bgp advertised --peer 169.254.21.2");
    bgp.require_subcommand(0, 1);
    can_watch(bgp);
    can_check(bgp);
    // Runs after the callback of `peers`, `learned` or `advertised`, if one of these was given.
    bgp.callback([this] {
      if (!action_) action_ = [this] { return show<api::BgpPeersReply>("/v1/bgp/peers"); };
    });
    add_view<api::BgpPeersReply>(bgp, "peers", "State of each session", "/v1/bgp/peers",
                                 "  gwctl show bgp peers --check");
    add_bgp_routes(bgp, "learned", "Routes learned from the sites");
    add_bgp_routes(bgp, "advertised", "Routes announced to the sites");
  }

  void add_bgp_routes(CLI::App& parent, const std::string& name, const std::string& what) {
    CLI::App& sub =
        command(parent, name, what, std::format("  gwctl show bgp {}\n  gwctl show bgp {} 169.254.21.2", name, name));
    can_watch(sub);
    CLI::Option* positional = sub.add_option("PEER", peer_, "only this neighbour");
    sub.add_option("--peer", peer_, "the same")->type_name("ADDRESS")->excludes(positional);
    does(sub, [this, name] {
      const std::string target = "/v1/bgp/" + name;
      return show<api::BgpRoutesReply>(peer_.empty() ? target : target + "?peer=" + percent_encode(peer_));
    });
  }

  int show_config() {
    api::ConfigReply reply;
    if (const Exit asked = session_->ask(get("/v1/config"), reply); asked != kOk) return asked;
    if (json_)
      session_->print_json(reply);
    else
      surroundings_.out << reply.document();
    return kOk;
  }

  // --- configuration ----------------------------------------------------------------------------

  void takes_file(CLI::App& sub) {
    CLI::Option* positional =
        sub.add_option("FILE", file_, std::format("the document [{}]", kDefaultConfig))->type_name("FILE");
    sub.add_option("-f,--file", file_, "the same")->type_name("FILE")->excludes(positional);
  }

  void add_configuration() {
    CLI::App& validate = command(app_, "validate", "Check a document; nothing changes",
                                 "  gwctl validate\n  gwctl validate -f new.yaml");
    takes_file(validate);
    does(validate, [this] { return validate_document(); });
    CLI::App& apply =
        command(app_, "apply", "Bring the gateway to a document, all of it or nothing",
                "  gwctl apply\n  gwctl apply -f new.yaml --confirm 5m --comment \"paris moves\"\n  gwctl confirm");
    takes_file(apply);
    apply.add_option("--confirm", confirm_, "go back after this time unless `gwctl confirm` says it is good")
        ->type_name("DURATION");
    apply.add_option("--comment", comment_, "for `show revisions`")->type_name("TEXT");
    applies_alone(apply);
    does(apply, [this] { return apply_document(); });
    CLI::App& confirm = command(app_, "confirm", "Keep what `apply --confirm` applied", "  gwctl confirm");
    does(confirm, [this] {
      api::ConfigReply reply;
      return report(session_->ask(post("/v1/config/confirm", reply), reply), reply, "confirmed");
    });
  }

  void applies_alone(CLI::App& sub) {
    sub.add_flag("--alone", alone_, "of two instances: here, although the other does not answer; it follows later");
  }

  std::string file() const { return file_.empty() ? kDefaultConfig : file_; }

  void warn(const api::ConfigReply& reply) const {
    for (const api::Finding& finding : reply.warnings()) surroundings_.err << render(finding) << "\n";
  }

  int validate_document() {
    api::ConfigRequest request;
    if (const Exit read = session_->read_document(file(), request); read != kOk) return read;
    api::ConfigReply reply;
    if (const Exit asked = session_->ask(post("/v1/config/validate", request), reply); asked != kOk) return asked;
    if (json_) return session_->print_json(reply), kOk;
    warn(reply);
    surroundings_.out << std::format(
        "{} is valid; {}\n", request.file(),
        reply.changes().empty() ? "it changes nothing"
                                : std::format("applying it makes {} change{} (gwctl diff -f {})", reply.changes_size(),
                                              reply.changes_size() == 1 ? "" : "s", file()));
    return kOk;
  }

  int apply_document() {
    api::ConfigRequest request;
    if (!confirm_.empty()) {
      const auto within = parse_duration(confirm_);
      if (!within || *within < seconds(1) || *within > kLongestConfirm)
        return usage(std::format("--confirm: {} (expected 1s to 24h, e.g. 5m)",
                                 within ? std::format("{} is out of range", confirm_) : within.error().message));
      request.set_confirm_seconds(static_cast<std::uint32_t>(std::chrono::ceil<seconds>(*within).count()));
    }
    if (const Exit read = session_->read_document(file(), request); read != kOk) return read;
    request.set_comment(comment_);
    request.set_alone(alone_);
    api::ConfigReply reply;
    return report(session_->ask(post("/v1/config/apply", request), reply), reply, "applied");
  }

  /// The outcome of what changed the running revision.
  int report(Exit asked, const api::ConfigReply& reply, std::string_view done) const {
    if (asked != kOk) return asked;
    if (json_) return session_->print_json(reply), kOk;
    warn(reply);
    const bool nothing = reply.changes().empty() && done == "applied" && reply.confirm_seconds() == 0;
    if (!reply.changes().empty()) surroundings_.out << render_changes(reply, session_->view());
    surroundings_.out << (nothing ? std::format("no changes: revision {} has it already\n", reply.revision())
                                  : std::format("revision {} {}\n", reply.revision(), done));
    if (reply.confirm_seconds() != 0)
      surroundings_.out << std::format("gwd goes back in {} unless you say: gwctl confirm\n",
                                       human_duration(seconds(reply.confirm_seconds())));
    return kOk;
  }

  // --- history ----------------------------------------------------------------------------------

  void add_history() {
    CLI::App& rollback =
        command(app_, "rollback", "Apply an earlier revision again", "  gwctl rollback\n  gwctl rollback 12");
    rollback.add_option("N", revision_, "the revision [the one before the running one]")
        ->type_name("N")
        ->check(CLI::Range(1U, 4294967295U));
    applies_alone(rollback);
    does(rollback, [this] {
      api::RollbackRequest request;
      request.set_alone(alone_);
      request.set_revision(revision_);
      api::ConfigReply reply;
      return report(session_->ask(post("/v1/config/rollback", request), reply), reply, "applied");
    });
    CLI::App& diff = command(app_, "diff", "What changed between revisions, or what a file would change",
                             "  gwctl diff                   what the last apply changed\n  gwctl diff 12              "
                             "  from revision 12 to the running one\n"
                             "  gwctl diff 12 14\n  gwctl diff -f new.yaml       what applying the file would change");
    CLI::Option* range =
        diff.add_option("FROM", range_, "revisions FROM and TO, or a file")->type_name("FILE")->expected(0, 2);
    diff.add_option("-f,--file", file_, "a document against the running one")->type_name("FILE")->excludes(range);
    does(diff, [this] { return show_diff(); });
  }

  int show_diff() {
    if (range_.size() == 1 && !revision_number(range_[0])) file_ = range_[0];
    api::ConfigReply reply;
    if (!file_.empty()) {
      api::ConfigRequest request;
      if (const Exit read = session_->read_document(file_, request); read != kOk) return read;
      if (const Exit asked = session_->ask(post("/v1/config/validate", request), reply); asked != kOk) return asked;
    } else {
      std::string target;
      if (const int chosen = choose_range(target); chosen != kOk) return chosen;
      if (const Exit asked = session_->ask(get(target), reply); asked != kOk) return asked;
    }
    if (json_) return session_->print_json(reply), kOk;
    surroundings_.out << render_changes(reply, session_->view());
    return kOk;
  }

  int choose_range(std::string& target) const {
    for (const std::string& word : range_)
      if (!revision_number(word)) return usage(std::format("'{}' is not the number of a revision", word));
    std::string from = range_.empty() ? std::string() : range_[0];
    if (from.empty()) {
      api::RevisionsReply revisions;  // newest first
      if (const Exit asked = session_->ask(get("/v1/config/revisions"), revisions); asked != kOk) return asked;
      const auto& list = revisions.revisions();
      const auto running = std::ranges::find_if(list, [](const api::Revision& r) { return r.running(); });
      if (running == list.end() || running + 1 == list.end())
        return usage("there is no earlier revision to compare with; give a file: gwctl diff -f FILE");
      from = std::to_string((running + 1)->number());
    }
    target = "/v1/config/diff?from=" + from + (range_.size() > 1 ? "&to=" + range_[1] : "");
    return kOk;
  }

  // --- two instances ----------------------------------------------------------------------------

  void add_ha() {
    CLI::App& ha = command(app_, "ha", "Two instances that are one gateway",
                           "  gwctl ha init --gateway hub-east gw-a gw-b\n  gwctl ha certificates");
    ha.require_subcommand(1);
    add_ha_orders(ha);
    const auto in_folder = [this](CLI::App& sub) {
      sub.add_option("--dir", folder_, std::format("the folder [{}]", kDefaultCertificates))->type_name("DIR");
    };
    CLI::App& init = command(ha, "init", "Make the certificates by which the instances know each other",
                             "  gwctl ha init --gateway hub-east gw-a gw-b");
    init.add_option("--gateway", gateway_, "gateway.name of the document")->type_name("NAME")->required();
    init.add_option("INSTANCE", instances_, "names of the instances")->type_name("NAME")->required()->expected(2, 16);
    in_folder(init);
    does(init, [this] { return certificates(init_certificates(folder(), {gateway_, instances_})); });
    CLI::App& renew = command(ha, "renew", "New certificates for all instances, or a new authority; without a gap",
                              "  gwctl ha renew\n  gwctl ha renew --authority\n  gwctl ha renew --drop-old-authority");
    CLI::Option* authority = renew.add_flag("--authority", authority_, "a new authority, beside the old one");
    renew.add_flag("--drop-old-authority", drop_authority_, "trust the new one only")->excludes(authority);
    in_folder(renew);
    does(renew, [this] {
      return certificates(authority_        ? renew_authority(folder())
                          : drop_authority_ ? drop_old_authority(folder())
                                            : renew_certificates(folder()));
    });
    CLI::App& show = command(ha, "certificates", "What certificates there are, and until when they are good",
                             "  gwctl ha certificates");
    in_folder(show);
    does(show, [this] { return certificates(describe_certificates(folder())); });
  }

  void add_ha_orders(CLI::App& ha) {
    add_view<api::HaReply>(ha, "show", "Who owns which endpoint and why, the other instance, the paths to it", "/v1/ha",
                           "  gwctl ha show\n  gwctl ha show --details --watch 1\n  gwctl ha show --check || alert")
        .add_flag("--details", details_, "what state was sent, and how far it lags");
    CLI::App& drain = command(
        ha, "drain", "All endpoints to the other instance; nothing is lost",
        "  gwctl ha drain\n  gwctl ha drain --wait 30s     done when it ends; exit code 1 if it does not get done");
    drain.add_option("--wait", wait_, "until this instance owns nothing any more")->type_name("DURATION");
    does(drain, [this] { return ha_drain(); });
    does(command(ha, "undrain", "This instance may own endpoints again; those at home here come back",
                 "  gwctl ha undrain"),
         [this] { return ha_order("undrain", api::HaTakeoverRequest()); });
    CLI::App& move = command(ha, "move", "One endpoint to another instance; nothing is lost",
                             "  gwctl ha move 203.0.113.10\n  gwctl ha move 203.0.113.10 gw-b");
    move.add_option("ENDPOINT", endpoint_, "its address")->type_name("ADDRESS")->required();
    move.add_option("INSTANCE", instance_, "where to [the other one]")->type_name("NAME");
    does(move, [this] {
      api::HaMoveRequest request;
      request.set_address(endpoint_);
      request.set_instance(instance_);
      return ha_order("move", request);
    });
    CLI::App& takeover =
        command(ha, "takeover", "Own an endpoint (or all) now, without asking whoever has it: for when it is dead",
                "  gwctl ha takeover\n  gwctl ha takeover 203.0.113.10");
    takeover.add_option("ENDPOINT", endpoint_, "its address [all]")->type_name("ADDRESS");
    does(takeover, [this] {
      api::HaTakeoverRequest request;
      request.set_address(endpoint_);
      return ha_order("takeover", request);
    });
  }

  int ha_order(const std::string& order, const google::protobuf::Message& request) {
    api::HaReply reply;
    if (const Exit asked = session_->ask(post("/v1/ha/" + order, request), reply); asked != kOk) return asked;
    if (json_) return session_->print_json(reply), kOk;
    surroundings_.out << render(reply, view());
    return kOk;
  }

  int ha_drain() {
    std::chrono::milliseconds wait{0};
    if (!wait_.empty()) {
      const auto within = parse_duration(wait_);
      if (!within) return usage(std::format("--wait: {} (expected e.g. 30s)", within.error().message));
      wait = *within;
    }
    if (const int begun = ha_order("drain", api::HaTakeoverRequest()); begun != kOk || wait_.empty()) return begun;
    const auto start = surroundings_.uptime();
    while (true) {
      api::HaReply reply;
      if (const Exit asked = session_->ask(get("/v1/ha"), reply); asked != kOk) return asked;
      const auto ours = std::ranges::find(reply.endpoints(), reply.instance(), &api::HaEndpoint::owner);
      if (ours == reply.endpoints().end()) return kOk;
      if (surroundings_.uptime() - start >= wait) {
        surroundings_.err << std::format("gwctl: endpoint {} is still here after {}: {}\n", printable(ours->address()),
                                         wait_, printable(ours->cause()));
        return kNo;
      }
      surroundings_.pause(seconds(1));
    }
  }

  CertificateFolder folder() const { return {folder_, surroundings_.now()}; }

  int certificates(const Result<std::string>& done) const {
    if (done) return surroundings_.out << *done, kOk;
    surroundings_.err << std::format("gwctl: {}\n", done.error().message);
    return kNo;
  }

  // --- updates ----------------------------------------------------------------------------------

  void add_upgrade() {
    upgrade::add_commands(app_, upgrade_words_,
                          {.tools = [this] { return upgrade_tools(); },
                           .usage = [this](const std::string& message) { return usage(message); },
                           .json = [this] { return json_; },
                           .chosen = [this](Action action) { action_ = std::move(action); }});
  }

  upgrade::Tools upgrade_tools() const {
    return {.out = surroundings_.out,
            .err = surroundings_.err,
            .ask =
                [this](const Request& request) {
                  return surroundings_.connect(socket_, *parse_duration(timeout_))->send(request);
                },
            .run = surroundings_.run_program,
            .uptime = surroundings_.uptime,
            .now = surroundings_.now,
            .pause = surroundings_.pause};
  }

  // --- completion -------------------------------------------------------------------------------

  void add_completion() {
    CLI::App& completion = command(app_, "completion", "Print a completion script for the shell",
                                   "  source <(gwctl completion bash)\n  gwctl completion zsh > ~/.gwctl.zsh");
    completion.require_subcommand(1);
    for (const auto& [name, shell] : {std::pair("bash", Shell::kBash), std::pair("zsh", Shell::kZsh)}) {
      CLI::App& sub =
          command(completion, name, std::format("for {}", name), std::format("  source <(gwctl completion {})", name));
      does(sub, [this, shell = shell] {
        surroundings_.out << completion_script(app_, shell);
        return kOk;
      });
    }
  }

  const Surroundings& surroundings_;
  CLI::App app_;
  Action action_;
  std::optional<Session> session_;

  std::string socket_;
  std::string timeout_ = "30s";
  bool json_ = false;
  bool check_ = false;
  bool details_ = false;
  int watch_ = 0;
  std::string prefix_;
  std::vector<std::string> peers_down_;
  bool circuit_down_ = false;
  std::string peer_;
  std::string bundle_;
  std::string file_;
  std::string confirm_;
  std::string comment_;
  std::uint32_t revision_ = 0;
  std::vector<std::string> range_;
  std::string endpoint_;
  std::string instance_;
  std::string folder_ = kDefaultCertificates;
  std::string gateway_;
  std::string wait_;
  upgrade::Words upgrade_words_;
  std::vector<std::string> instances_;
  bool alone_ = false;
  bool authority_ = false;
  bool drop_authority_ = false;
};

}  // namespace

int run(const std::vector<std::string>& words, const Surroundings& surroundings) {
  return Program(surroundings).run(words);
}

}  // namespace gw::cli
