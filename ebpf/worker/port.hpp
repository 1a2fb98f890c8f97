// One side of the gateway as one worker sees it: where bursts come from and go to. The interface of all kinds
// of port (xsk::XskPort; gso ports); wan and vnet may be of different kinds. Virtual calls are per burst,
// never per packet. Worker thread; counters and losses() are read by others.
//
// Who owns a packet's bytes: a packet is in a frame of the FramePool, and then belongs to whoever has it, or is
// *borrowed* (kBorrowed): in memory of the port it came from, valid until that port's next receive(). A worker
// runs a burst to completion, so a borrowed packet is sent, written, copied or dropped before that.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "ebpf/abi/drop.h"
#include "ebpf/esp/packet.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/worker/counters.hpp"
#include "ebpf/worker/frame_pool.hpp"
#include "ebpf/worker/sa_key.hpp"

namespace gw::worker {

inline constexpr std::size_t kBurst = 64;
inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kMaxLinkBytes = kEthernetBytes + 2 * 4;  // two VLAN tags

/// Slot of a tunnel in the worker's table.
using TunnelSlot = std::uint16_t;
inline constexpr TunnelSlot kNoTunnel = 0xffff;

/// What a packet's `offset` is at.
enum class Layer : std::uint8_t {
  kEthernet,  // possibly with VLAN tags
  kIp,        // wan: the outer header; vnet: the packet itself
  kEsp,       // wan: the SPI. The port sets PacketMeta::key, and source and traffic class of esp::Packet
};

/// What belongs to a packet beside esp::Packet.
struct PacketMeta {
  FrameAddress frame = kBorrowed;
  Layer layer = Layer::kEthernet;
  /// vnet: addresses, protocol and ports are those of the packet before it in the burst (one superpacket's
  /// segments), so its lookup and flow hash hold.
  bool same_flow = false;
  SaKey key;  // Layer::kEsp
};

/// Packets on their way in. What is behind the end (tailroom) may be written up to `capacity`, and what is in
/// front from `base` on: at least kMaxHeadroom and kMaxTailroom bytes if it is to be encapsulated.
struct Burst {
  std::array<esp::Packet, kBurst> packets;
  std::array<PacketMeta, kBurst> meta;
  std::size_t count = 0;

  bool full() const { return count == kBurst; }
  /// The next entry, as new; the caller fills it.
  std::size_t add() {
    packets[count] = {};
    meta[count] = {};
    return count++;
  }
};

/// A packet on its way out.
struct Outgoing {
  std::uint8_t* data = nullptr;  // Ethernet or IP header: Port::framing()
  std::uint32_t length = 0;
  FrameAddress frame = kBorrowed;
  std::uint32_t inner_bytes = 0;  // for the tunnel's counters
  TunnelSlot tunnel = kNoTunnel;  // whose packet it is
  gw_drop lost = GW_DROP_NONE;    // set by send(): why it was not sent
  // wan only: what a train of datagrams has in common.
  std::uint8_t traffic_class = 0;       // of the outer header
  std::uint16_t esp_offset = 0;         // of the SPI, from the IP header
  int ifindex = 0;                      // by which the kernel sends it; 0: the wan port itself
  const esp::OutboundSa* sa = nullptr;  // endpoints and encapsulation: header(); valid until flush() ends
};

/// What the kernel could not hand to us, since the start.
struct Losses {
  std::uint64_t no_frame = 0;    // no buffer, or the packet larger than one
  std::uint64_t ring_full = 0;   // receive ring or socket buffer
  std::uint64_t reassembly = 0;  // fragments that the kernel was to put together, and could not
};

/// Whether packets are taken from the kernel, or only those worked off that were taken already.
enum class Reading : std::uint8_t { kNo, kYes };

class Port {
 public:
  /// What queued packets begin with.
  enum class Framing : std::uint8_t { kEthernet, kIp };
  /// More than any flush has: a burst, and the pieces of a packet of it, which are flushed eight at a time.
  static constexpr std::size_t kQueue = 2 * kBurst;

  explicit Port(Framing framing) : framing_(framing) {}
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  Framing framing() const { return framing_; }
  const net::MacAddress& mac() const { return mac_; }
  std::uint32_t mtu() const { return mtu_; }
  void set_link(const net::Link& link) {
    mac_ = link.mac;
    mtu_ = link.mtu;
  }

  /// One of fds() is readable, epoll says; called before receive(). For ports whose every look costs a system call.
  virtual void ready(int /*fd*/) {}
  /// kNo: receive() gives only what the port has taken before. Worker thread.
  void set_reading(Reading reading) { reading_ = reading; }

  /// Up to a burst; `burst.count` of them (0 on entry). Borrowed packets of the call before are no more.
  virtual void receive(Burst& burst) = 0;

  bool full() const { return count_ == kQueue; }
  /// The next entry of the queue, which the caller fills, in place: copying what was just written in pieces costs more
  /// than writing it. A frame is the port's from now on; borrowed bytes stay valid until flush(). Not when full().
  Outgoing& queue_one() { return queued_[count_++]; }
  /// Takes out of the queue what `predicate` says; each is given to `taken`, and its frame with it.
  template <class Predicate, class Taken>
  void withdraw_if(Predicate predicate, Taken taken) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      if (predicate(queued_[i]))
        taken(queued_[i]);
      else
        queued_[kept++] = queued_[i];
    }
    count_ = kept;
  }
  /// Sends what was queued. Frames of those that were lost (Outgoing::lost) are the caller's again; those of the others
  /// may be in another worker's hands already, so their bytes are for `look` alone, which sees all once it is known
  /// which are lost. The result is valid until the next queue().
  template <class Look>
  std::span<const Outgoing> flush(Look look) {
    const std::span<const Outgoing> all = send_queued();
    if (all.empty()) return all;
    look(all);
    settle(all);
    return all;
  }
  std::span<const Outgoing> flush() {
    return flush([](std::span<const Outgoing>) {});
  }

  /// Once a round: completions, buffers for the kernel. True: some packets could not be sent yet, call again soon.
  virtual bool maintain() = 0;
  /// Readable when packets wait; the same for the port's whole life.
  virtual std::span<const int> fds() const = 0;
  /// Any thread.
  virtual Losses losses() const = 0;

  Counter rx_packets;
  Counter tx_packets;
  DropCounters drops;  // of what ended in the port: packets of no tunnel that is known

 protected:
  /// Sends, and marks what was lost. Not empty. No frame of these goes anywhere before settle().
  virtual void send(std::span<Outgoing> packets) = 0;
  /// What send() has sent was looked at: frames that nobody needs any more are given back.
  virtual void settle(std::span<const Outgoing> packets) = 0;
  bool reading() const { return reading_ == Reading::kYes; }

 private:
  std::span<const Outgoing> send_queued();

  const Framing framing_;
  Reading reading_ = Reading::kYes;
  net::MacAddress mac_{};
  std::uint32_t mtu_ = 0;
  std::array<Outgoing, kQueue> queued_;
  std::size_t count_ = 0;
};

}  // namespace gw::worker
