#include "gwd/control/reconcile_controller.hpp"

#include <net/if.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <format>
#include <set>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

std::string names_of(const bgp::Exits& exits) {
  std::string out;
  for (const std::uint32_t index : exits) {
    std::array<char, IF_NAMESIZE> name{};
    if (!out.empty()) out += ' ';
    out += if_indextoname(index, name.data()) != nullptr ? std::string(name.data()) : std::format("device {}", index);
  }
  return out.empty() ? "no route" : out;
}

const char* family_word(const Prefix& prefix) { return prefix.family() == Family::kV4 ? "ipv4" : "ipv6"; }

}  // namespace

ReconcileController::ReconcileController(asio::io_context& io, const Clock& clock, std::string vty_dir,
                                         BgpController& bgp, const RouteController& routes)
    : io_(io),
      clock_(clock),
      bgp_(bgp),
      routes_(routes),
      path_(std::move(vty_dir) + "/zebra.vty"),
      vty_(io.get_executor()),
      zebra_wake_(io),
      compare_wake_(io),
      server_(io.get_executor(), "FPM",
              {.connected = [this] { set_connected(true); },
               .disconnected =
                   [this](const Error& why) {
                     log::warning("routes", "zebra's routes are not there any more: {}", why.message);
                     trouble_ = why.message;
                     set_connected(false);
                   },
               .received = [this](std::span<const std::uint8_t> bytes) { return receive(bytes); }}) {
  vty_.on_closed([this](const Error&) { zebra_wake_.wake(); });
}

Status ReconcileController::listen() { return server_.listen(0); }

void ReconcileController::start() {
  asio::co_spawn(io_, configure_zebra(), kEndOnException);
  asio::co_spawn(io_, compare(), kEndOnException);
}

void ReconcileController::stop() {
  stopping_ = true;
  server_.close();
  vty_.close();
  zebra_wake_.wake();
  compare_wake_.wake();
}

void ReconcileController::set_connected(bool connected) {
  connected_ = connected;
  since_ = clock_.wall();
  session_ = {};
  stage_ = Stage::kNone;
  reconciler_.forget_theirs();
  if (connected) reconciler_.begin_theirs(clock_.now());
}

Status ReconcileController::receive(std::span<const std::uint8_t> bytes) {
  session_.feed(bytes);
  for (;;) {
    GW_TRY_ASSIGN(auto route, session_.next());
    if (!route) return {};
    // Another protocol's route in its place: BGP's is not used.
    if (route->protocol != bgp::kProtocolBgp) route->devices.clear();
    reconciler_.set_theirs(route->prefix, std::move(route->devices), clock_.now());
  }
}

void ReconcileController::set_model(const config::GatewayModel& model) {
  devices_.clear();
  tunnel_exits_.clear();
  for (const auto& tunnel : model.tunnels) devices_[tunnel.tunnel_id] = tunnel.device;
  vnet_exit_ = if_nametoindex(model.vnet_interface.c_str());
  circuit_exit_ = if_nametoindex(model.circuit_interface.c_str());
}

bgp::Exits ReconcileController::exits_of(const ForwardingEntry& entry) {
  if (entry.kind == fp::NEXT_HOP_CIRCUIT) return {circuit_exit_};
  if (entry.kind != fp::NEXT_HOP_TUNNELS) return {vnet_exit_};
  bgp::Exits exits;
  for (const std::uint32_t id : entry.tunnel_ids) {
    std::uint32_t& index = tunnel_exits_[id];
    if (index == 0) index = if_nametoindex(devices_[id].c_str());
    exits.push_back(index);
  }
  std::ranges::sort(exits);
  return exits;
}

void ReconcileController::set_route(const Prefix& prefix, const ForwardingEntry* entry) {
  reconciler_.set_ours(prefix, entry != nullptr ? exits_of(*entry) : bgp::Exits{}, clock_.now());
}

// zebra connects to us when it is told where, and again by itself; a new zebra has to be told anew.
asio::awaitable<void> ReconcileController::configure_zebra() {
  while (!stopping_) {
    if (!vty_.is_open()) {
      if (const auto told = co_await tell_zebra(); !told) {
        if (std::exchange(trouble_, told.error().message) != told.error().message)
          log::warning("routes", "FRR's routes are not compared: {}", trouble_);
        vty_.close();
      }
    }
    co_await zebra_wake_.sleep(kReconnectPause);
  }
}

asio::awaitable<Status> ReconcileController::tell_zebra() {
  if (const auto open = co_await vty_.connect(path_, kTimeout); !open) co_return open;
  bgp::Commands commands;
  commands.emplace_back("no fpm use-next-hop-groups");
  commands.emplace_back(std::format("fpm address 127.0.0.1 port {}", server_.port()));
  const auto done = co_await vty_.configure(std::move(commands), kTimeout);
  if (!done && done.error().code == Errc::kRefused)
    co_return fail(Errc::kUnsupported, "zebra runs without its FPM module: start it with -M dplane_fpm_nl");
  co_return done;
}

asio::awaitable<void> ReconcileController::compare() {
  while (!stopping_) {
    co_await compare_wake_.sleep(kPoll);
    if (stopping_) co_return;
    reconciler_.check(clock_.now());
    judge();
    if (!alarms_.empty() && bgp_.in_sync() && clock_.now() >= next_heal_) co_await heal();
  }
}

void ReconcileController::compare_counts() {
  std::set<std::string> known;
  for (const LearnedSession& session : routes_.sessions()) {
    known.insert(session.name);
    const auto status = bgp_.sessions().find(session.peer);
    if (!session.complete || !bgp_.in_sync() || status == bgp_.sessions().end() || !status->second.established()) {
      counts_.forget(session.name);
      continue;
    }
    const auto& of_family = session.count.of_family;
    const CountWatch::Counts counts{{of_family[0].accepted, of_family[1].accepted},
                                    {status->second.received_v4, status->second.received_v6}};
    if (!counts_.see(session.name, counts, clock_.now())) continue;
    log::error("routes", "{}; the session's routes are learned again", counts_.alarm());
    if (other_count_) other_count_(session.peer);
  }
  counts_.keep_only(known);
}

// A route that is kept for a peer that may come back is one that FRR need not have. gwd hears of the peer's return
// before FRR has chosen and installed its routes.
void ReconcileController::judge() {
  const std::string before = alarm();
  alarms_.clear();
  const std::set<std::string> waiting = std::exchange(waiting_, routes_.waiting());
  if (!std::ranges::includes(waiting_, waiting)) reconciler_.excuse_ended(clock_.now());
  reconciler_.excuse([this](const Prefix& prefix) { return routes_.is_stale(prefix); }, clock_.now());
  for (const auto& [prefix, difference] : reconciler_.differences()) {
    if (!difference.standing) continue;
    alarms_.emplace(prefix, difference);
    if (alarms_.size() == kMaxShown) break;
  }
  if (alarms_.empty()) stage_ = Stage::kNone;
  if (const std::string now = alarm(); now != before) {
    if (now.empty())
      log::info("routes", "FRR's routes are the same as gwd's again");
    else
      log::error("routes", "{}", now);
  }
}

// Once each: what that does not heal is for people.
asio::awaitable<void> ReconcileController::heal() {
  next_heal_ = clock_.now() + kHealPause;
  if (stage_ == Stage::kNone) {
    stage_ = Stage::kSoft;
    log::warning("routes", "bgpd is asked to look at all routes again");
    for (const char* family : {"ipv4", "ipv6"}) {
      if (const auto done = co_await bgp_.show(std::format("clear bgp {} unicast * soft in", family)); !done)
        log::warning("routes", "bgpd: {}", done.error().message);
    }
  } else if (stage_ == Stage::kSoft) {
    stage_ = Stage::kHard;
    co_await restart_sessions();
  }
}

// Only for what bgpd has and has left without a best path: a soft clear does not heal that on FRR 10.3.
asio::awaitable<void> ReconcileController::restart_sessions() {
  std::set<IpAddress> stuck;
  const auto differences = alarms_;  // others may come while bgpd is asked
  for (const auto& [prefix, difference] : differences) {
    if (stuck.size() >= kMaxRestarts) break;
    if (difference.kind != bgp::DifferenceKind::kMissing) continue;
    const auto text = co_await bgp_.show(std::format("show bgp {} unicast {} json", family_word(prefix), prefix));
    if (!text) co_return;
    if (!text->contains("\"valid\":true") || text->contains("\"overall\":true")) continue;
    for (const IpAddress& peer : routes_.peers_of(prefix)) stuck.insert(peer);
  }
  for (const IpAddress& peer : stuck) {
    log::error("routes", "bgpd has routes of {} without choosing a best one: the session is started anew",
               bgp_.neighbour(peer));
    if (const auto done = co_await bgp_.show(std::format("clear bgp {}", bgp_.neighbour(peer))); !done)
      log::warning("routes", "bgpd: {}", done.error().message);
  }
}

std::string ReconcileController::describe(const bgp::Difference& difference) {
  return std::format("gwd: {}; FRR: {}", names_of(difference.ours), names_of(difference.theirs));
}

std::string ReconcileController::alarm() const {
  if (alarms_.empty()) return counts_.alarm();
  const auto& [prefix, difference] = *alarms_.begin();
  return std::format("{}{} {} in FRR than in gwd (RoutesDiffer): {} {}: {}", alarms_.size() == kMaxShown ? ">= " : "",
                     alarms_.size(), alarms_.size() == 1 ? "route is another" : "routes are others", prefix,
                     bgp::to_string(difference.kind), describe(difference));
}

}  // namespace gw::gwd
