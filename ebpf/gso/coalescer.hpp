// Decrypted packets -> superpackets for the data TUN: the reverse of the segmenter, by the rules of the kernel's
// GRO, so that the kernel forwards 64 KiB at once. Nothing is copied: a superpacket is a list of pieces of the
// packets. Packets of one flow keep their order; whatever is not certain to come out of segmentation again as it
// went in goes alone and untouched. Pure; worker thread.
//
// What segmentation does not bring back: the id of IPv4 packets that all had DF and one id becomes consecutive
// (RFC 6864 4.1: it means nothing there).
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/ip.hpp"
#include "ebpf/gso/superpacket.hpp"

namespace gw::gso {

/// Whether the kernel takes UDP superpackets (TUN_F_USO4 and 6; Linux 6.2).
enum class UdpMerging : std::uint8_t { kNo, kYes };

class Coalescer {
 public:
  /// Between two calls of begin().
  static constexpr std::size_t kMaxPackets = 64;
  /// The kernel's UDP_MAX_SEGMENTS was 64 until Linux 6.9; an IPv4 packet has at most 65,535 bytes.
  static constexpr std::uint32_t kMaxSegments = 64;
  static constexpr std::uint32_t kMaxBytes = 65000;

  /// One write to the TUN device.
  struct Write {
    std::span<iovec> parts;        // virtio header first
    std::span<std::size_t> which;  // numbers of its packets, as add() counted them
    std::uint32_t bytes = 0;       // without the virtio header
  };

  explicit Coalescer(UdpMerging udp) : udp_(udp) {}

  /// Forgets everything.
  void begin();
  /// A whole IP packet that esp::check_inner() accepted, not longer than its header says. Its bytes are used, and
  /// its header may be changed, by finish(). Its number is the count of packets added before.
  void add(std::span<std::uint8_t> packet);
  std::size_t size() const { return count_; }
  /// What to write, in order; valid until begin().
  std::span<const Write> finish();

 private:
  static constexpr std::uint8_t kNone = 0xff;
  static constexpr std::size_t kBuckets = 2 * kMaxPackets;

  enum class State : std::uint8_t {
    kOpen,  // may grow
    kClosed,
  };
  enum class Checksum : std::uint8_t { kUnknown, kRight };
  enum class Kind : std::uint8_t {
    kMergeable,
    kAlone,     // of a flow, with something special about it
    kPortless,  // of no flow that can be told
  };

  /// What add() found in a packet that may be part of a superpacket.
  struct Segment {
    Family family = Family::kV4;
    bool tcp = false;
    bool last = false;  // PSH: nothing goes behind it
    std::uint8_t header_length = 0;
    std::uint16_t payload = 0;
    std::uint32_t hash = 0;
  };
  struct Packet {
    std::span<std::uint8_t> bytes;
    std::uint8_t next = kNone;  // of the same superpacket
    std::uint8_t header_length = 0;
  };
  struct Superflow {
    State state = State::kClosed;
    Checksum first_checksum = Checksum::kUnknown;
    std::uint8_t first = 0;  // packets
    std::uint8_t last = 0;
    std::uint8_t packets = 1;
    Segment segment;          // of the first
    std::uint32_t bytes = 0;  // of the whole superpacket
    std::uint32_t next_sequence = 0;
  };

  Kind inspect(std::span<const std::uint8_t> packet, Segment& segment) const;
  Kind inspect_tcp(std::span<const std::uint8_t> l4, Segment& segment) const;
  Kind inspect_udp(std::span<const std::uint8_t> l4, Segment& segment) const;
  std::uint8_t* bucket_of(std::span<const std::uint8_t> packet, const Segment& segment);
  bool continues(const Superflow& flow, const Packet& packet, const Segment& segment) const;
  void open(std::uint8_t packet, const Segment& segment, State state);
  bool join(Superflow& flow, std::uint8_t packet, const Segment& segment);
  void append(Superflow& flow, std::uint8_t packet, const Segment& segment);
  void close_between_addresses_of(std::span<const std::uint8_t> packet);
  void finish_headers(const Superflow& flow, VnetHeader& header);

  UdpMerging udp_;
  std::size_t count_ = 0;
  std::size_t flows_count_ = 0;
  std::array<Packet, kMaxPackets> packets_;
  std::array<Superflow, kMaxPackets> flows_;  // in order of their first packets
  std::array<std::uint8_t, kBuckets> buckets_;
  std::array<VnetHeader, kMaxPackets> headers_;
  std::array<Write, kMaxPackets> writes_;
  std::array<iovec, 2 * kMaxPackets> parts_;
  std::array<std::size_t, kMaxPackets> which_;
};

}  // namespace gw::gso
