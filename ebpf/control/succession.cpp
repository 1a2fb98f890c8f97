// SaManager: SAs that a process before this one has, and hands over while it runs (ADR 20).
#include "base/log.hpp"
#include "ebpf/control/sa_manager.hpp"

namespace gw::control {

void SaManager::keep_request(const SaKey& key, Secret request) {
  if (SaEntry* const entry = table_.find(key)) entry->request = std::move(request);
}

void SaManager::set_past(const SaKey& key, const Past& past) {
  SaEntry* const entry = table_.find(key);
  if (!entry) return;
  entry->installed = past.installed;
  entry->confirmed = past.confirmed;
  entry->raised = past.raised;
}

std::uint64_t SaManager::lost_to_epoch(const Endpoints::Endpoint& endpoint) const {
  return parts_.workers.shared().gates.lost_to_epoch(endpoint.gate);
}

Status SaManager::inherit_endpoints(std::span<const InheritedEndpoint> inherited) {
  Endpoints& endpoints = parts_.endpoints;
  std::vector<EndpointClaim> claims;
  for (const InheritedEndpoint& e : inherited) claims.push_back(e.claim);
  GW_TRY(Endpoints::check(claims));
  for (const IpAddress& gone : endpoints.missing_in(claims)) endpoints.remove(gone);
  GW_TRY(endpoints.add_missing(claims));
  for (const InheritedEndpoint& e : inherited) {
    if (e.claim.ownership == Ownership::kOwned)
      endpoints.open(e.claim);
    else
      endpoints.close(e.claim);
    parts_.workers.shared().gates.note_other_claim(endpoints.gate_of(e.claim.address), e.lost_to_epoch);
    apply_gates(e.claim.address);
    follow_all(e.claim.address);
  }
  parts_.workers.shared().gates.end_hold();
  return {};
}

Status SaManager::own_records() {
  GW_TRY_ASSIGN(const auto ended, parts_.store.own(parts_.instance));
  for (const esp::RuntimeRecord* record : ended)
    log::warning("sa", "SPI {:08x}: its nonces are used up by restarts; nothing is sent before a new key", record->spi);
  return {};
}

}  // namespace gw::control
