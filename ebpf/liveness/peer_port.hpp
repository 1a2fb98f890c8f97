// The heartbeat on the wire: a UDP socket between the two instances' VNet addresses, the Partner behind it, and what
// follows from it at once: the embedded lease, and gates of endpoints that the other one claims with a higher epoch.
// The control thread opens it; afterwards it is the liveness thread's.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "base/fd.hpp"
#include "ebpf/liveness/partner.hpp"
#include "ebpf/liveness/workers_advance.hpp"
#include "ebpf/worker/endpoint_gates.hpp"

namespace gw::liveness {

enum class LeaseKind : std::uint8_t {
  kEmbedded,   // this thread's: extended while it runs in time
  kElsewhere,  // deadlines come with the claims (etcd)
};

struct PeerSettings {
  PartnerSettings partner;
  IpAddress local;
  IpAddress peer;
  std::uint16_t port = 0;
  LeaseKind lease = LeaseKind::kEmbedded;
  friend bool operator==(const PeerSettings&, const PeerSettings&) = default;
};

/// An endpoint, and its gate.
struct GatedClaim {
  Claim claim;
  worker::GateIndex gate = worker::kNoGate;
};

/// What gwd is to hear.
struct PeerFindings {
  std::optional<PartnerStatus> status;  // it changed
  std::vector<Loss> losses;
};

class PeerPort {
 public:
  static Result<std::unique_ptr<PeerPort>> open(const PeerSettings& settings, Secret key, worker::Workers& workers,
                                                MonoTime now);
  PeerPort(const PeerPort&) = delete;
  PeerPort& operator=(const PeerPort&) = delete;

  void go_on(const Partner::Continuation& from) {
    partner_.go_on(from);
    apply_lease();
  }

  /// In the place of one with other settings: this instance has not stood still, and sends on by the lease it has.
  void keep_lease_of(const PeerPort& before);

  const PeerSettings& settings() const { return settings_; }
  int fd() const { return fd_.get(); }
  bool has_key(const Secret& key) const { return partner_.has_key(key); }
  void change_key(Secret key, MonoTime now) { partner_.change_key(std::move(key), now); }
  void set_claims(const std::vector<GatedClaim>& claims);

  /// It goes, and no other follows: without a peer there is no embedded lease.
  void end_lease() { gates_.set_lease_until(GW_GATE_FOREVER); }

  /// First in every turn, before the socket is read: sends what is due. `control`: of this instance.
  void advance(MonoTime now, Control control);
  void read(MonoTime now);
  /// Last in every turn.
  PeerFindings judge(MonoTime now);
  MonoTime due() const { return partner_.due(); }
  const Partner& partner() const { return partner_; }

 private:
  PeerPort(const PeerSettings& settings, Secret key, worker::Workers& workers, Fd fd, MonoTime now);
  void obey_claims();
  void apply_lease();

  PeerSettings settings_;
  worker::EndpointGates& gates_;
  WorkersAdvance workers_;
  Fd fd_;
  Partner partner_;
  std::map<IpAddress, worker::GateIndex> gate_of_;
  std::optional<std::uint64_t> lease_ns_;  // as the gates have it
};

}  // namespace gw::liveness
