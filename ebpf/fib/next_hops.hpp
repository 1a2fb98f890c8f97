// The next-hop array of the forwarding table: records shared by all routes that use them, counted, and
// reused only after a grace period. ECMP is by rendezvous hashing over tunnel ids, or the addresses of gateways: each
// bucket goes to the one with the highest hash of (bucket, tunnel), so taking a tunnel away moves only its own
// buckets, adding one moves only those it wins, and every instance of the gateway makes the same choice.
// A tunnel that changes or goes is rewritten in the records themselves, bucket by bucket: a million routes
// move with it at once. Control thread.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <set>
#include <span>
#include <utility>
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

/// What a route says, in canonical form: tunnels sorted by id, gateways by address.
struct NextHop {
  gw_next_hop_kind kind = GW_NEXT_HOP_NONE;
  std::vector<TunnelRef> tunnels;   // 1..16 for GW_NEXT_HOP_TUNNELS
  std::vector<IpAddress> gateways;  // of one family. vnet: 0 (on link) to 16, circuit: 1..16
  gw_zone behind = GW_ZONE_VNET;    // vnet: what the gateways lead to
  friend auto operator<=>(const NextHop&, const NextHop&) = default;
};
std::size_t hash_value(const NextHop& hop);

class NextHops {
 public:
  explicit NextHops(std::span<gw_next_hop> memory);

  /// A reference to the record for `hop`, made if it is new; kLimit when all records are in use.
  Result<NextHopIndex> acquire(const NextHop& hop);
  /// Gives one reference back; the last one retires the record.
  void release(NextHopIndex index);

  /// The tunnel has another slot or MTU; readers see it at once.
  void replace_tunnel(const TunnelRef& tunnel);
  /// Out of every group that has others left. The records of those that do not: their routes are to go.
  std::vector<NextHopIndex> remove_tunnel(std::uint32_t id);

  std::size_t retired() const { return retired_.size(); }
  /// After a grace period.
  void release_retired();

  /// Of the records in use: kind (vnet, circuit) and address. Changes with gateways_version().
  std::set<std::pair<gw_next_hop_kind, IpAddress>> gateways() const;
  std::uint64_t gateways_version() const { return gateways_version_; }

  const NextHop& describe(NextHopIndex index) const { return records_[index].hop; }
  std::size_t in_use() const { return records_.size() - 1 - free_.size() - retired_.size(); }

 private:
  struct Record {
    NextHop hop;
    std::size_t references = 0;
  };
  void rewrite(NextHopIndex index, NextHop hop);
  void forget(NextHopIndex index);
  void write(NextHopIndex index);

  std::span<gw_next_hop> memory_;
  std::vector<Record> records_;
  boost::unordered_flat_map<NextHop, NextHopIndex> by_value_;  // of equal records (after rewriting), one
  std::vector<NextHopIndex> free_;
  std::vector<NextHopIndex> retired_;
  std::uint64_t gateways_version_ = 0;
};

}  // namespace gw::fib
