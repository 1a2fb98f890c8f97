#include "ebpf/control/sa_manager.hpp"

#include "base/log.hpp"

namespace gw::control {
namespace {

std::string describe(const SaKey& key) { return std::format("SPI {:08x} to {}", key.spi, key.dst); }
std::string_view describe(esp::Direction d) { return d == esp::Direction::kInbound ? "in" : "out"; }

}  // namespace

Status SaManager::reserve(const SaKey& key) {
  if (table_.find(key)) return fail_field("id", std::format("{} is installed", describe(key)), Errc::kAlreadyExists);
  if (reserved_.size() >= kMaxReservations && !reserved_.contains(key))
    return fail(Errc::kLimit, std::format("too many reserved SPIs ({})", kMaxReservations));
  GW_TRY(parts_.maps.add_spi(key.spi, key.dst, {}));
  reserved_[key] = parts_.clock.now() + kReservation;
  return {};
}

/// For XDP the SPI is unknown again, unless the SA has come.
bool SaManager::end_reservation(const SaKey& key) {
  if (reserved_.erase(key) == 0) return false;
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
    const auto fingerprint = parts_.store.fingerprint(request.parameters.key.bytes());
    existing = table_.find_key({request.parameters.spi, request.direction, fingerprint});
  }
  if (existing) return claim(*existing, request, owner_epoch);
  GW_TRY_ASSIGN(SaEntry entry, prepare(request, owner_epoch));
  if (auto installed = install(entry, request); !installed) {
    parts_.store.abandon(*entry.record);
    parts_.tunnels.release_slot(entry.tunnel_id);
    return std::unexpected(std::move(installed).error());
  }
  const std::uint32_t epoch = entry.record->iv_epoch;
  log::info("sa", "added {}: {}, tunnel {}, {}", describe(entry.key), describe(entry.direction), entry.tunnel_id,
            entry.algorithm);
  table_.insert(std::move(entry));
  (void)end_reservation(request.key());
  return epoch;
}

/// The SA is installed: sent again after a reconnect, or a different key under the same name.
Result<std::uint32_t> SaManager::claim(SaEntry& entry, const SaRequest& request, std::uint64_t owner_epoch) {
  const bool same = parts_.store.fingerprint(request.parameters.key.bytes()) == entry.fingerprint &&
                    entry.direction == request.direction && entry.tunnel_id == request.tunnel_id;
  if (!same)
    return fail_field("id", std::format("{} is installed with another key, direction or tunnel", describe(entry.key)),
                      Errc::kAlreadyExists);
  GW_TRY(move({entry.key, request.parameters.src, request.parameters.dst, request.parameters.encapsulation}));
  entry.owner_epoch = owner_epoch;
  entry.seen = true;
  return entry.record->iv_epoch;
}

/// Takes a slot and the key's record; no packet sees anything of it yet.
Result<SaEntry> SaManager::prepare(const SaRequest& request, std::uint64_t owner_epoch) {
  if (table_.size() >= parts_.max_sas) return fail(Errc::kLimit, std::format("SA table is full ({})", parts_.max_sas));
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
  entry.fingerprint = parts_.store.fingerprint(p.key.bytes());
  entry.owner_epoch = owner_epoch;
  entry.installed = parts_.clock.now();
  GW_TRY_ASSIGN(entry.slot, parts_.tunnels.acquire_slot(request.tunnel_id));
  auto record = parts_.store.adopt({p.spi, p.dst.address, request.direction, entry.fingerprint},
                                   {request.origin, parts_.instance, p.sequence_jump});
  if (!record) {
    parts_.tunnels.release_slot(request.tunnel_id);
    return std::unexpected(std::move(record).error());
  }
  entry.record = *record;
  return entry;
}

Status SaManager::install(SaEntry& entry, const SaRequest& request) {
  const bool outbound = entry.direction == esp::Direction::kOutbound;
  if (outbound) entry.path = parts_.paths.acquire({entry.src.address, entry.dst.address});
  auto installed = install_in_worker(entry, request);
  if (installed && !outbound) {
    installed = parts_.maps.add_spi(entry.key.spi, entry.key.dst, {.tunnel_id = entry.tunnel_id});
    if (!installed) parts_.worker.call([&](worker::DataPath& d) { d.remove(entry.key); });
  }
  if (!installed && outbound) parts_.paths.release(entry.path);
  return installed;
}

Status SaManager::install_in_worker(const SaEntry& entry, const SaRequest& request) {
  Status result;
  // The worker's crypto backend belongs to the worker's thread: keys are expanded there.
  parts_.worker.call([&](worker::DataPath& d) {
    if (entry.direction == esp::Direction::kInbound) {
      auto sa = esp::InboundSa::create(request.parameters, d.crypto(), *entry.record);
      if (!sa)
        result = std::unexpected(std::move(sa).error());
      else
        d.install(entry.key, entry.slot, std::move(*sa));
    } else {
      auto sa = esp::OutboundSa::create(request.parameters, d.crypto(), *entry.record);
      if (!sa)
        result = std::unexpected(std::move(sa).error());
      else
        d.install(entry.key, entry.path, std::move(*sa));
    }
  });
  return result;
}

Status SaManager::move(const SaMove& m) {
  SaEntry* entry = table_.find(m.key);
  if (!entry) return fail_field("id", std::format("{} is not installed", describe(m.key)), Errc::kNotFound);
  if (entry->src == m.src && entry->dst == m.dst && entry->encapsulation == m.encapsulation) return {};
  const bool outbound = entry->direction == esp::Direction::kOutbound;
  const SaKey to{m.key.spi, m.dst.address};
  if (to != m.key && table_.find(to))
    return fail_field("new_dst", std::format("{} is installed", describe(to)), Errc::kAlreadyExists);
  if (!outbound && to != m.key) GW_TRY(parts_.maps.add_spi(to.spi, to.dst, {.tunnel_id = entry->tunnel_id}));
  const worker::PathIndex path = outbound ? parts_.paths.acquire({m.src.address, m.dst.address}) : 0;
  Status moved;
  parts_.worker.call([&](worker::DataPath& d) {
    if (outbound)
      moved = d.outbound(m.key)->set_endpoints(m.src, m.dst, m.encapsulation);
    else
      moved = d.inbound(m.key)->set_endpoints(m.src, m.dst, m.encapsulation);
    if (!moved) return;
    if (outbound) d.set_path(m.key, path);
    d.move(m.key, to);
  });
  if (outbound) parts_.paths.release(moved ? std::exchange(entry->path, path) : path);
  if (!outbound && to != m.key) {
    const SaKey& gone = moved ? m.key : to;
    parts_.maps.remove_spi(gone.spi, gone.dst);
  }
  if (!moved) return moved;
  if (to != m.key) parts_.store.rebind(*entry->record, to.dst);
  entry->src = m.src;
  entry->dst = m.dst;
  entry->encapsulation = m.encapsulation;
  log::info("sa", "{} is now {} to {}", describe(m.key), m.src.address, m.dst.address);
  table_.move(SaKey(m.key), to);
  return {};
}

Status SaManager::remove(const SaKey& key) {
  SaEntry* entry = table_.find(key);
  if (!entry && end_reservation(key)) return {};
  if (!entry) return fail_field("id", std::format("{} is not installed", describe(key)), Errc::kNotFound);
  let_go(*entry);
  const SaEntry gone = *entry;
  table_.erase(SaKey(key));
  if (gone.active) parts_.tunnels.stop_sending(gone.tunnel_id);
  parts_.tunnels.release_slot(gone.tunnel_id);
  log::info("sa", "removed {}", describe(gone.key));
  return {};
}

void SaManager::let_go(const SaEntry& entry) {
  if (entry.direction == esp::Direction::kInbound) parts_.maps.remove_spi(entry.key.spi, entry.key.dst);
  parts_.worker.call([&](worker::DataPath& d) { d.remove(entry.key); });
  if (entry.direction == esp::Direction::kOutbound) parts_.paths.release(entry.path);
  parts_.store.release(*entry.record);
}

Status SaManager::activate(const SaKey& key) {
  SaEntry* entry = table_.find(key);
  if (!entry) return fail_field("id", std::format("{} is not installed", describe(key)), Errc::kNotFound);
  if (entry->direction != esp::Direction::kOutbound)
    return fail_field("id", std::format("{} is inbound", describe(key)));
  if (entry->active) return {};
  if (SaEntry* before = table_.active(entry->tunnel_id)) before->active = false;
  parts_.worker.call([&](worker::DataPath& d) { d.activate(entry->slot, entry->key); });
  entry->active = true;
  parts_.tunnels.start_sending(entry->tunnel_id);
  log::info("sa", "tunnel {} sends with {}", entry->tunnel_id, describe(key));
  return {};
}

void SaManager::on_sync_done(std::uint64_t epoch) {
  for (const SaKey& key : table_.not_seen(epoch)) (void)remove(key);
  for (esp::RuntimeRecord* record : parts_.store.unattached()) parts_.store.release(*record);
}

void SaManager::remove_ended_orphans() {
  for (const SaKey& key : table_.ended_orphans(parts_.clock.now())) {
    log::info("sa", "{} of an earlier IKE daemon has ended", describe(key));
    (void)remove(key);
  }
}

}  // namespace gw::control
