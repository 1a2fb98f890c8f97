// SaManager: the SAs of an endpoint when it comes to this instance, and when it goes.
#include <algorithm>

#include "base/log.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/esp/takeover_rules.hpp"

namespace gw::control {

/// In its order: what goes has stopped before anything opens; a gate opens when all behind it is ready.
Result<SaManager::PutEndpoints> SaManager::put_endpoints(std::span<const EndpointClaim> claims) {
  Endpoints& endpoints = parts_.endpoints;
  GW_TRY(Endpoints::check(claims));
  std::set<IpAddress> added;
  for (const EndpointClaim& claim : claims)
    if (!endpoints.all().contains(claim.address)) added.insert(claim.address);
  GW_TRY(endpoints.add_missing(claims));
  using Kind = esp::RuntimeStore::Endpoints;
  parts_.store.set_endpoints(claims.empty() ? Kind::kAlone : Kind::kShared);
  for (const IpAddress& address : added) apply_gates(address);
  release_endpoints(claims, added);
  PutEndpoints out;
  for (const EndpointClaim& claim : claims) {
    if (claim.ownership != Ownership::kOwned) continue;
    const bool ours = endpoints.owned(claim.address);
    if (!ours && claim.awaits_positions && claim.handover == Handover::kPlanned && sync_.awaits_final(claim.address)) {
      out.awaited.push_back(claim.address);
      continue;
    }
    if (!ours) std::ranges::move(take_endpoint(claim.address, claim.handover), std::back_inserter(out.needs_rekey));
    // Its address came to the wan a moment ago.
    if (!ours) parts_.paths.refresh_from(claim.address);
    endpoints.open(claim);
    if (ours) continue;
    log::info("ha", "endpoint {} is ours, lease epoch {}", claim.address, claim.lease_epoch);
    follow_all(claim.address);
  }
  for (const IpAddress& gone : endpoints.missing_in(claims)) {
    if (!endpoints.owned(gone))
      std::ranges::move(take_endpoint(gone, Handover::kTakeover), std::back_inserter(out.needs_rekey));
    endpoints.remove(gone);
    apply_gates(gone);
    follow_all(gone);
    log::info("ha", "{} is no endpoint of several instances any more", gone);
  }
  sync_.ownership_changed();
  parts_.workers.shared().gates.end_hold();
  return out;
}

/// Their workers send nothing more when this returns, and the other instance is told where they stopped.
void SaManager::release_endpoints(std::span<const EndpointClaim> claims, const std::set<IpAddress>& added) {
  Endpoints& endpoints = parts_.endpoints;
  std::vector<IpAddress> released;
  std::vector<IpAddress> gone;  // nothing of them is here any more
  for (const EndpointClaim& claim : claims) {
    if (claim.ownership == Ownership::kOwned) continue;
    const bool now = endpoints.owned(claim.address) || added.contains(claim.address);
    if (now) released.push_back(claim.address);
    if (!claim.parting && (now || endpoints.all().at(claim.address).claim.parting)) gone.push_back(claim.address);
    endpoints.close(claim);
  }
  if (!released.empty()) stop_sending(released);
  for (const IpAddress& address : gone) follow_all(address);
}

/// Bursts that begin are not sent any more.
void SaManager::stop_sending(std::span<const IpAddress> released) {
  parts_.workers.quiesce();
  for (const IpAddress& address : released) {
    parts_.endpoints.shut(address);
    log::info("ha", "endpoint {} is standby here", address);
    sync_.tell_final(address);
    for (const auto& [key, entry] : table_.entries())
      if (our_address(entry) == address) hand_on(*table_.find(key));
  }
}

/// Others may send with it from now on, if they do not already.
void SaManager::hand_on(SaEntry& entry) {
  if (esp::load_field(entry.record->synced_at_ns) == 0)
    esp::hand_on(*entry.record, entry.direction, parts_.clock.now());
}

std::vector<SaKey> SaManager::take_endpoint(const IpAddress& address, Handover handover) {
  std::vector<SaEntry*> entries;
  for (const auto& [key, entry] : table_.entries())
    if (our_address(entry) == address) entries.push_back(table_.find(key));
  return take(entries, handover);
}

/// Each on the worker that owns it; the gates are still closed. Those that cannot send.
std::vector<SaKey> SaManager::take(std::span<SaEntry* const> entries, Handover handover) {
  std::vector<esp::RuntimeRecord*> records;
  for (const SaEntry* entry : entries) records.push_back(entry->record);
  std::vector<esp::TakenOver> results(entries.size(), esp::TakenOver::kYes);
  const MonoTime now = parts_.clock.now();
  on_owners(records, [&](std::size_t i) {
    const SaEntry& e = *entries[i];
    if (e.direction == esp::Direction::kInbound) return esp::take_inbound(*e.record);
    const bool exact = handover == Handover::kPlanned && sync_.exact(e.sync_key);
    results[i] = esp::take_outbound(*e.record, exact ? esp::Report::kExact : esp::Report::kLast, e.sequence_mode, now);
  });
  std::vector<SaKey> needs_rekey;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (results[i] == esp::TakenOver::kNeedsRekey) needs_rekey.push_back(entries[i]->key);
  return needs_rekey;
}

/// An SA that has just come: the endpoint may be here already, or at the other instance.
void SaManager::settle(SaEntry& entry) {
  slots_[entry.record] = entry.slot;
  sync_.add(entry.sync_key, {entry.record, entry.direction, our_address(entry)});
  if (parts_.store.is_shared()) return;  // the process that has it has seen to that
  if (!parts_.endpoints.owned(our_address(entry))) return hand_on(entry);
  if (esp::load_field(entry.record->synced_at_ns) == 0) return;  // nobody else has used it
  // Not known yet whose it is: it is taken, once, when gwd says so.
  if (parts_.endpoints.gate_of(our_address(entry)) == worker::kNoGate) return;
  SaEntry* const one = &entry;
  if (!take(std::span(&one, 1), Handover::kTakeover).empty())
    log::warning("ha", "SPI {:08x} to {} waits for a grant of nonces: nothing is sent with it", entry.key.spi,
                 entry.key.dst);
}

void SaManager::send(const fp::SaSync& frame) {
  if (on_sync_frame_) on_sync_frame_(frame);
}

/// change(i) on the worker that owns the SA of records[i], all workers at once.
void SaManager::on_owners(std::span<esp::RuntimeRecord* const> records,
                          const std::function<void(std::size_t)>& change) {
  if (records.empty()) return;
  std::vector<worker::WorkerIndex> owners;
  for (const esp::RuntimeRecord* record : records) owners.push_back(parts_.workers.shared().owner(slots_.at(record)));
  const auto change_own = [&](worker::DataPath& d) {
    for (std::size_t i = 0; i < owners.size(); ++i)
      if (owners[i] == d.index()) change(i);
  };
  if (records.size() == 1)
    parts_.workers[owners[0]].call(change_own);
  else
    parts_.workers.call_all(change_own);
}

void SaManager::accept(std::span<const SaSync::Granted> grants) {
  std::vector<esp::RuntimeRecord*> records;
  for (const SaSync::Granted& g : grants) records.push_back(g.record);
  on_owners(records, [&](std::size_t i) { (void)esp::accept_grant(*grants[i].record, grants[i].block); });
}

void SaManager::forget(std::span<esp::RuntimeRecord* const> records) {
  on_owners(records, [&](std::size_t i) { esp::forget_epochs(*records[i]); });
}

void SaManager::follow_all(const IpAddress& address) {
  for (const auto& [key, entry] : table_.entries())
    if (entry.active && entry.src.address == address) follow_ownership(entry);
}

/// The tunnel device has carrier where its packets leave.
void SaManager::follow_ownership(const SaEntry& entry) {
  if (sends(entry))
    parts_.tunnels.start_sending(entry.tunnel_id);
  else
    parts_.tunnels.stop_sending(entry.tunnel_id);
}

void SaManager::apply_gates(const IpAddress& address) {
  const worker::GateIndex gate = parts_.endpoints.gate_of(address);
  for (const auto& [key, entry] : table_.entries()) {
    if (our_address(entry) != address) continue;
    if (entry.direction == esp::Direction::kInbound) {
      worker::Inbound& in = *parts_.workers.shared().inbound.find(key);
      if (in.gate != gate) parts_.workers.call(entry.slot, [&](worker::DataPath&) { in.gate = gate; });
    } else if (entry.active) {
      parts_.workers.call(entry.slot, [&](worker::DataPath& d) {
        worker::ActiveSa active = d.active(entry.slot);
        active.gate = gate;
        d.activate(entry.slot, active);
      });
    }
  }
}

}  // namespace gw::control
