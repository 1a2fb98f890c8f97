#include "ebpf/control/sa_manager.hpp"

#include "base/log.hpp"

namespace gw::control {
namespace {

std::string describe(const SaKey& key) { return std::format("SPI {:08x} to {}", key.spi, key.dst); }
std::string_view describe(esp::Direction d) { return d == esp::Direction::kInbound ? "in" : "out"; }

/// The default until the tunnel is configured.
esp::OuterPolicy outer_policy_of(const Tunnels& tunnels, std::uint32_t tunnel_id) {
  const Tunnels::Tunnel* tunnel = tunnels.find(tunnel_id);
  return tunnel != nullptr && tunnel->settings ? tunnel->settings->outer : esp::OuterPolicy{};
}

}  // namespace

Status SaManager::reserve(const SaKey& key) {
  if (table_.find(key)) return fail_field("id", std::format("{} is installed", describe(key)), Errc::kAlreadyExists);
  if (reserved_.size() >= kMaxReservations && !reserved_.contains(key))
    return fail(Errc::kLimit, std::format("too many reserved SPIs ({})", kMaxReservations));
  GW_TRY(parts_.maps.add_spi(key.spi, key.dst, {}));
  auto& shared = parts_.workers.shared();
  if (!reserved_.contains(key)) {
    if (shared.reserved.full()) parts_.workers.reclaim();
    shared.reserved.insert(key, {});
  }
  reserved_[key] = parts_.clock.now() + kReservation;
  return {};
}

/// For XDP the SPI is unknown again, unless the SA has come.
bool SaManager::end_reservation(const SaKey& key) {
  if (reserved_.erase(key) == 0) return false;
  parts_.workers.shared().reserved.erase(key);
  if (!table_.find(key)) parts_.maps.remove_spi(key.spi, key.dst);
  return true;
}

void SaManager::end_old_reservations() {
  const MonoTime now = parts_.clock.now();
  std::vector<SaKey> old;
  for (const auto& [key, until] : reserved_)
    if (until <= now) old.push_back(key);
  for (const SaKey& key : old) (void)end_reservation(key);
}

Result<std::uint32_t> SaManager::add(const SaRequest& request, std::uint64_t owner_epoch) {
  SaEntry* existing = table_.find(request.key());
  if (!existing) {  // it may have moved while its client was away: the key tells, not the destination
    const auto fingerprint = parts_.store.fingerprint(request.parameters.key_identity().bytes());
    existing = table_.find_key({request.parameters.spi, request.direction, fingerprint});
  }
  if (existing) return claim(*existing, request, owner_epoch);
  GW_TRY_ASSIGN(SaEntry entry, prepare(request, owner_epoch));
  if (auto installed = install(entry, request); !installed) {
    parts_.store.abandon(*entry.record);
    parts_.tunnels.release_slot(entry.tunnel_id);
    return std::unexpected(std::move(installed).error());
  }
  const std::uint32_t epoch = esp::load_field(entry.record->iv_epoch);
  log::info("sa", "added {}: {}, tunnel {}, {}", describe(entry.key), describe(entry.direction), entry.tunnel_id,
            entry.algorithm);
  settle(table_.insert(std::move(entry)));
  (void)end_reservation(request.key());
  return epoch;
}

/// The SA is installed: sent again after a reconnect, or a different key under the same name.
Result<std::uint32_t> SaManager::claim(SaEntry& entry, const SaRequest& request, std::uint64_t owner_epoch) {
  const bool same = parts_.store.fingerprint(request.parameters.key_identity().bytes()) == entry.fingerprint &&
                    entry.direction == request.direction && entry.tunnel_id == request.tunnel_id &&
                    entry.algorithm == request.algorithm;
  if (!same)
    return fail_field(
        "id", std::format("{} is installed with another key, algorithm, direction or tunnel", describe(entry.key)),
        Errc::kAlreadyExists);
  GW_TRY(move({entry.key, request.parameters.src, request.parameters.dst, request.parameters.encapsulation}));
  entry.owner_epoch = owner_epoch;
  entry.seen = true;
  entry.leaving = false;
  tell_again(entry);
  return entry.record->iv_epoch;
}

/// The client was away, and may have missed that a limit was reached or that the peer has moved. What still holds is
/// raised by the next packet.
void SaManager::tell_again(SaEntry& entry) {
  const std::uint8_t events = std::exchange(entry.raised, std::uint8_t{0});
  if (events == 0) return;
  parts_.workers.call(entry.slot, [&](worker::DataPath&) {
    if (entry.out)
      entry.out->not_told(events);
    else
      parts_.workers.shared().inbound.find(entry.key)->sa->not_told(events);
  });
}

/// Takes a slot and the key's record; no packet sees anything of it yet.
Result<SaEntry> SaManager::prepare(const SaRequest& request, std::uint64_t owner_epoch) {
  if (table_.size() >= parts_.max_sas) return fail(Errc::kLimit, std::format("SA table is full ({})", parts_.max_sas));
  if (table_.count(request.tunnel_id) >= kMaxSasOfTunnel)
    return fail_field("tunnel_id",
                      std::format("tunnel {} has {} SAs, and no tunnel may have more: its peer makes new ones and does "
                                  "not delete the old ones",
                                  request.tunnel_id, kMaxSasOfTunnel),
                      Errc::kLimit);
  const esp::SaParameters& p = request.parameters;
  SaEntry entry;
  entry.key = request.key();
  entry.direction = request.direction;
  entry.tunnel_id = request.tunnel_id;
  entry.src = p.src;
  entry.dst = p.dst;
  entry.encapsulation = p.encapsulation;
  entry.sequence_mode = p.sequence_mode;
  entry.replay_window = p.replay_window;
  entry.algorithm = request.algorithm;
  entry.reqid = request.reqid;
  entry.hard_lifetime = request.hard_lifetime;
  entry.fingerprint = parts_.store.fingerprint(p.key_identity().bytes());
  entry.sync_key = sync_key(p.key_identity().bytes(), request.direction);
  entry.owner_epoch = owner_epoch;
  entry.installed = parts_.clock.now();
  GW_TRY_ASSIGN(entry.slot, parts_.tunnels.acquire_slot(request.tunnel_id));
  auto record =
      parts_.store.adopt({p.spi, p.dst.address, request.direction, entry.fingerprint},
                         {request.origin, parts_.instance, p.sequence_jump, worker::boot_ns(parts_.clock.now())});
  if (!record) {
    parts_.tunnels.release_slot(request.tunnel_id);
    return std::unexpected(std::move(record).error());
  }
  entry.record = *record;
  return entry;
}

Status SaManager::install(SaEntry& entry, const SaRequest& request) {
  const bool outbound = entry.direction == esp::Direction::kOutbound;
  GW_TRY_ASSIGN(auto inbound, make(entry, request));
  entry.drops = outbound ? entry.out->drops() : inbound->drops();
  if (!outbound) return install_inbound(entry, std::move(inbound));
  entry.path = parts_.paths.acquire({{entry.src.address, entry.dst.address}, entry.tunnel_id});
  return {};
}

/// The SA itself; an outbound one goes into the entry.
Result<std::unique_ptr<esp::InboundSa>> SaManager::make(SaEntry& entry, const SaRequest& request) {
  Status outbound;
  Result<std::unique_ptr<esp::InboundSa>> inbound;
  // The crypto backend belongs to the worker's thread: keys are expanded there.
  parts_.workers.call(entry.slot, [&](worker::DataPath& d) {
    if (entry.direction == esp::Direction::kInbound) {
      inbound = esp::InboundSa::create(request.parameters, d.crypto(), *entry.record);
    } else if (auto sa = esp::OutboundSa::create(request.parameters, d.crypto(), *entry.record)) {
      entry.out = std::move(*sa);
      entry.out->set_outer_policy(outer_policy_of(parts_.tunnels, entry.tunnel_id));
    } else {
      outbound = std::unexpected(std::move(sa).error());
    }
  });
  if (!outbound) return std::unexpected(std::move(outbound).error());
  return inbound;
}

/// Workers see it, then XDP does; packets that came early are delivered.
Status SaManager::install_inbound(const SaEntry& entry, std::unique_ptr<esp::InboundSa> sa) {
  worker::Shared& shared = parts_.workers.shared();
  if (shared.inbound.full()) parts_.workers.reclaim();
  const worker::WorkerIndex owner = shared.owner(entry.slot);
  if (!shared.inbound.insert(entry.key, {.sa = std::move(sa),
                                         .tunnel = entry.slot,
                                         .owner = owner,
                                         .gate = parts_.endpoints.gate_of(entry.dst.address)}))
    return fail(Errc::kLimit, "the workers' SA table is full");
  auto known = parts_.maps.add_spi(entry.key.spi, entry.key.dst, {.tunnel_id = entry.tunnel_id, .worker = owner});
  if (!known) {
    shared.inbound.erase(entry.key);
    parts_.workers.reclaim();
    return known;
  }
  add_peer(entry.src.address);
  if (reserved_.contains(entry.key)) parts_.workers.call_all([&](worker::DataPath& d) { d.release_parked(entry.key); });
  return {};
}

/// The workers put fragments from strangers aside for those of peers. A full table only costs that.
void SaManager::add_peer(const IpAddress& address) {
  if (++peers_[address] == 1) parts_.workers.shared().peers.insert(address, {});
}

void SaManager::forget_peer(const IpAddress& address) {
  if (--peers_[address] > 0) return;
  peers_.erase(address);
  parts_.workers.shared().peers.erase(address);
}

Status SaManager::move(const SaMove& m) {
  SaEntry* entry = table_.find(m.key);
  if (!entry) return fail_field("id", std::format("{} is not installed", describe(m.key)), Errc::kNotFound);
  if (entry->src == m.src && entry->dst == m.dst && entry->encapsulation == m.encapsulation) return {};
  const bool outbound = entry->direction == esp::Direction::kOutbound;
  const SaKey to{m.key.spi, m.dst.address};
  if (to != m.key && table_.find(to))
    return fail_field("new_dst", std::format("{} is installed", describe(to)), Errc::kAlreadyExists);
  const worker::PathIndex path =
      outbound ? parts_.paths.acquire({{m.src.address, m.dst.address}, entry->tunnel_id}) : 0;
  auto moved = move_in_worker(*entry, m, path);
  if (moved && !outbound && to != m.key) {
    moved = move_inbound(*entry, to);
    if (!moved) (void)move_in_worker(*entry, {m.key, entry->src, entry->dst, entry->encapsulation}, path);  // as it was
  }
  if (outbound) parts_.paths.release(moved ? std::exchange(entry->path, path) : path);
  if (!moved) return moved;
  if (to != m.key) parts_.store.rebind(*entry->record, to.dst);
  if (!outbound) {
    add_peer(m.src.address);
    forget_peer(entry->src.address);
  }
  entry->src = m.src;
  entry->dst = m.dst;
  entry->encapsulation = m.encapsulation;
  log::info("sa", "{} is now {} to {}", describe(m.key), m.src.address, m.dst.address);
  const std::uint32_t tunnel = entry->tunnel_id;
  const bool active = entry->active;
  table_.move(SaKey(m.key), to);
  sync_.move(table_.find(to)->sync_key, our_address(*table_.find(to)));
  if (active) follow_ownership(*table_.find(to));
  if (active && on_active_) on_active_(tunnel);
  return {};
}

Status SaManager::move_in_worker(const SaEntry& entry, const SaMove& m, worker::PathIndex path) {
  Status moved;
  parts_.workers.call(entry.slot, [&](worker::DataPath& d) {
    if (entry.direction == esp::Direction::kInbound) {
      moved = parts_.workers.shared().inbound.find(entry.key)->sa->set_endpoints(m.src, m.dst, m.encapsulation);
      return;
    }
    moved = entry.out->set_endpoints(m.src, m.dst, m.encapsulation);
    if (moved && entry.active)
      d.activate(entry.slot,
                 {entry.out.get(), {entry.key.spi, m.dst.address}, path, parts_.endpoints.gate_of(m.src.address)});
  });
  return moved;
}

/// An inbound SA is found under another destination from now on.
Status SaManager::move_inbound(const SaEntry& entry, const SaKey& to) {
  worker::Shared& shared = parts_.workers.shared();
  if (shared.inbound.full()) parts_.workers.reclaim();
  worker::Inbound& before = *shared.inbound.find(entry.key);
  GW_TRY(parts_.maps.add_spi(to.spi, to.dst, {.tunnel_id = entry.tunnel_id, .worker = before.owner}));
  // Both lead to the same SA for as long as a worker may be at the old one.
  worker::Inbound after{.tunnel = before.tunnel, .owner = before.owner, .gate = parts_.endpoints.gate_of(to.dst)};
  parts_.workers.call(entry.slot, [&](worker::DataPath&) {
    after.confirmed = before.confirmed;
    after.next_mapping = before.next_mapping;
  });
  after.sa.reset(before.sa.get());
  if (!shared.inbound.insert(to, std::move(after))) {
    (void)after.sa.release();
    parts_.maps.remove_spi(to.spi, to.dst);
    return fail(Errc::kLimit, "the workers' SA table is full");
  }
  parts_.maps.remove_spi(entry.key.spi, entry.key.dst);
  shared.inbound.erase(entry.key);
  parts_.workers.quiesce();
  (void)before.sa.release();
  shared.reclaim();
  return {};
}

Status SaManager::remove(const SaKey& key) {
  if (!table_.find(key)) {
    if (end_reservation(key)) return {};
    return fail_field("id", std::format("{} is not installed", describe(key)), Errc::kNotFound);
  }
  remove_all(std::span(&key, 1));
  return {};
}

/// Many cost one grace period.
void SaManager::remove_all(std::span<const SaKey> keys) {
  for (const SaKey& key : keys) withdraw(*table_.find(key));
  parts_.workers.reclaim();
  for (const SaKey& key : keys) forget(key);
}

/// No packet finds it any more.
void SaManager::withdraw(const SaEntry& entry) {
  if (entry.direction == esp::Direction::kInbound) {
    parts_.maps.remove_spi(entry.key.spi, entry.key.dst);
    parts_.workers.shared().inbound.erase(entry.key);
    forget_peer(entry.src.address);
  } else if (entry.active) {
    parts_.workers.call(entry.slot, [&](worker::DataPath& d) { d.deactivate(entry.slot, *entry.out); });
  }
}

/// No packet uses it any more.
void SaManager::forget(const SaKey& gone) {
  const SaKey key = gone;  // may be the entry's own
  const SaEntry& entry = *table_.find(key);
  const std::uint32_t tunnel_id = entry.tunnel_id;
  const bool active = entry.active;
  if (entry.direction == esp::Direction::kOutbound) parts_.paths.release(entry.path);
  esp::RuntimeRecord& record = *entry.record;
  sync_.remove(entry.sync_key);
  slots_.erase(&record);
  table_.erase(key);
  parts_.store.release(record);
  if (active) parts_.tunnels.stop_sending(tunnel_id);
  parts_.tunnels.release_slot(tunnel_id);
  log::info("sa", "removed {}", describe(key));
}

Status SaManager::activate(const SaKey& key) {
  SaEntry* entry = table_.find(key);
  if (!entry) return fail_field("id", std::format("{} is not installed", describe(key)), Errc::kNotFound);
  if (entry->direction != esp::Direction::kOutbound)
    return fail_field("id", std::format("{} is inbound", describe(key)));
  if (entry->active) return {};
  parts_.workers.call(entry->slot, [&](worker::DataPath& d) {
    d.activate(entry->slot, {entry->out.get(), entry->key, entry->path, parts_.endpoints.gate_of(entry->src.address)});
  });
  table_.activate(*entry);
  if (sends(*entry))
    parts_.tunnels.start_sending(entry->tunnel_id);
  else
    parts_.tunnels.stop_sending(entry->tunnel_id);
  log::info("sa", "tunnel {} sends with {}", entry->tunnel_id, describe(key));
  if (on_active_) on_active_(entry->tunnel_id);
  return {};
}

void SaManager::apply_outer_policy(std::uint32_t tunnel_id) {
  const esp::OuterPolicy policy = outer_policy_of(parts_.tunnels, tunnel_id);
  for (const auto& [key, entry] : table_.entries()) {
    if (entry.tunnel_id != tunnel_id || !entry.out) continue;
    parts_.workers.call(entry.slot, [&](worker::DataPath&) { entry.out->set_outer_policy(policy); });
  }
}

void SaManager::limit_padding(const SaEntry& entry, std::uint32_t inner_bytes) {
  if (!entry.out->pads()) return;
  parts_.workers.call(entry.slot, [&](worker::DataPath&) { entry.out->limit_padding(inner_bytes); });
}

std::vector<MemoryUse> SaManager::memory() const {
  return {MemoryUse::reserved("records of SAs", sizeof(esp::RuntimeRecord), table_.size(), parts_.store.capacity())};
}

void SaManager::on_sync_done(std::uint64_t epoch) {
  let_go(table_.not_seen(epoch));
  for (esp::RuntimeRecord* record : parts_.store.unattached()) parts_.store.release(*record);
}

void SaManager::remove_ended_orphans() {
  const auto ended = table_.ended_orphans(parts_.clock.now());
  for (const SaKey& key : ended) log::info("sa", "{} of an earlier IKE daemon has ended", describe(key));
  let_go(ended);
}

/// The first of them at once, the others when it is their turn.
void SaManager::let_go(std::span<const SaKey> keys) {
  for (const SaKey& key : keys) table_.find(key)->leaving = true;
  leaving_.insert(leaving_.end(), keys.begin(), keys.end());
  if (remove_some() && on_leaving_) on_leaving_();
}

bool SaManager::remove_some() {
  constexpr std::size_t kTurn = 64;  // a millisecond or two
  std::vector<SaKey> keys;
  for (; keys.size() < kTurn && !leaving_.empty(); leaving_.pop_front()) {
    SaEntry* const entry = table_.find(leaving_.front());
    if (entry && std::exchange(entry->leaving, false)) keys.push_back(leaving_.front());
  }
  remove_all(keys);
  return !leaving_.empty();
}

}  // namespace gw::control
