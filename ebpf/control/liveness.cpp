#include "ebpf/control/liveness.hpp"

#include <utility>

#include "base/log.hpp"
#include "ebpf/rpc/bfd_messages.hpp"

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

Status Liveness::go_on_with_peer(const liveness::PeerSettings& wanted, Secret key,
                                 const liveness::Partner::Continuation& from) {
  liveness::PeerSettings settings = wanted;
  settings.partner.own_instance = parts_.instance;
  GW_TRY_ASSIGN(auto port, liveness::PeerPort::open(settings, std::move(key), parts_.workers, parts_.clock.now()));
  port->go_on(from);
  port->set_claims(claims_);
  thread_->set_peer(std::move(port));
  peer_ = settings;
  peer_alive_ = from.peer.has_value();
  return {};
}

std::optional<liveness::Partner::Continuation> Liveness::continuation() {
  std::optional<liveness::Partner::Continuation> now;
  thread_->call([&](liveness::Thread::Core& core, MonoTime) {
    if (core.peer) now = core.peer->partner().continuation();
  });
  return now;
}

void Liveness::snapshot_bfd(fp::BfdSync& out) {
  thread_->call([&out](liveness::Thread::Core& core, MonoTime) {
    for (const auto& [key, entry] : core.bfd.all())
      if (entry->session.state() == bfd::State::kUp)
        rpc::fill({key, entry->session.settings(), entry->min_ttl, entry->session.snapshot()}, *out.add_sessions());
  });
}

Status Liveness::go_on_with_bfd(const fp::BfdSync& sessions, std::array<Fd, 4> receivers) {
  std::vector<bfd::SharedSession> all;
  for (const fp::BfdSharedSession& m : sessions.sessions()) {
    GW_TRY_ASSIGN(all.emplace_back(), rpc::parse_shared_session(m, rpc::Sharer::kPredecessor));
    logged_[all.back().key] = bfd::State::kUp;
  }
  thread_->adopt_receivers(std::move(receivers));
  thread_->call([&](liveness::Thread::Core& core, MonoTime now) {
    for (bfd::SharedSession& s : all) core.bfd.put_shared(std::move(s));
    core.bfd.adopt_all(now);
  });
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

void Liveness::tell_peer() {
  if (!peer_ || !handlers_.peer) return;
  liveness::PartnerStatus status;
  thread_->call([&](liveness::Thread::Core& core, MonoTime) {
    if (core.peer) status = core.peer->partner().status();
  });
  handlers_.peer(status);
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

// --- the other instance's BFD sessions -------------------------------------------------------------------

void Liveness::sync_connected() {
  in_sync_ = true;
  fp::BfdSync all;
  all.set_all(true);
  thread_->call([&all](liveness::Thread::Core& core, MonoTime) {
    for (const auto& [key, entry] : core.bfd.all()) {
      if (key.device.empty() || entry->session.state() != bfd::State::kUp) continue;
      rpc::fill({key, entry->session.settings(), entry->min_ttl, entry->session.snapshot()}, *all.add_sessions());
    }
  });
  if (handlers_.sync) handlers_.sync(all);
}

/// Sessions without a device are between this instance's own addresses.
void Liveness::share(const bfd::SharedSession& session) {
  if (!in_sync_ || session.key.device.empty() || !handlers_.sync) return;
  fp::BfdSync change;
  rpc::fill(session, *change.add_sessions());
  handlers_.sync(change);
}

Status Liveness::receive_sync(std::string_view bytes) {
  fp::BfdSync message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(Errc::kMalformed, "the other instance's BFD sessions do not parse");
  std::vector<bfd::SharedSession> sessions;
  for (const fp::BfdSharedSession& m : message.sessions()) {
    GW_TRY_ASSIGN(sessions.emplace_back(), rpc::parse_shared_session(m));
  }
  thread_->call([&](liveness::Thread::Core& core, MonoTime) {
    if (message.all()) core.bfd.forget_all_shared();
    for (bfd::SharedSession& s : sessions) {
      if (s.snapshot.state == bfd::State::kUp)
        core.bfd.put_shared(std::move(s));
      else
        core.bfd.forget_shared(s.key);
    }
  });
  return {};
}

void Liveness::adopt(const std::string& device) {
  thread_->call([&device](liveness::Thread::Core& core, MonoTime now) { core.bfd.adopt(device, now); });
}

void Liveness::list(fp::BfdList& out) {
  thread_->call([&out](liveness::Thread::Core& core, MonoTime now) { rpc::fill(core.bfd, now, out); });
}

void Liveness::on(const liveness::BfdChanged& e) {
  share(e.session);
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

void Liveness::on(const liveness::BfdEnded& e) {
  share({.key = e.key});
  logged_.erase(e.key);
}

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
