// The next-hop array of the forwarding table: records shared by all routes that use them, counted, and
// reused only after a grace period. ECMP is by rendezvous hashing over tunnel ids: each bucket goes to
// the tunnel with the highest hash of (bucket, tunnel), so taking a tunnel away moves only its own
// buckets, adding one moves only those it wins, and every instance of the gateway makes the same choice.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::fib {

/// A tunnel as the table sees it.
struct TunnelRef {
  std::uint32_t id = 0;    // hashed: the same on every instance and after every restart
  std::uint16_t slot = 0;  // stored: index into the worker's table
  std::uint16_t mtu = 0;   // inner, bytes
  friend auto operator<=>(const TunnelRef&, const TunnelRef&) = default;
};

/// What a route says, in canonical form: tunnels sorted by id.
struct NextHop {
  gw_next_hop_kind kind = GW_NEXT_HOP_NONE;
  std::vector<TunnelRef> tunnels;  // 1..16 for GW_NEXT_HOP_TUNNELS
  IpAddress gateway;               // unspecified: on link
  friend auto operator<=>(const NextHop&, const NextHop&) = default;
};

class NextHops {
 public:
  explicit NextHops(std::span<gw_next_hop> memory);

  /// A reference to the record for `hop`, made if it is new; kLimit when all records are in use.
  Result<NextHopIndex> acquire(const NextHop& hop);
  /// Gives one reference back; the last one retires the record.
  void release(NextHopIndex index);

  std::vector<NextHopIndex> take_retired() { return std::exchange(retired_, {}); }
  /// After a grace period.
  void reuse(std::span<const NextHopIndex> indexes);

  const NextHop& describe(NextHopIndex index) const { return records_[index].hop; }
  std::size_t in_use() const { return by_value_.size(); }

 private:
  struct Record {
    NextHop hop;
    std::size_t references = 0;
  };
  void write(NextHopIndex index, const NextHop& hop);

  std::span<gw_next_hop> memory_;
  std::vector<Record> records_;
  std::map<NextHop, NextHopIndex> by_value_;
  std::vector<NextHopIndex> free_;
  std::vector<NextHopIndex> retired_;
};

}  // namespace gw::fib
