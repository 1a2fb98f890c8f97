#include "cli/program.hpp"

#include <format>

#include "base/duration.hpp"
#include "cli/doctor.hpp"
#include "cli/render_workers.hpp"

namespace gw::cli {

void Program::can_watch(CLI::App& sub) {
  sub.add_option("--watch", watch_, "again every N seconds, until Ctrl-C")->type_name("N")->check(CLI::Range(1, 3600));
}

View Program::view() const {
  View view = session_->view();
  if (details_) view.detail = Detail::kLong;
  return view;
}

void Program::add_status() {
  add_view<api::StatusReply>(app_, "status", "The gateway at a glance: revision, components", "/v1/status",
                             "  gwctl status\n  gwctl status --check && echo all well");
}

void Program::add_show() {
  CLI::App& show_app = command(app_, "show", "Show tunnels, BGP, routes, counters, configuration",
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
  add_view<api::MemoryReply>(show_app, "memory", "What gw-fastpath has reserved, what of it is in use", "/v1/memory",
                             "  gwctl show memory\n  gwctl show memory --watch 10");
  add_workers(show_app);
  add_view<api::InterfacesReply>(show_app, "interfaces", "The fast path's ports and how they are attached",
                                 "/v1/interfaces", "  gwctl show interfaces");
  CLI::App& config =
      command(show_app, "config", "The running document, as it was applied", "  gwctl show config > gateway.yaml");
  does(config, [this] { return show_config(); });
  add_view<api::RevisionsReply>(show_app, "revisions", "What was applied when; * runs", "/v1/config/revisions",
                                "  gwctl show revisions\n  gwctl diff 3 5");
}

void Program::add_workers(CLI::App& parent) {
  CLI::App& workers = command(parent, "workers", "The packet threads: CPU, bursts, how long packets take",
                              "  gwctl show workers\n  gwctl show workers --interval 1s\n"
                              "  gwctl show workers --details --watch 2");
  workers.add_flag("--details", details_, "by port, and the histograms");
  workers.add_option("--interval", interval_, "what happens in this time, not since the start")->type_name("DURATION");
  can_watch(workers);
  does(workers, [this] { return show_workers(); });
}

/// With --watch, every round but the first is of the time since the one before.
int Program::show_workers() {
  std::chrono::seconds interval{0};
  if (!interval_.empty()) {
    const auto asked = parse_duration(interval_);
    if (!asked) return usage(std::format("--interval: {} (expected e.g. 1s)", asked.error().message));
    interval = std::chrono::duration_cast<std::chrono::seconds>(*asked);
    if (interval.count() == 0 || interval != *asked)
      return usage(std::format("--interval: {} is not a number of whole seconds (expected e.g. 1s)", interval_));
  }
  std::optional<api::WorkersReply> before;
  for (bool first = true;; first = false) {
    api::WorkersReply now;
    if (const Exit asked = session_->ask(get("/v1/workers"), now); asked != kOk) return asked;
    const bool only_begins = first && interval.count() > 0;
    if (!only_begins) print(before ? between(*before, now) : now);
    if (!only_begins && watch_ == 0) return kOk;
    if (!surroundings_.pause(only_begins ? interval : std::chrono::seconds(watch_))) return kOk;
    before = std::move(now);
  }
}

std::string Program::routes_target() const {
  return prefix_.empty() ? "/v1/routes" : "/v1/routes?prefix=" + percent_encode(prefix_);
}

void Program::add_routes() {
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

int Program::what_if_routes() {
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

void Program::add_doctor() {
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

void Program::add_bgp(CLI::App& parent) {
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

void Program::add_bgp_routes(CLI::App& parent, const std::string& name, const std::string& what) {
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

int Program::show_config() {
  api::ConfigReply reply;
  if (const Exit asked = session_->ask(get("/v1/config"), reply); asked != kOk) return asked;
  if (json_)
    session_->print_json(reply);
  else
    surroundings_.out << reply.document();
  return kOk;
}

}  // namespace gw::cli
