// What tunnels carried in the last minute, from looks at gw-fastpath's counters: for the doctor, who asks whether
// packets come back and whether both directions take this way. Pure but for its memory. Thread: control.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>

#include "base/clock.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::gwd {

/// Packets that were dropped for a rate.
struct OverRate {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  friend OverRate operator-(const OverRate& a, const OverRate& b) { return {a.in - b.in, a.out - b.out}; }
};

struct TrafficWindow {
  std::chrono::seconds length{0};  // between the first and the last look; 0: there was one
  std::uint64_t in_packets = 0;
  std::uint64_t out_packets = 0;
  std::uint64_t slow_path_packets = 0;
  std::uint64_t slow_path_in_packets = 0;
  std::uint64_t too_big = 0;
  OverRate over_rate;              // the tunnel's
  OverRate over_gateway_rate;      // all tunnels' together
  std::uint64_t out_since_in = 0;  // sent since the look at which something had come in
  std::chrono::seconds silent{0};  // since that look

  /// Of hosts: what did not go through the TUN device.
  std::uint64_t in_of_hosts() const { return in_packets - std::min(slow_path_in_packets, in_packets); }
  std::uint64_t out_of_hosts() const {
    const std::uint64_t slow = slow_path_packets - std::min(slow_path_in_packets, slow_path_packets);
    return out_packets - std::min(slow, out_packets);
  }
};

class TrafficWatch {
 public:
  static constexpr std::chrono::seconds kWindow{60};

  void look(const ::gw::fastpath::v1::TunnelList& tunnels, MonoTime now);
  /// Zeros for a tunnel that was not seen at the last look.
  TrafficWindow of(std::uint32_t tunnel_id) const;

 private:
  struct Look {
    MonoTime at;
    std::uint64_t in = 0;
    std::uint64_t out = 0;
    std::uint64_t slow = 0;
    std::uint64_t slow_in = 0;
    std::uint64_t too_big = 0;
    OverRate over_rate;
    OverRate over_gateway_rate;
  };
  struct Tunnel {
    std::deque<Look> looks;
    Look last_in;  // the newest one at which `in` was more than before
  };
  std::map<std::uint32_t, Tunnel> tunnels_;
};

}  // namespace gw::gwd
