// One side of the gateway as the worker sees it: its AF_XDP sockets (one a queue), link-layer facts, and
// the packets queued for transmission in the current burst. Worker thread; counters are read by others.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ebpf/net/netlink.hpp"
#include "ebpf/worker/counters.hpp"
#include "ebpf/xsk/socket.hpp"

namespace gw::worker {

inline constexpr std::size_t kBurst = 64;
inline constexpr std::size_t kEthernetBytes = 14;

/// Slot of a tunnel in the worker's table.
using TunnelSlot = std::uint16_t;
inline constexpr TunnelSlot kNoTunnel = 0xffff;

struct Outgoing {
  xsk::Descriptor packet;
  TunnelSlot tunnel = kNoTunnel;  // whose packet it is
  std::uint32_t inner_bytes = 0;
};

class Port {
 public:
  explicit Port(std::vector<std::unique_ptr<xsk::Socket>> sockets) : sockets_(std::move(sockets)) {}

  std::span<const std::unique_ptr<xsk::Socket>> sockets() const { return sockets_; }
  const net::MacAddress& mac() const { return mac_; }
  std::uint32_t mtu() const { return mtu_; }
  void set_link(const net::Link& link) {
    mac_ = link.mac;
    mtu_ = link.mtu;
  }

  /// At most kBurst packets between two flushes.
  void queue(const Outgoing& packet) { queued_[count_++] = packet; }
  struct Flushed {
    std::span<const Outgoing> sent;
    std::span<const Outgoing> lost;  // did not fit the ring: their frames are the caller's again
  };
  /// Sends what was queued. The result is valid until the next queue().
  Flushed flush();
  /// Completions and fill ring; true: transmission wants another push soon.
  bool maintain();

  Counter rx_packets;
  Counter tx_packets;

 private:
  std::vector<std::unique_ptr<xsk::Socket>> sockets_;
  net::MacAddress mac_{};
  std::uint32_t mtu_ = 0;
  std::array<Outgoing, kBurst> queued_;
  std::size_t count_ = 0;
};

}  // namespace gw::worker
