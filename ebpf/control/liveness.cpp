#include "ebpf/control/liveness.hpp"

#include <utility>

#include "base/log.hpp"

namespace gw::control {

Liveness::Liveness(std::unique_ptr<liveness::Thread> thread, const Parts& parts)
    : thread_(std::move(thread)), parts_(parts) {
  if (const std::string& why = thread_->scheduling_error(); !why.empty())
    log::warning("liveness",
                 "no real-time scheduling ({}): under load BFD and the lease may be late; CAP_SYS_NICE permits it",
                 why);
}

Status Liveness::set_peer(const std::optional<liveness::PeerSettings>& wanted, Secret key) {
  using liveness::PeerPort;
  if (!wanted) {
    if (peer_) log::info("liveness", "no heartbeat with another instance any more");
    peer_.reset();
    thread_->set_peer(nullptr);
    return {};
  }
  liveness::PeerSettings settings = *wanted;
  settings.partner.own_instance = parts_.instance;
  if (settings.partner.instance == parts_.instance)
    return fail_field("instance", std::format("{} is this instance's own number", parts_.instance));
  if (peer_ == settings) {
    liveness::PartnerStatus status;
    thread_->call([&](liveness::Thread::Core& core, MonoTime now) {
      if (!core.peer->has_key(key)) core.peer->change_key(std::move(key), now);
      status = core.peer->partner().status();
    });
    if (handlers_.peer) handlers_.peer(status);
    return {};
  }
  GW_TRY_ASSIGN(auto port, PeerPort::open(settings, std::move(key), parts_.workers, parts_.clock.now()));
  port->set_claims(claims_);
  thread_->set_peer(std::move(port));
  peer_ = settings;
  peer_alive_ = false;
  log::info("liveness", "heartbeat with instance {}: {} to {} port {}, each {} ms x {}", settings.partner.instance,
            settings.local, settings.peer, settings.port, settings.partner.timing.interval.count(),
            settings.partner.timing.multiplier);
  if (handlers_.peer) handlers_.peer({});
  return {};
}

void Liveness::set_claims(const Endpoints& endpoints) {
  claims_.clear();
  for (const auto& [address, endpoint] : endpoints.all()) {
    const auto ownership =
        endpoint.claim.ownership == Ownership::kOwned ? liveness::Ownership::kOwned : liveness::Ownership::kStandby;
    claims_.push_back({{address, ownership, endpoint.claim.lease_epoch}, endpoint.gate});
  }
  thread_->call([this](liveness::Thread::Core& core, MonoTime) {
    if (core.peer) core.peer->set_claims(claims_);
  });
}

void Liveness::on(const liveness::PartnerStatus& status) {
  if (std::exchange(peer_alive_, status.alive) != status.alive) {
    if (status.alive)
      log::info("liveness", "the other instance is alive");
    else
      log::warning("liveness", "the other instance is silent");
  }
  if (handlers_.peer) handlers_.peer(status);
}

void Liveness::on(const liveness::Loss& loss) {
  log::warning("ha", "endpoint {} was taken by the other instance, lease epoch {}: nothing is sent for it",
               loss.endpoint, loss.lease_epoch);
  if (handlers_.lost) handlers_.lost(loss);
}

void Liveness::forward_events() {
  thread_->clear_event();
  while (const auto event = thread_->next_event()) std::visit([this](const auto& e) { on(e); }, *event);
}

void Liveness::on(const liveness::BfdChanged& e) {
  using bfd::State;
  const State now = e.session.snapshot.state;
  const auto [place, fresh] = logged_.try_emplace(e.session.key, State::kDown);
  const State before = std::exchange(place->second, now);
  if (before == now) return;
  if (now == State::kUp)
    log::info("bfd", "{}: up", to_string(e.session.key));
  else if (before == State::kUp)
    log::warning("bfd", "{}: {} ({})", to_string(e.session.key), to_string(now),
                 to_string(e.session.snapshot.diagnostic));
}

void Liveness::on(const liveness::BfdEnded& e) { logged_.erase(e.key); }

void Liveness::on(const liveness::BfddConnection& e) {
  if (e.connected)
    log::info("bfd", "bfdd has connected");
  else
    log::warning("bfd", "bfdd went away ({}); its sessions go on", e.why);
}

void Liveness::on(const liveness::Remark& e) {
  if (std::exchange(last_remark_, e.text) != e.text) log::warning("bfd", "{}", e.text);
}

}  // namespace gw::control
