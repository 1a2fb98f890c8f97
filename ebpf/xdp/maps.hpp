// The maps that the fast path's BPF programs share, in one owner: installed SPIs, our addresses, the owners of
// tunnels, the forwarding table's memory, counters, events. XDP and tcx programs take them over when they are
// loaded, so both kinds of port do the same. Outlives every program. Control thread; the forwarding table's
// memory is read by the workers as well.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/abi/xdp.h"

struct gw_fib_line;
struct gw_gates;
struct gw_next_hop;
struct bpf_map;
struct bpf_object;

namespace gw::xdp {

/// Totals over all CPUs, by enum gw_xdp_counter.
using Counters = std::array<std::uint64_t, GW_XDP_COUNTERS>;
enum class CounterMap : std::uint8_t { kWan, kVnet, kCircuit, kDecrypted };
/// Of a per-CPU array by enum gw_xdp_counter.
Counters read_counters(const bpf_map* map);
/// "unknown_spi"; empty for the counters that are not drops.
std::string_view drop_name(gw_xdp_counter counter);

/// libbpf's messages go to our log at debug level: our own errors say what failed. Once at start.
void quiet_libbpf();

struct UnknownSpi {
  std::uint32_t spi = 0;
  IpAddress src;
  IpAddress dst;
  std::uint16_t src_port = 0;  // 0: protocol 50
};

/// Capacity of the forwarding table. The IPv4 root takes 32 MB; by default, beside it: 4 MB for 8,192 networks
/// of /24 with longer prefixes in them (the full Internet table has 451), 16 MB for IPv6 (the full table takes
/// a third of it) and 9 MB of next hops.
struct FibSize {
  std::uint32_t v4_groups = 8192;   // 512 bytes each; gw-fastpath adds kOwnV4Groups
  std::uint32_t v6_lines = 262144;  // 64 bytes each
  std::uint32_t next_hops = 16384;  // 544 bytes each
};

/// The mapped arrays; see ebpf/fib/view.hpp for what they mean.
struct FibArrays {
  std::span<std::uint16_t> v4_root, v4_groups;
  std::span<std::uint32_t> v6_root;
  std::span<gw_fib_line> v6_lines;
  std::span<gw_next_hop> next_hops;
};

/// Between the circuit and tunnels.
enum class Transit : std::uint8_t { kClosed, kOpen };

/// Whom packets are for on a clear port.
struct NeighbourAt {
  gw_side side = GW_SIDE_VNET;
  IpAddress address;
  friend auto operator<=>(const NeighbourAt&, const NeighbourAt&) = default;
};

struct MapSizes {
  std::size_t max_sas = 4096;
  FibSize fib;
  /// Of this machine's addresses: those of tunnels' devices are most of them (local_addresses_for()).
  std::size_t max_local_addresses = 4096;
  std::size_t max_peers = 4096;
};
/// A tunnel's device has a link-local address and one for BGP in each family, and may have another; and there is room
/// for a machine's own. An address beyond it would not be known as ours: its unknown SPIs nobody would hear of.
constexpr std::size_t local_addresses_for(std::size_t tunnels) { return 4 * tunnels + 4096; }

class Maps {
 public:
  /// kPermission without CAP_BPF.
  static Result<Maps> create(const MapSizes& sizes);
  Maps(Maps&&) noexcept;
  Maps& operator=(Maps&&) noexcept;
  ~Maps();

  /// Adds, or changes the owner. kLimit: the map is full.
  Status add_spi(std::uint32_t spi, const IpAddress& dst, const gw_spi_owner& owner);
  void remove_spi(std::uint32_t spi, const IpAddress& dst);
  /// The addresses that are ours, as a whole. kLimit: those that fit are in, and the first that does not is named.
  Status set_local(std::span<const IpAddress> addresses);
  /// The address is a tunnel's peer's: its IKE is not limited with everybody else's. kLimit: the map is full.
  Status add_peer(const IpAddress& address);
  void remove_peer(const IpAddress& address);
  /// Packets for the tunnel of this slot go to this worker. 0 before the first call.
  Status set_slot_owner(std::uint16_t slot, std::uint32_t worker);

  /// Requests for the MAC of this address are judged by that gate.
  Status add_endpoint(const IpAddress& address, std::uint32_t gate);
  void remove_endpoint(const IpAddress& address);
  /// worker::EndpointGates' memory.
  gw_gates& gates() const;

  FibArrays fib() const;
  Counters counters(CounterMap map) const;
  /// What was counted before these maps were made.
  void add_counter(CounterMap map, std::uint32_t counter, std::uint64_t value);
  Counters wan_counters() const;
  Counters vnet_counters() const;
  Counters circuit_counters() const;
  Counters decrypted_counters() const;

  void set_transit(Transit transit);
  Transit transit() const;
  /// What the driver of a clear port sends as XDP frames, and by which interface. None at first.
  void set_frames(gw_side side, gw_xdp_frames frames);
  Status set_out_port(gw_side side, int ifindex);

  /// Adds or changes; gw_neighbour::use is ours. kLimit: the map is full, packets to it are the kernel's.
  Status put_neighbour(const NeighbourAt& at, const gw_neighbour& neighbour);
  void remove_neighbour(const NeighbourAt& at);
  /// Whether packets went there, or would have, since the last question.
  bool take_used(const NeighbourAt& at);

  /// Readable when events wait; consume() hands over each.
  int events_fd() const;
  void consume(const std::function<void(const UnknownSpi&)>& handler);

  /// Makes an opened, not yet loaded object use these maps instead of its own of the same names, those named in `but`
  /// excepted.
  Status share_with(bpf_object* object, std::span<const std::string_view> but = {}) const;

 private:
  struct Impl;
  explicit Maps(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::xdp
