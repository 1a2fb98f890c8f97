// The gateway's endpoints (public addresses), which of them this instance owns, and their gates: what gwd claimed last.
// Which SAs that concerns, and with what they go on, is SaManager's. Control thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/worker/endpoint_gates.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::control {

enum class Ownership : std::uint8_t { kStandby, kOwned };

/// How an endpoint comes to its new owner.
enum class Handover : std::uint8_t {
  kTakeover,  // the old owner is gone, or says nothing
  kPlanned,   // it has stopped, and its last report is exact
};

struct EndpointClaim {
  IpAddress address;
  Ownership ownership = Ownership::kStandby;
  std::uint64_t lease_epoch = 0;
  std::uint64_t deadline_ns = 0;  // CLOCK_BOOTTIME; 0: none
  Handover handover = Handover::kTakeover;
  bool parting = false;           // standby: devices keep their carrier, see fastpath.proto
  bool awaits_positions = false;  // owned: stays closed until they are here
  friend bool operator==(const EndpointClaim&, const EndpointClaim&) = default;
};

class Endpoints {
 public:
  /// Place 0 is none.
  static constexpr std::size_t kMax = GW_GATES - 1;
  /// After a planned move, what was on its way to the old owner is delivered by it.
  static constexpr std::chrono::seconds kStillReceives{2};

  struct Endpoint {
    worker::GateIndex gate = worker::kNoGate;
    EndpointClaim claim;
  };

  Endpoints(worker::EndpointGates& gates, xdp::Maps& maps, const Clock& clock)
      : gates_(gates), maps_(maps), clock_(clock) {}

  /// No address twice, and not too many.
  static Status check(std::span<const EndpointClaim> claims);

  /// Endpoints that are new get a closed gate. Fails before anything has changed, or with the BPF map's error.
  Status add_missing(std::span<const EndpointClaim> claims);
  /// Known endpoints that the list leaves out.
  std::vector<IpAddress> missing_in(std::span<const EndpointClaim> claims) const;
  /// Its gate is nobody's any more.
  void remove(const IpAddress& address);

  /// The gate opens, or gets another deadline. What its SAs go on with has been seen to.
  void open(const EndpointClaim& claim);
  /// No burst that begins after this is sent; the caller waits for those under way, which are, if we part from it, and
  /// then calls shut().
  void close(const EndpointClaim& claim);
  void shut(const IpAddress& address);

  /// kNoGate: it is no endpoint.
  worker::GateIndex gate_of(const IpAddress& address) const;
  /// By the last claim: deadlines and leases are the gates' business. What is no endpoint is always ours.
  bool owned(const IpAddress& address) const;
  const std::map<IpAddress, Endpoint>& all() const { return endpoints_; }

 private:
  worker::EndpointGates& gates_;
  xdp::Maps& maps_;
  const Clock& clock_;
  std::map<IpAddress, Endpoint> endpoints_;
};

}  // namespace gw::control
