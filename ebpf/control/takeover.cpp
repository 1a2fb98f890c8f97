// SaManager: the SAs of an endpoint when it comes to this instance, and when it goes.
#include "base/log.hpp"
#include "ebpf/control/sa_manager.hpp"

namespace gw::control {

/// In its order: what goes has stopped before anything opens; a gate opens when all behind it is ready.
Result<std::vector<SaKey>> SaManager::put_endpoints(std::span<const EndpointClaim> claims) {
  Endpoints& endpoints = parts_.endpoints;
  GW_TRY(Endpoints::check(claims));
  GW_TRY(endpoints.add_missing(claims));
  for (const EndpointClaim& claim : claims) apply_gates(claim.address);
  release_endpoints(claims);
  std::vector<SaKey> needs_rekey;
  for (const EndpointClaim& claim : claims) {
    if (claim.ownership != Ownership::kOwned) continue;
    const bool ours = endpoints.all().at(claim.address).claim.ownership == Ownership::kOwned;
    if (!ours) std::ranges::move(take_endpoint(claim), std::back_inserter(needs_rekey));
    endpoints.open(claim);
    if (ours) continue;
    log::info("ha", "endpoint {} is ours, lease epoch {}", claim.address, claim.lease_epoch);
    for (const auto& [key, entry] : table_.entries())
      if (entry.active && entry.src.address == claim.address) follow_ownership(entry);
  }
  for (const IpAddress& gone : endpoints.missing_in(claims)) {
    endpoints.remove(gone);
    apply_gates(gone);
    log::info("ha", "{} is no endpoint of several instances any more", gone);
  }
  return needs_rekey;
}

/// Their workers send nothing more when this returns.
void SaManager::release_endpoints(std::span<const EndpointClaim> claims) {
  Endpoints& endpoints = parts_.endpoints;
  std::vector<IpAddress> released;
  for (const EndpointClaim& claim : claims) {
    if (claim.ownership == Ownership::kOwned) continue;
    if (endpoints.all().at(claim.address).claim.ownership == Ownership::kOwned) released.push_back(claim.address);
    endpoints.close(claim);
  }
  if (released.empty()) return;
  parts_.workers.quiesce();
  for (const IpAddress& address : released) {
    log::info("ha", "endpoint {} is standby here", address);
    for (const auto& [key, entry] : table_.entries())
      if (entry.active && entry.src.address == address) follow_ownership(entry);
  }
}

std::vector<SaKey> SaManager::take_endpoint(const EndpointClaim&) { return {}; }

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
