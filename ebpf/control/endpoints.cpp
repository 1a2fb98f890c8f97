#include "ebpf/control/endpoints.hpp"

#include <algorithm>
#include <format>
#include <set>

namespace gw::control {

Status Endpoints::check(std::span<const EndpointClaim> claims) {
  if (claims.size() > kMax)
    return fail(Errc::kLimit, std::format("{} endpoints are more than {}", claims.size(), kMax));
  std::set<IpAddress> seen;
  for (std::size_t i = 0; i < claims.size(); ++i)
    if (!seen.insert(claims[i].address).second)
      return fail_field(std::format("endpoints[{}].address", i), std::format("{} is there twice", claims[i].address));
  return {};
}

Status Endpoints::add_missing(std::span<const EndpointClaim> claims) {
  for (const EndpointClaim& claim : claims) {
    if (endpoints_.contains(claim.address)) continue;
    const worker::GateIndex gate = gates_.take();
    if (gate == worker::kNoGate) return fail(Errc::kLimit, std::format("all {} endpoint gates are in use", kMax));
    if (auto added = maps_.add_endpoint(claim.address, gate); !added) {
      gates_.give(gate);
      return added;
    }
    endpoints_[claim.address] = {gate, {.address = claim.address}};
  }
  return {};
}

std::vector<IpAddress> Endpoints::missing_in(std::span<const EndpointClaim> claims) const {
  std::vector<IpAddress> missing;
  for (const auto& [address, endpoint] : endpoints_)
    if (std::ranges::find(claims, address, &EndpointClaim::address) == claims.end()) missing.push_back(address);
  return missing;
}

void Endpoints::remove(const IpAddress& address) {
  const auto it = endpoints_.find(address);
  if (it == endpoints_.end()) return;
  maps_.remove_endpoint(address);
  gates_.give(it->second.gate);
  endpoints_.erase(it);
}

void Endpoints::open(const EndpointClaim& claim) {
  Endpoint& endpoint = endpoints_.at(claim.address);
  endpoint.claim = claim;
  gates_.set(endpoint.gate, {claim.deadline_ns == 0 ? GW_GATE_FOREVER : claim.deadline_ns, claim.lease_epoch});
}

void Endpoints::close(const EndpointClaim& claim) {
  Endpoint& endpoint = endpoints_.at(claim.address);
  const bool owned = endpoint.claim.ownership == Ownership::kOwned;
  if (owned) gates_.set_receive_until(endpoint.gate, worker::boot_ns(clock_.now() + kStillReceives));
  endpoint.claim = claim;
  if (owned && claim.parting)
    gates_.begin_parting(endpoint.gate);
  else
    shut(claim.address);
}

void Endpoints::shut(const IpAddress& address) {
  const Endpoint& endpoint = endpoints_.at(address);
  gates_.set(endpoint.gate, {0, endpoint.claim.lease_epoch});
}

worker::GateIndex Endpoints::gate_of(const IpAddress& address) const {
  const auto it = endpoints_.find(address);
  return it == endpoints_.end() ? worker::kNoGate : it->second.gate;
}

bool Endpoints::owned(const IpAddress& address) const {
  const auto it = endpoints_.find(address);
  return it == endpoints_.end() || it->second.claim.ownership == Ownership::kOwned;
}

}  // namespace gw::control
