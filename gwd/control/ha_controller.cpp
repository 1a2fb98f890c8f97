#include "gwd/control/ha_controller.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <format>
#include <random>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/control/announcement.hpp"

namespace gw::gwd {
namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Longer than the path from a changed route to gw-fastpath by a hundredfold; then the move goes on anyway.
constexpr auto kRedirectTimeout = 200ms;
constexpr auto kHealthInterval = 50ms;
// A supervised restart of charon, or a busy one, is no reason to move; a site's dead peer detection (30 s) is.
constexpr auto kIkeGrace = 5s;
constexpr int kLooks = 5;               // at the ports, in one heartbeat
constexpr std::size_t kMostSites = 32;  // whose next hops are looked for
// gw-fastpath answers within milliseconds, where there is one.
constexpr auto kAdoptWait = 2s;

/// A coroutine that uses its object until it ends.
class Running {
 public:
  explicit Running(int& count) : count_(count) { ++count_; }
  ~Running() { --count_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  int& count_;
};

std::uint64_t random_incarnation() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

}  // namespace

ha::Configuration HaController::machine_configuration(const config::HaModel& model) {
  ha::Configuration out;
  out.self = static_cast<ha::Instance>(model.self);
  for (std::size_t i = 0; i < model.instances.size(); ++i)
    out.members.push_back({static_cast<ha::Instance>(i), model.instances[i].name});
  for (const config::HaEndpoint& endpoint : model.endpoints)
    out.endpoints.push_back({endpoint.address, static_cast<ha::Instance>(endpoint.home)});
  out.mode = model.mode == config::HaMode::kActiveStandby ? ha::Mode::kActiveStandby : ha::Mode::kActiveActive;
  out.preferred = static_cast<ha::Instance>(model.preferred);
  out.lease = model.lease == config::LeaseKind::kEtcd ? ha::LeaseKind::kEtcd : ha::LeaseKind::kEmbedded;
  out.failback = model.failback == config::Failback::kManual ? ha::Failback::kManual : ha::Failback::kAutomatic;
  out.timing.failback_delay = model.failback_delay;
  out.timing.silent = model.heartbeat * model.multiplier;
  out.timing.fault_grace = std::max<ha::Timing::ms>(out.timing.fault_grace, model.heartbeat);
  return out;
}

sync::ChannelSettings HaController::channel_settings(const Parts& parts, const config::GatewayModel& model) {
  return {
      .gateway = model.gateway, .ha = *model.ha, .fastpath_socket = parts.fastpath_socket, .release = parts.release};
}

EndpointSwitch::Owner HaController::switch_owner() {
  return {
      .tell = [this](const ha::Event& event) { feed(event); },
      .redirect = [this] { return redirect(); },
      .forwards = [this](const IpAddress& address,
                         ha::Epoch epoch) { channel_.send(sync::Kind::kControl, encode(Forwards{address, epoch})); },
      .announce_route = [this](const IpAddress& address,
                               std::optional<ha::Epoch> claim) { gateway_.announce_route(address, claim); },
      .carry = [this] { carry(); },
      .rekey = [this](std::vector<fp::SaId> sas) { gateway_.rekey(std::move(sas)); }};
}

HaController::HaController(const Parts& parts, const config::GatewayModel& model, Gateway gateway)
    : parts_(parts),
      gateway_(std::move(gateway)),
      gateway_name_(model.gateway),
      ha_(*model.ha),
      wan_port_{&wan_interface_, PortWatch(parts.clock, ha_.heartbeat)},
      vnet_port_{&vnet_interface_, PortWatch(parts.clock, ha_.heartbeat)},
      wan_interface_(model.wan_interface),
      vnet_interface_(model.vnet_interface),
      started_(parts.clock.now()),
      machine_(machine_configuration(ha_), random_incarnation(), started_),
      ike_(parts.io.get_executor(),
           {.send = [this](std::string frame) { channel_.send(sync::Kind::kIke, std::move(frame)); },
            .changed = [this](const ike::HaLink::State& state) { on_ike_state(state); }}),
      switch_({parts.io, parts.clock, parts.fastpath, parts.kernel, ike_}, switch_owner()),
      sites_({parts.io, parts.clock, parts.fastpath},
             {.waits_for = [this](const IpAddress& address) { return gateway_.waits_for(address); },
              .moved = [this](const IpAddress& address) { feed(ha::SitesMoved{address}); }}),
      certificates_(parts.io, parts.clock, ha_.tls_dir, ha_.instances[ha_.self].name),
      etcd_(parts.io, parts.clock, [this](const ha::Event& event) { feed(event); }),
      wake_(parts.io),
      health_wake_(parts.io),
      ports_wake_(parts.io),
      ike_answered_(started_),
      channel_(parts.io, channel_settings(parts, model), *this) {
  configure_switch();
  configure_watches(model);
}

void HaController::configure_watches(const config::GatewayModel& model) {
  std::vector<IpAddress> sites;
  for (const auto* tunnels : {&model.tunnels, &model.elsewhere})
    for (const config::TunnelModel& tunnel : *tunnels)
      if (sites.size() < kMostSites) sites.push_back(tunnel.remote);
  wan_port_.watch.configure(wan_interface_, {}, std::move(sites));
  std::vector<IpAddress> routers = model.vnet_next_hops;
  for (const config::SessionModel& session : model.sessions)
    if (session.kind == routes::SourceKind::kVnet) routers.push_back(session.bgp.peer);
  vnet_port_.watch.configure(vnet_interface_, std::move(routers), {});
}

void HaController::configure_switch() {
  switch_.configure(
      {.instance = ha_.instances[ha_.self].name, .interface = wan_interface_, .hook_timeout = ha_.hook_timeout},
      ha_.endpoints);
}

HaController::~HaController() = default;

Status HaController::check(const config::HaModel& model) { return ha::check(machine_configuration(model)); }

Status HaController::start() {
  if (auto ok = ike_.listen(parts_.ike_socket); !ok)
    return std::unexpected(std::move(ok).error().with_context("socket for charon's gw-ha plugin"));
  if (ha_.lease == config::LeaseKind::kEtcd) {
    sync::EtcdLease::Settings settings{
        .gateway = gateway_name_, .self = static_cast<ha::Instance>(ha_.self), .endpoints = {}, .etcd = ha_.etcd};
    for (const config::HaEndpoint& endpoint : ha_.endpoints) settings.endpoints.push_back(endpoint.address);
    if (auto ok = etcd_.start(std::move(settings)); !ok)
      return std::unexpected(std::move(ok).error().with_context("leases in etcd"));
  }
  switch_.start();
  sites_.start();
  certificates_.start();
  announce_self();
  asio::co_spawn(parts_.io, run(), kEndOnException);
  asio::co_spawn(parts_.io, watch_fastpath(), kEndOnException);
  asio::co_spawn(parts_.io, watch_ports(), kEndOnException);
  return {};
}

// A machine that replaces another one has its addresses and not its MAC, which the other instance believes in for up to
// 45 s (Linux). Until it hears us it cannot know that we are back.
void HaController::announce_self() const {
  const config::HaInstance& self = ha_.instances[ha_.self];
  std::vector<IpAddress> addresses = self.sync;
  if (self.vnet_address) addresses.push_back(*self.vnet_address);
  for (const IpAddress& address : addresses) {
    const auto interface = KernelNet::interface_of(address);
    if (!interface) continue;  // the channel says so
    if (const auto done = announce(*interface, address); !done) log::warning("ha", "{}", done.error().describe());
  }
}

void HaController::stop() {
  stopping_ = true;
  etcd_.stop();
  switch_.stop();
  sites_.stop();
  certificates_.stop();
  ike_.stop();
  wake_.wake();
  health_wake_.wake();
  ports_wake_.wake();
}

Status HaController::reconfigure(const config::GatewayModel& model) {
  const config::HaModel& next = *model.ha;
  GW_TRY(check(next));
  // What two processes agree about is the channel's; the machine and the switch follow the document.
  const auto fixed = [](const config::HaModel& m) {
    return std::tie(m.self, m.instances, m.port, m.tls_dir, m.heartbeat, m.multiplier, m.lease, m.etcd);
  };
  const bool leases = next.lease == config::LeaseKind::kEtcd && next.endpoints != ha_.endpoints;
  if (leases || fixed(next) != fixed(ha_)) return fail(Errc::kInvalidArgument, "the instances or the channel changed");
  ha_ = next;
  wan_interface_ = model.wan_interface;
  vnet_interface_ = model.vnet_interface;
  configure_switch();  // first: orders for new endpoints come at once, and those that go are released by it
  carry_out(machine_.reconfigure(parts_.clock.now(), machine_configuration(ha_)));
  configure_watches(model);
  asio::co_spawn(parts_.io, put_peer(), kEndOnException);
  return {};
}

const std::string& HaController::name_of(ha::Instance id) const {
  static const std::string kUnknown = "?";
  return ha::number(id) < ha_.instances.size() ? ha_.instances[ha::number(id)].name : kUnknown;
}

config::Carriers HaController::carriers() const {
  config::Carriers out;
  const std::string& self = ha_.instances[ha_.self].name;
  for (const ha::Snapshot::Endpoint& endpoint : snapshot().endpoints) {
    if (switch_.carries(endpoint.address)) {
      out[endpoint.address] = self;
      continue;
    }
    // Not here: with its owner, or on its way to the next one.
    const auto owner = endpoint.moving_to ? endpoint.moving_to : endpoint.owner;
    if (owner && name_of(*owner) != self) out[endpoint.address] = name_of(*owner);
  }
  return out;
}

// Claims are counted up by whoever takes an endpoint: this instance's next one is one of these, unless several moves
// follow each other before that is seen.
std::map<IpAddress, WanAnnouncements::Claim> HaController::announcements() const {
  constexpr int kAhead = 3;
  std::map<IpAddress, WanAnnouncements::Claim> out;
  for (const ha::Snapshot::Endpoint& endpoint : snapshot().endpoints) {
    WanAnnouncements::Claim& claim = out[endpoint.address];
    claim.announced = switch_.announces(endpoint.address);
    ha::Epoch next = endpoint.epoch;
    for (int i = 0; i < kAhead; ++i)
      claim.expected.insert(next = ha::next_epoch(next, static_cast<ha::Instance>(ha_.self)));
  }
  return out;
}

// --- what happens ----------------------------------------------------------------------------

asio::awaitable<void> HaController::run() {
  const Running running(running_);
  while (!stopping_) {
    tick();
    const auto due = machine_.next_deadline() - parts_.clock.now();
    const auto pause = std::clamp(std::chrono::ceil<std::chrono::milliseconds>(due), 1ms, kTick);
    co_await wake_.sleep(pause);
  }
}

void HaController::tick() {
  if (ike_.state().charon && gateway_.ike_answers()) ike_answered_ = parts_.clock.now();
  feed(ha::LocalHealth(health()));
  feed(ha::Tick{});
  check_announcements();
  channel_.say(encode(machine_.report(peer())));
  // Without a fast path nobody says what is held here: nothing can be. One that is only slow holds something.
  if (!decided() && !parts_.fastpath.greeting() && parts_.clock.now() - started_ > kAdoptWait) {
    given_up_waiting_ = true;
    switch_.resync();
  }
  // While an endpoint is being moved, the switch says when.
  if (decided() && !switch_.busy()) carry();
}

// Again and again: what else happens to the endpoint ends its alarm.
void HaController::check_announcements() {
  for (const config::HaEndpoint& endpoint : ha_.endpoints) {
    const bool concerned = endpoint.move == config::MoveBy::kBgp && switch_.carries(endpoint.address);
    const std::string why = concerned ? gateway_.unannounced(endpoint.address) : std::string();
    const bool before = unannounced_.contains(endpoint.address);
    if (why.empty() && !before) continue;
    feed(ha::ActionFailed{endpoint.address, why});
    if (why.empty())
      unannounced_.erase(endpoint.address);
    else
      unannounced_.insert(endpoint.address);
  }
}

void HaController::carry() {
  if (stopping_) return;
  config::Carriers now = carriers();
  if (told_ == now) return;
  told_ = std::move(now);
  gateway_.carry_by(*told_);
}

ha::LocalHealth HaController::health() const {
  using Verdict = PortSilence::Verdict;
  return {.fastpath = ha::link(fastpath_answers_),
          .forwarding = ha::link(fastpath_answers_),
          .wan = ha::link(wan_port_.verdict != Verdict::kSilent && KernelNet::has_carrier(wan_interface_)),
          .vnet = ha::link(vnet_port_.verdict != Verdict::kSilent && KernelNet::has_carrier(vnet_interface_)),
          .hearing = ha::link(wan_port_.verdict == Verdict::kHeard && vnet_port_.verdict == Verdict::kHeard),
          .ike = ha::link(parts_.clock.now() - ike_answered_ < kIkeGrace)};
}

// What is cut off on all sides must not think that it is the only one that lives.
asio::awaitable<void> HaController::watch_ports() {
  const Running running(running_);
  const auto pause = std::max(std::chrono::duration_cast<std::chrono::milliseconds>(ha_.heartbeat) / kLooks, 1ms);
  while (!stopping_) {
    const bool wan = look_at(wan_port_);
    if (look_at(vnet_port_) || wan) feed(health());
    co_await ports_wake_.sleep(pause);
  }
}

bool HaController::look_at(Port& port) {
  using Verdict = PortSilence::Verdict;
  const Verdict now = port.watch.look();
  const Verdict before = std::exchange(port.verdict, now);
  if (now == Verdict::kSilent && before != now)
    log::warning("ha", "{}: nothing is heard, and the next hops do not answer", *port.interface);
  if (before == Verdict::kSilent && before != now) log::info("ha", "{}: packets are heard again", *port.interface);
  return now != before;
}

// A stopped process keeps its sockets open: it is asked something, again and again. Who has chosen slow heartbeats has
// a machine that stands still now and then: its own fast path has the time of one, too.
asio::awaitable<void> HaController::watch_fastpath() {
  const Running running(running_);
  while (!stopping_) {
    const auto patience = std::max<std::chrono::milliseconds>(kHealthTimeout, ha_.heartbeat);
    if (parts_.fastpath.connected()) {
      const auto answer = co_await parts_.fastpath.ping(patience);
      const bool before = std::exchange(fastpath_answers_, answer.has_value());
      if (before && !answer) log::warning("ha", "{}", answer.error().message);
      if (!before && answer) on_fastpath_answers_again();
    } else {
      fastpath_answers_ = false;
    }
    co_await health_wake_.sleep(kHealthInterval);
  }
}

Status HaController::command(const ha::Command& command) {
  if (stopping_) return fail(Errc::kRefused, "another document is being applied: try again in a second");
  auto actions = machine_.command(parts_.clock.now(), command);
  if (!actions) return std::unexpected(actions.error());
  carry_out(*actions);
  wake_.wake();
  return {};
}

// --- what is to be done ------------------------------------------------------------------------

// Actions cause events while they are carried out: one after the other.
void HaController::feed(const ha::Event& event) {
  if (stopping_) return;
  events_.push_back(event);
  if (std::exchange(feeding_, true)) return;
  while (!events_.empty()) {
    const ha::Event next = std::move(events_.front());
    events_.erase(events_.begin());
    carry_out(machine_.handle(parts_.clock.now(), next));
  }
  feeding_ = false;
}

void HaController::carry_out(const std::vector<ha::Action>& actions) {
  for (const ha::Action& action : actions) carry_out(action);
  if (!actions.empty()) wake_.wake();  // the next deadline may be another
}

void HaController::carry_out(const ha::Action& action) {
  if (const auto* own = std::get_if<ha::Own>(&action)) {
    switch_.own(*own);
  } else if (const auto* extend = std::get_if<ha::Extend>(&action)) {
    switch_.extend(*extend);
  } else if (const auto* release = std::get_if<ha::Release>(&action)) {
    switch_.release(*release);
  } else if (const auto* ready = std::get_if<ha::GetReady>(&action)) {
    get_ready(*ready);
  } else if (const auto* shutdown = std::get_if<ha::GracefulShutdown>(&action)) {
    shut_down_gracefully(*shutdown);
  } else if (const auto* tell = std::get_if<ha::Tell>(&action)) {
    log::debug("ha", "to {}: {}", name_of(tell->to), describe(tell->message));
    channel_.send(sync::Kind::kControl, encode(tell->message));
  } else if (std::holds_alternative<ha::TellReports>(action)) {
    channel_.say(encode(machine_.report(peer())));
  } else if (const auto* ask = std::get_if<ha::AskLease>(&action)) {
    etcd_.ask(*ask);
  } else if (const auto* drop = std::get_if<ha::DropLease>(&action)) {
    etcd_.drop(*drop);
  } else if (const auto* alarm = std::get_if<ha::Alarm>(&action)) {
    note(*alarm);
  } else if (const auto* transition = std::get_if<ha::Transition>(&action)) {
    log::info("ha", "{}: {} -> {}: {} [{}]", transition->address, to_string(transition->from),
              to_string(transition->to), transition->cause, transition->situation);
  }
}

// Tunnels and connections of every endpoint are here all the time; what may be missing are the SAs.
void HaController::get_ready(const ha::GetReady& order) {
  const bool ready = fastpath_answers_ && session_ && ike_.state().synced;
  feed(ha::ReadyDone{order.address, order.epoch, ready ? ha::Reason::kNone : ha::Reason::kNotInSync});
}

void HaController::shut_down_gracefully(const ha::GracefulShutdown& order) {
  gateway_.graceful_shutdown(order);
  if (!order.address) return;
  if (order.to == ha::Switch::kOn)
    sites_.begin(*order.address);
  else
    sites_.end(*order.address);
}

void HaController::note(const ha::Alarm& alarm) {
  if (alarm.kind == ha::AlarmKind::kPeerDead && alarm.to == ha::Switch::kOn) gateway_.peer_dead();
  const std::string where = alarm.address ? alarm.address->to_string() + ": " : "";
  if (alarm.to == ha::Switch::kOn)
    log::error("ha", "{}{} ({})", where, alarm.text, to_string(alarm.kind));
  else
    log::info("ha", "{}{} is over", where, to_string(alarm.kind));
}

asio::awaitable<void> HaController::redirect() {
  gateway_.route_by(carriers());
  const MonoTime until = parts_.clock.now() + kRedirectTimeout;
  asio::steady_timer timer(parts_.io);
  while (!gateway_.forwarding_in_sync() && parts_.clock.now() < until) {
    timer.expires_after(1ms);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

// --- the heartbeat in the data path ----------------------------------------------------------------

void HaController::send_heartbeat_key() {
  if (ha_.peer() < ha_.self) return;
  if (heartbeat_key_.empty()) {
    std::array<std::uint8_t, HeartbeatKey::kBytes> key;
    if (RAND_bytes(key.data(), static_cast<int>(key.size())) != 1) {
      log::error("ha", "no random key for the heartbeats");
      return;
    }
    set_heartbeat_key(SharedSecret(Secret(key)));
    wipe(key.data(), key.size());
  }
  channel_.send(sync::Kind::kControl, encode(HeartbeatKey{heartbeat_key_}));
}

void HaController::set_heartbeat_key(SharedSecret key) {
  if (key == heartbeat_key_) return;
  heartbeat_key_ = std::move(key);
  asio::co_spawn(parts_.io, put_peer(), kEndOnException);
}

asio::awaitable<void> HaController::put_peer() {
  const Running running(running_);
  const auto& local = ha_.instances[ha_.self].vnet_address;
  const auto& remote = ha_.instances[ha_.peer()].vnet_address;
  if (heartbeat_key_.empty() || !local || !remote || !parts_.fastpath.connected()) co_return;
  fp::ClientFrame frame;
  fp::PutPeer& put = *frame.mutable_put_peer();
  put.set_instance(ha_.peer());
  put.set_local_address(local->bytes_string());
  put.set_peer_address(remote->bytes_string());
  put.set_port(ha_.port);
  put.set_key(std::string(heartbeat_key_.text()));
  put.set_interval_ms(static_cast<std::uint32_t>(ha_.heartbeat.count()));
  put.set_multiplier(ha_.multiplier);
  put.set_embedded_lease(ha_.lease == config::LeaseKind::kEmbedded);
  const auto reply = co_await parts_.fastpath.request(std::move(frame));
  if (!reply && reply.error().code != Errc::kClosed)
    log::error("ha", "gw-fastpath does not take the other instance: {}", reply.error().describe());
}

}  // namespace gw::gwd
