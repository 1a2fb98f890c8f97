// What all workers read and only the control thread writes: inbound SAs and who owns them, owners of tunnels,
// link headers to peers, neighbours of the vnet port. No locks; what a change takes away is freed by
// reclaim() after a grace period (Workers::quiesce).
//
// A tunnel is owned by one worker, both directions: its sequence numbers, IVs and replay windows have one writer.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/sa.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/worker/endpoint_gates.hpp"
#include "ebpf/worker/fragment_ids.hpp"
#include "ebpf/worker/gateway_rate.hpp"
#include "ebpf/worker/port.hpp"
#include "ebpf/worker/random_seed.hpp"
#include "ebpf/worker/shared_table.hpp"

namespace gw::worker {

/// What is in front of an IP packet on the wire: Ethernet, with up to two VLAN tags.
struct LinkHeader {
  std::array<std::uint8_t, kMaxLinkBytes> bytes{};
  std::uint8_t length = 0;
  friend bool operator==(const LinkHeader&, const LinkHeader&) = default;
};
/// Puts the header in front of a packet, for which there is room.
inline void write_link_header(Outgoing& out, const LinkHeader& header, Family family) {
  out.data -= header.length;
  out.length += header.length;
  // A constant length for each, so that the copy is a few moves.
  switch (header.length) {
    case kEthernetBytes: std::memcpy(out.data, header.bytes.data(), kEthernetBytes); break;
    case kEthernetBytes + 4: std::memcpy(out.data, header.bytes.data(), kEthernetBytes + 4); break;
    default: std::memcpy(out.data, header.bytes.data(), header.length); break;
  }
  store_be(out.data + header.length - 2, family == Family::kV4 ? std::uint16_t{0x0800} : std::uint16_t{0x86dd});
}
/// The way to a peer; an index into the table of paths, given out by the control thread.
using PathIndex = std::uint32_t;

struct Inbound {
  std::unique_ptr<esp::InboundSa> sa;  // its owner's alone
  TunnelSlot tunnel = kNoTunnel;
  WorkerIndex owner = 0;
  GateIndex gate = kNoGate;  // of the address it receives at; the control thread's, through Worker::call()
  bool confirmed = false;    // owner: the first authenticated packet was reported
  MonoTime next_mapping{};   // owner: when it may be told again that the peer has moved
};
static_assert(sizeof(SharedTable<SaKey, Inbound>::Node) == 64, "one cache line a lookup");

/// Set by workers, taken by the control thread, so that the kernel can be told what is in use.
class UsedFlag {
 public:
  UsedFlag() = default;
  UsedFlag(UsedFlag&& other) noexcept : used_(other.take()) {}
  UsedFlag& operator=(UsedFlag&& other) noexcept {
    used_.store(other.take(), std::memory_order_relaxed);
    return *this;
  }
  void set() {
    if (!used_.load(std::memory_order_relaxed)) used_.store(true, std::memory_order_relaxed);
  }
  bool take() { return used_.exchange(false, std::memory_order_relaxed); }

 private:
  std::atomic<bool> used_{false};
};

struct Neighbour {
  LinkHeader header;  // empty: a broadcast address, which gets nothing
  UsedFlag used;
  std::uint16_t mtu = UINT16_MAX;  // of the interface that it is behind: a VLAN's may be less than its port's
};

/// An address that live inbound SAs expect their packets from.
struct Peer {};

/// An inbound SPI that charon has offered to a peer: packets of it wait for its SA.
struct Reservation {};

class PathTable {
 public:
  explicit PathTable(std::size_t capacity) : slots_(capacity) {}
  ~PathTable() {
    for (Slot& slot : slots_) delete slot.header.load(std::memory_order_relaxed);
  }
  PathTable(const PathTable&) = delete;
  PathTable& operator=(const PathTable&) = delete;

  /// Any thread. The link header to the peer, noted as used; empty: there is no way; null: unresolved, the kernel
  /// sends.
  const LinkHeader* use(PathIndex path) {
    const LinkHeader* header = slots_[path].header.load(std::memory_order_acquire);
    if (header) slots_[path].used.set();
    return header;
  }

  /// Any thread. For ports whose packets the kernel sends: the interface by which the peer is reached, the wan port or
  /// one of its sub-interfaces; kUnknown, kNoWay.
  int interface_of(PathIndex path) const { return slots_[path].ifindex.load(std::memory_order_relaxed); }
  static constexpr int kUnknown = 0;
  static constexpr int kNoWay = -1;

  /// The writer.
  void set(PathIndex path, const std::optional<LinkHeader>& header, int ifindex) {
    slots_[path].ifindex.store(ifindex, std::memory_order_relaxed);
    const LinkHeader* now = header ? new LinkHeader(*header) : nullptr;
    if (const LinkHeader* before = slots_[path].header.exchange(now, std::memory_order_acq_rel))
      retired_.emplace_back(before);
  }
  bool take_used(PathIndex path) { return slots_[path].used.take(); }
  std::size_t capacity() const { return slots_.size(); }
  std::size_t retired() const { return retired_.size(); }
  void reclaim() { retired_.clear(); }

 private:
  struct Slot {
    std::atomic<const LinkHeader*> header{nullptr};
    std::atomic<int> ifindex{kUnknown};
    UsedFlag used;
  };
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<const LinkHeader>> retired_;
};

class Shared {
 public:
  struct Size {
    std::size_t tunnels = 0;
    std::size_t sas = 0;
    // Several times the kernel's own limit (net.ipv4.neigh.default.gc_thresh3 = 1024). Hosts beyond it are
    // reached through the kernel.
    std::size_t neighbours = 16384;
    // The BPF programs' array, which outlives this; null: memory of our own, for workers without BPF.
    gw_gates* gates = nullptr;
  };
  /// SPIs that charon may have on offer at a time.
  static constexpr std::size_t kReservations = 4096;

  /// Each outbound SA has one path at most, and a second while it moves.
  explicit Shared(const Size& size)
      : inbound(size.sas + 1),
        peers(size.sas + 1),
        reserved(kReservations),
        neighbours(size.neighbours),
        paths(size.sas + 1),
        fragment_ids(random_seed()),
        own_gates_(size.gates ? nullptr : std::make_unique<gw_gates>()),
        gates(size.gates ? *size.gates : *own_gates_),
        owners_(size.tunnels) {}

  std::size_t tunnels() const { return owners_.size(); }
  WorkerIndex owner(TunnelSlot slot) const { return owners_[slot].load(std::memory_order_relaxed); }
  void set_owner(TunnelSlot slot, WorkerIndex owner) { owners_[slot].store(owner, std::memory_order_relaxed); }

  std::size_t retired() const {
    return inbound.retired() + peers.retired() + reserved.retired() + neighbours.retired() + paths.retired();
  }
  void reclaim() {
    inbound.reclaim();
    peers.reclaim();
    reserved.reclaim();
    neighbours.reclaim();
    paths.reclaim();
  }

  SharedTable<SaKey, Inbound> inbound;
  SharedTable<IpAddress, Peer> peers;
  SharedTable<SaKey, Reservation> reserved;
  SharedTable<IpAddress, Neighbour> neighbours;
  PathTable paths;
  FragmentIds fragment_ids;

 private:
  std::unique_ptr<gw_gates> own_gates_;

 public:
  EndpointGates gates;
  /// Packets between circuit and tunnels are forwarded.
  std::atomic<bool> circuit_transit{false};
  /// Of inner packets of all tunnels.
  GatewayRate rate_in;
  GatewayRate rate_out;

 private:
  std::vector<std::atomic<WorkerIndex>> owners_;
};

}  // namespace gw::worker
