// What the HA state machine is told once: who is there, which endpoints, who may have them, and its times.
// Every instance of a gateway has the same but for `self`. A value; pure, any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "ha/types.hpp"

namespace gw::ha {

struct Member {
  Instance id{};
  std::string name;  // "gw-a"
  friend bool operator==(const Member&, const Member&) = default;
};

struct Endpoint {
  IpAddress address;
  Instance home{};
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// Whether an endpoint goes back by itself to the instance that is preferred for it.
enum class Failback : std::uint8_t { kAutomatic, kManual };

/// Each with the reason for its value; docs/ha.md has the budget that they make up.
struct Timing {
  using ms = std::chrono::milliseconds;
  /// The sync channel carries a report every 50 ms; three in a row missing is silence. Equal to the data path's.
  ms silent{150};
  /// A frozen instance's fast path may send for this long after it last ran (gw-fastpath's embedded lease, 120 ms).
  /// Nobody takes over before this and `lease_margin` have passed since anything was heard from it.
  ms lease_hold{120};
  /// What a heartbeat may take on its way: it says when it was sent, and we know when it came.
  ms lease_margin{20};
  /// Longer without running than this, and what we know is old: everything silent gets its full time again.
  /// Below `lease_hold`, so that a machine that was frozen never acts on silence that was its own.
  ms frozen{100};
  /// A fast path or a carrier that is back after this was never away: a supervised restart takes about 60 ms.
  ms fault_grace{100};
  /// An instance without gwd forwards, and what else of it lives goes on. Where gwd is started again, it is back in a
  /// second or two; where charon and bgpd are gone with it, sites wait for this.
  ms control_grace{5'000};
  /// After start: the others get the time of a TLS handshake over two paths to say what they own.
  ms start_wait{1'000};
  /// After start, for endpoints that are at home elsewhere: machines powered on together differ by seconds.
  ms foreign_wait{10'000};
  /// Sites get this long to move their traffic after GRACEFUL_SHUTDOWN: 2 s lost nothing when tried (FRR findings).
  ms drain_wait{2'000};
  /// To answer Prepare (installing what is missing) or a request.
  ms prepare_wait{3'000};
  /// The fast path stops within a burst; IKE's segment switch took 17 to 34 ms. Ten times that is a fault.
  ms release_wait{500};
  /// The other one died with our HandOver in hand: how long its fast path may go on without claiming.
  ms take_back_wait{500};
  /// With etcd: pause before asking again for a lease that was refused, and per rank of who may ask.
  ms lease_retry{200};
  /// An endpoint goes back when the preferred instance has been fit for this long: a second failure of something
  /// that just came up is likelier than of something that runs.
  ms failback_delay{60'000};
  friend bool operator==(const Timing&, const Timing&) = default;
};

struct Configuration {
  Instance self{};
  std::vector<Member> members;  // all, self too
  std::vector<Endpoint> endpoints;
  Mode mode = Mode::kActiveActive;
  Instance preferred{};  // active/standby: of all endpoints
  LeaseKind lease = LeaseKind::kEmbedded;
  Failback failback = Failback::kAutomatic;
  Timing timing{};
  friend bool operator==(const Configuration&, const Configuration&) = default;

  /// Where the endpoint belongs when everything works.
  Instance preferred_for(const Endpoint& endpoint) const {
    return mode == Mode::kActiveStandby ? preferred : endpoint.home;
  }
  /// "gw-a"; "instance 7" for a number that is not a member's.
  std::string name_of(Instance id) const;
};

/// kInvalidArgument with a field: fewer than two members, numbers or addresses twice, a home or preferred instance that
/// is not a member, more than two members with the embedded lease, times that contradict each other.
Status check(const Configuration& configuration);

}  // namespace gw::ha
