// ESP tunnel mode (RFC 4303, transforms transform.hpp, UDP encapsulation RFC 3948): bursts of packets in, bursts
// out, in place. No I/O, clock, allocation, lock or exception; one Codec per worker. After a call every packet
// either has its new offset and length, or a drop reason; packets that had one before are left alone.
//
// Encapsulation, numbered as in encap.cpp:         Decapsulation, numbered as in decap.cpp:
//  1 hard lifetime                                   1 hard lifetime, length, SPI
//  2 inner header, traffic selectors                 2 sequence number (ESN inferred), replay check
//  3 room and size                                   3 decrypt, verify ICV (whole burst)
//  4 reserve sequence number and IV                  4 replay check again, advance the window
//  5 trailer, headers                                5 padding, next header, inner header
//  6 publish reservations, encrypt (whole burst)     6 traffic selectors
//  7 UDP checksum over IPv6; counters                7 ECN; counters
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "ebpf/esp/crypto.hpp"
#include "ebpf/esp/packet.hpp"
#include "ebpf/esp/sa.hpp"

namespace gw::esp {

/// Packets that go to the crypto backend together; larger bursts are cut. 16 is enough for full speed
/// (datapath findings), 64 keeps the operations in L1.
inline constexpr std::size_t kCryptoBurst = 64;

inline constexpr std::uint8_t kNextHeaderNone = 59;  // dummy packets (RFC 4303 2.6)

struct BurstResult {
  std::uint32_t passed = 0;
  std::uint32_t dropped = 0;  // by this call
  std::uint8_t events = 0;    // of all SAs together: if not 0, ask each packet's SA (take_events)
};

class Codec {
 public:
  /// `backend` is the one that made the keys of the SAs; it outlives the codec.
  explicit Codec(CryptoBackend& backend) : backend_(backend) {}

  /// Every packet's `out` is set and `offset` is at the inner IP header. `now_ms`: Unix time, for last_used.
  BurstResult encapsulate(std::span<Packet> packets, std::uint64_t now_ms);
  /// Cover traffic (RFC 4303 2.6): packets whose content, `length` bytes of any value, is replaced by nothing that
  /// means anything; the peer throws them away. `out` is set.
  BurstResult encapsulate_dummies(std::span<Packet> packets, std::uint64_t now_ms);
  /// Every packet's `in` is set, `offset` is at the ESP header (SPI), and traffic class and source are those of
  /// the outer header, wherever that was: nothing before the ESP header is read.
  BurstResult decapsulate(std::span<Packet> packets, std::uint64_t now_ms);

 private:
  struct Work {
    Packet* packet;
    std::uint32_t inner_bytes;  // outbound: for the counters
  };

  enum class Kind : std::uint8_t { kPacket, kDummy };
  /// What encapsulation has to know of the payload, and of the outer header to come.
  struct Content {
    std::uint8_t next_header;
    std::uint8_t traffic_class;
    std::uint16_t fragment;
  };

  void encapsulate_chunk(std::span<Packet> packets, Kind kind, std::uint64_t now_ms, BurstResult& result);
  void decapsulate_chunk(std::span<Packet> packets, std::uint64_t now_ms, BurstResult& result);
  gw_drop prepare_encap(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events);
  gw_drop prepare_dummy(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events);
  gw_drop build(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events, const Content& content);
  gw_drop prepare_decap(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events);
  gw_drop finish_decap(const Work& work, const CryptoOp& op, std::uint64_t now_ms, std::uint8_t& events);

  CryptoBackend& backend_;
  std::array<Work, kCryptoBurst> work_;
  std::array<CryptoOp, kCryptoBurst> ops_;
};

}  // namespace gw::esp
