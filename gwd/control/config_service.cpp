#include "gwd/control/config_service.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "base/log.hpp"
#include "gwd/config/diff.hpp"
#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

std::unexpected<ConfigFailure> refuse(Error error, config::Findings findings = {}) {
  return std::unexpected(ConfigFailure{std::move(error), std::move(findings)});
}

Error make_error(Errc code, std::string message) {
  return Error{code, std::move(message), {}, std::source_location::current()};
}

const config::TunnelModel* find_tunnel(const config::GatewayModel& model, std::string_view name) {
  const auto elsewhere = std::ranges::find(model.elsewhere, name, &config::TunnelModel::name);
  return elsewhere != model.elsewhere.end() ? &*elsewhere : model.find_tunnel(name);
}

// Of a tunnel that had collided with one that is not there any more, or with a new one before it (config/allocate). The
// site's device has the old ones. Without file and place.
config::Findings moved_addresses(const config::GatewayModel& now, const config::v1::Config& next,
                                 const config::GatewayModel& model) {
  config::Findings findings;
  for (const auto* list : {&model.tunnels, &model.elsewhere}) {
    for (const config::TunnelModel& tunnel : *list) {
      const config::TunnelModel* const before = find_tunnel(now, tunnel.name);
      if (before == nullptr || !before->bgp || !tunnel.bgp || tunnel.bgp->unnumbered ||
          (before->bgp->local == tunnel.bgp->local && before->bgp->peer == tunnel.bgp->peer))
        continue;
      const auto connection = std::ranges::find(next.connections(), tunnel.connection, &config::v1::Connection::name);
      if (connection->bgp().addresses().contains(tunnel.home)) continue;  // as it says
      findings.push_back(
          {config::Severity::kWarning,
           {},
           {},
           std::format("connections[{}].bgp.addresses", connection - next.connections().begin()),
           std::format("the inner addresses of {} become {} and {}; the site's device has {} and {}", tunnel.name,
                       tunnel.bgp->local, tunnel.bgp->peer, before->bgp->local, before->bgp->peer),
           std::format("{{ {}: {{ local: {}, peer: {} }} }} keeps them", tunnel.home, before->bgp->local,
                       before->bgp->peer)});
    }
  }
  return findings;
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail_errno(std::format("cannot read {}", path));
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) return fail(Errc::kIo, std::format("cannot read {}", path));
  return text;
}

}  // namespace

ConfigService::ConfigService(boost::asio::io_context& io, const Clock& clock, config::RevisionStore store,
                             std::string instance)
    : io_(io),
      clock_(clock),
      store_(std::move(store)),
      instance_(std::move(instance)),
      confirm_timer_(io),
      sync_(clock, sync_ports()),
      sync_timer_(io) {}

void ConfigService::stop() {
  confirm_timer_.cancel();
  sync_timer_.cancel();
  sync_.on_lost();
}

ConfigResult<ConfigService::Valid> ConfigService::compile(const ConfigDocument& document,
                                                          config::UnreadableSecrets secrets) const {
  config::Compiled compiled = config::compile({document.text, document.file, instance_, secrets});
  if (!compiled.model) {
    const auto errors =
        std::ranges::count_if(compiled.findings, [](const auto& f) { return f.severity == config::Severity::kError; });
    return refuse(make_error(Errc::kInvalidArgument,
                             std::format("{} error{} in {}", errors, errors == 1 ? "" : "s", document.file)),
                  std::move(compiled.findings));
  }
  // What only shows once everything is together; a revision that runs goes on as it is.
  if (const Status fits = bgp::validate(bgp_intent(*compiled.model, 0));
      !fits && secrets == config::UnreadableSecrets::kRefuse) {
    Error error = fits.error();
    return refuse(std::move(error).with_context(std::format("{}: BGP", document.file)), std::move(compiled.findings));
  }
  return Valid{std::move(compiled.config), std::move(compiled.findings),
               std::make_shared<const config::GatewayModel>(std::move(*compiled.model))};
}

// The document's differences, and the secrets whose files hold something else now.
std::vector<std::string> ConfigService::changes_to(const Valid& next) const {
  std::vector<std::string> changes = config::diff(running_ ? running_->config : config::v1::Config{}, next.config);
  if (!running_) return changes;
  for (const auto& tunnel : next.model->tunnels) {
    const auto* before = running_->model->find_tunnel(tunnel.name);
    if (before == nullptr) continue;
    if (!(before->psk == tunnel.psk))
      changes.push_back(std::format("~ connections[{}].secret: the file holds another key", tunnel.connection));
    if (before->bgp && tunnel.bgp && !(before->bgp->md5 == tunnel.bgp->md5))
      changes.push_back(std::format("~ connections[{}].bgp.md5_file: the file holds another key", tunnel.connection));
  }
  for (const auto& session : next.model->sessions) {
    const auto before = std::ranges::find(running_->model->sessions, session.name, &config::SessionModel::name);
    if (before != running_->model->sessions.end() && !(before->bgp.md5 == session.bgp.md5))
      changes.push_back(std::format("~ {}: bgp.md5_file: the file holds another key", session.name));
  }
  return changes;
}

void ConfigService::activate(Valid next, std::uint32_t number) {
  running_ = std::move(next);
  running_number_ = number;
  start_error_.clear();
  for (const auto& tunnel : running_->model->tunnels)
    if (!tunnel.fault.empty()) log::error("config", "{}: {}", tunnel.name, tunnel.fault);
  if (const auto& ha = running_->model->ha)
    sync_.set_peer({ha->instances.at(ha->peer()).name,
                    ha->self < ha->peer() ? ConfigSync::Rank::kFirst : ConfigSync::Rank::kSecond});
  else
    sync_.set_peer({});
  activate_(running_->model);
  arm_confirm_timer();
}

ConfigResult<ConfigOutcome> ConfigService::start(const std::string& file) {
  config_file_ = file;
  auto outcome = start_with(file);
  const bool none = !first_boot_error_.empty() && !std::filesystem::exists(file);
  if (!outcome) start_error_ = none ? first_boot_error_ : outcome.error().error.describe();
  return outcome;
}

ConfigResult<ConfigOutcome> ConfigService::start_with(const std::string& file) {
  const auto stored = store_.running();
  if (!stored) return refuse(stored.error());
  if (!*stored) {
    log::info("config", "no revision yet, starting with {}", file);
    const auto text = read_file(file);
    if (!text) return refuse(text.error());
    return apply({*text, file}, {.origin = config::Origin::kStart});
  }
  // What was running goes on, whatever has become of one site's key file.
  auto compiled = compile({(*stored)->document, (*stored)->file}, config::UnreadableSecrets::kFaultTunnel);
  if (!compiled)
    return refuse(std::move(compiled.error().error).with_context(std::format("revision {}", (*stored)->number)),
                  compiled.error().findings);
  if (const auto text = read_file(file); text && *text != (*stored)->document)
    log::warning("config",
                 "{} differs from the running revision {}; `gwctl diff -f {}` shows how, `gwctl apply` takes it", file,
                 (*stored)->number, file);
  log::info("config", "going on with revision {}", (*stored)->number);
  ConfigOutcome outcome{.revision = (*stored)->number, .warnings = compiled->warnings};
  activate(std::move(*compiled), outcome.revision);
  return outcome;
}

asio::awaitable<ConfigResult<ConfigOutcome>> ConfigService::reload(std::string file) {
  const auto text = read_file(file);
  if (!text) co_return refuse(text.error());
  co_return co_await apply_on_both({*text, file}, {.comment = "SIGHUP"});
}

/// Without file and place.
config::Findings ConfigService::findings_of_machine(const Valid& next) const {
  config::Findings findings;
  const auto& instances = next.config.gateway().instances();
  const std::string instance =
      std::format("gateway.instances[{}]",
                  std::ranges::find(instances, next.model->instance, &config::v1::Instance::name) - instances.begin());
  const auto check = [&](std::string_view side, const std::string& interface) {
    if (!machine_.has_interface || machine_.has_interface(interface)) return;
    findings.push_back({config::Severity::kError,
                        {},
                        {},
                        std::format("{}.{}.interface", instance, side),
                        std::format("this machine has no interface '{}'", interface),
                        "one that `ip link` shows"});
  };
  check("wan", next.model->wan_interface);
  check("vnet", next.model->vnet_interface);
  // Addresses may come later, from a cloud: a warning. With another instance gwd sets them itself.
  std::set<IpAddress> endpoints;
  if (!next.model->ha)
    for (const auto& tunnel : next.model->tunnels) endpoints.insert(tunnel.local);
  for (const IpAddress& address : endpoints)
    if (machine_.has_address && !machine_.has_address(address))
      findings.push_back(
          {config::Severity::kWarning,
           {},
           {},
           instance + ".wan.endpoints",
           std::format("this machine does not have address {} now: its tunnels stay down", address.to_string()),
           "one that `ip address` shows"});
  if (machine_.speed_bps)
    std::ranges::move(config::rates_beyond(next.config, *next.model, machine_.speed_bps(next.model->wan_interface)),
                      std::back_inserter(findings));
  return findings;
}

// Asked of what an operator gives us only: a start or a way back has to work whatever the machine looks like.
ConfigResult<void> ConfigService::check_machine(Valid& next, const ConfigDocument& document) const {
  config::Findings findings = findings_of_machine(next);
  if (running_)
    std::ranges::move(moved_addresses(*running_->model, next.config, *next.model), std::back_inserter(findings));
  if (findings.empty()) return {};
  const config::SourceMap places = config::load_document(document.text, document.file).source;
  for (config::Finding& finding : findings) {
    finding.file = document.file;
    finding.at = places.find(finding.field);
  }
  const auto errors = std::ranges::count(findings, config::Severity::kError, &config::Finding::severity);
  std::ranges::move(next.warnings, std::back_inserter(findings));
  config::sort_findings(findings);
  next.warnings = std::move(findings);
  if (errors == 0) return {};
  return refuse(make_error(Errc::kInvalidArgument,
                           std::format("{} error{} in {}", errors, errors == 1 ? "" : "s", document.file)),
                std::move(next.warnings));
}

ConfigResult<ConfigOutcome> ConfigService::validate(const ConfigDocument& document) const {
  auto compiled = compile(document);
  if (!compiled) return std::unexpected(compiled.error());
  if (auto fits = check_machine(*compiled, document); !fits) return std::unexpected(std::move(fits.error()));
  return ConfigOutcome{.revision = running_number_, .changes = changes_to(*compiled), .warnings = compiled->warnings};
}

ConfigResult<ConfigService::Candidate> ConfigService::candidate(const ConfigDocument& document) const {
  auto compiled = compile(document);
  if (!compiled) return std::unexpected(compiled.error());
  if (auto fits = check_machine(*compiled, document); !fits) return std::unexpected(std::move(fits.error()));
  return Candidate{std::move(compiled->model), std::move(compiled->warnings)};
}

ConfigResult<ConfigOutcome> ConfigService::apply(const ConfigDocument& document, const ApplyOptions& options) {
  // What goes back by itself has nobody who could bring a site's key file back first.
  auto compiled =
      compile(document, options.origin == config::Origin::kAutoRollback ? config::UnreadableSecrets::kFaultTunnel
                                                                        : config::UnreadableSecrets::kRefuse);
  if (!compiled) return std::unexpected(compiled.error());
  if (options.origin == config::Origin::kApply)
    if (auto fits = check_machine(*compiled, document); !fits) return std::unexpected(std::move(fits.error()));
  ConfigOutcome outcome{
      .changes = changes_to(*compiled), .warnings = compiled->warnings, .confirm_within = options.confirm_within};
  // What both instances have agreed on is committed, whatever it changes here: the serials have to stay together.
  if (running_ && outcome.changes.empty() && options.confirm_within.count() == 0 && confirm_left().count() == 0 &&
      !options.serial) {
    outcome.revision = running_number_;
    return outcome;
  }
  config::NewRevision revision{.document = document.text,
                               .file = document.file,
                               .comment = options.comment,
                               .origin = options.origin,
                               .applied = clock_.wall(),
                               .confirm_deadline = std::nullopt,
                               .serial = options.serial};
  if (options.confirm_within.count() > 0) revision.confirm_deadline = clock_.wall() + options.confirm_within;
  const auto number = store_.commit(revision);
  if (!number) return refuse(number.error());
  outcome.revision = *number;
  log::info("config", "revision {} ({}): {} change{}", *number, config::to_string(options.origin),
            outcome.changes.size(), outcome.changes.size() == 1 ? "" : "s");
  if (options.committed) options.committed();
  activate(std::move(*compiled), *number);
  return outcome;
}

ConfigResult<ConfigOutcome> ConfigService::confirm() { return sync_.confirm(); }

ConfigResult<ConfigOutcome> ConfigService::confirm_here() {
  if (const auto pending = store_.pending(); running_ && pending && *pending && (*pending)->revision != running_number_)
    return refuse(
        make_error(Errc::kRefused, std::format("revision {} was not confirmed in time, revision {} runs again",
                                               (*pending)->revision, running_number_)));
  if (const auto done = store_.confirm(); !done) return refuse(done.error());
  confirm_timer_.cancel();
  log::info("config", "revision {} is confirmed", running_number_);
  return ConfigOutcome{.revision = running_number_};
}

ConfigResult<ConfigOutcome> ConfigService::rollback(std::uint32_t number) {
  const auto target = number == 0 ? store_.before_running() : store_.get(number);
  if (!target) return refuse(target.error());
  return apply({target->document, target->file}, {.comment = std::format("rollback to revision {}", target->number),
                                                  .origin = config::Origin::kRollback});
}

ConfigResult<ConfigOutcome> ConfigService::diff(const DiffRange& range) const {
  const auto load = [&](std::uint32_t number) -> Result<config::v1::Config> {
    if (number == 0) return running_ ? running_->config : config::v1::Config{};
    GW_TRY_ASSIGN(const auto revision, store_.get(number));
    return config::load_document(revision.document, revision.file).config;
  };
  const auto from = load(range.from);
  if (!from) return refuse(from.error());
  const auto to = load(range.to);
  if (!to) return refuse(to.error());
  return ConfigOutcome{.revision = range.to == 0 ? running_number_ : range.to, .changes = config::diff(*from, *to)};
}

std::chrono::seconds ConfigService::confirm_left() const {
  const auto pending = store_.pending();
  if (!pending || !*pending) return std::chrono::seconds(0);
  const auto left = std::chrono::ceil<std::chrono::seconds>((*pending)->deadline - clock_.wall());
  return std::max(left, std::chrono::seconds(1));
}

void ConfigService::arm_confirm_timer() {
  confirm_timer_.cancel();
  const auto pending = store_.pending();
  if (!pending) return look_again_later(pending.error());
  if (!*pending) return;
  const std::uint32_t unconfirmed = (*pending)->revision;
  if (unconfirmed != running_number_)
    confirm_timer_.expires_after(kRecordAgain);
  else
    confirm_timer_.expires_after(std::max((*pending)->deadline - clock_.wall(), WallTime::duration::zero()));
  confirm_timer_.async_wait([this, unconfirmed](const boost::system::error_code& error) {
    if (!error) roll_back_unconfirmed(unconfirmed);
  });
}

// Whether there is something to confirm, or what to go back to, could not be read: that must not cancel the way back.
void ConfigService::look_again_later(const Error& error) {
  log::error("config", "what is to be confirmed cannot be read: {}", error.describe());
  confirm_timer_.expires_after(kRecordAgain);
  confirm_timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) arm_confirm_timer();
  });
}

void ConfigService::roll_back_unconfirmed(std::uint32_t unconfirmed) {
  const auto pending = store_.pending();
  if (!pending) return look_again_later(pending.error());
  // Another one may have been applied when the timer was due already: that has a timer of its own.
  if (!*pending || (*pending)->revision != unconfirmed) return;
  const std::uint32_t previous = (*pending)->previous;
  const bool first = running_number_ == unconfirmed;
  if (first)
    log::warning("config", "revision {} was not confirmed in time, going back to revision {}", unconfirmed, previous);
  const auto target = store_.get(previous);
  if (!target) return look_again_later(target.error());
  const auto done = apply(
      {target->document, target->file},
      {.comment = std::format("revision {} was not confirmed", unconfirmed), .origin = config::Origin::kAutoRollback});
  if (done) return sync_.announce();
  if (first) log::error("config", "going back to revision {}: {}", previous, done.error().error.describe());
  go_back_unrecorded(*target);
}

// The store does not take it (a full disk). Whoever did not confirm may have cut himself off: the document of before
// runs all the same, and is written down when the store takes it. Until then a restart of gwd does all this again.
void ConfigService::go_back_unrecorded(const config::Revision& target) {
  if (running_number_ == target.number) return arm_confirm_timer();
  auto compiled = compile({target.document, target.file}, config::UnreadableSecrets::kFaultTunnel);
  if (!compiled) {
    log::error("config", "cannot go back, revision {} goes on: {}", running_number_, compiled.error().error.describe());
    return;
  }
  log::warning("config", "revision {} runs again; that is not written down yet", target.number);
  activate(std::move(*compiled), target.number);
}

}  // namespace gw::gwd
