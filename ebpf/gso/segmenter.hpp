// A superpacket -> the packets it stands for, as a card with TSO or USO would send them: headers repeated with
// right lengths, ids, sequence numbers and flags, checksums computed while the payload is copied. Pure; worker
// thread; valid as long as the superpacket's bytes.
#pragma once

#include <array>
#include <cstdint>

#include "ebpf/gso/superpacket.hpp"

namespace gw::gso {

class Segmenter {
 public:
  /// `packet` has an offload. What forwarding changes in its headers (TTL, MSS) is changed before.
  explicit Segmenter(const Superpacket& packet);

  std::uint32_t count() const { return packet_.segments; }
  std::uint32_t longest() const { return packet_.longest(); }
  /// Bytes of segment `i`.
  std::uint32_t length(std::uint32_t i) const { return packet_.header_length + payload_of(i); }
  /// Writes segment `i`, length(i) bytes, to `out`.
  void write(std::uint32_t i, std::uint8_t* out) const;

 private:
  std::uint32_t payload_of(std::uint32_t i) const;
  void write_ip(std::uint32_t i, std::uint8_t* ip) const;

  Superpacket packet_;
  std::uint64_t ip_sum_ = 0;  // IPv4 header without what differs from segment to segment
  std::uint64_t l4_sum_ = 0;  // pseudo-header and transport header, likewise
  std::uint32_t sequence_ = 0;
  std::uint16_t id_ = 0;
};

}  // namespace gw::gso
