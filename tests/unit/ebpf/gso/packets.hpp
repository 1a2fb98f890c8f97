// Packets for the tests of ebpf/gso: built field by field, checksums by the plain sum of esp/checksum.hpp, so
// that nothing under test takes part. Addresses of RFC 5737 and RFC 3849.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"

namespace gw::gso::test {

using Bytes = std::vector<std::uint8_t>;

enum : std::uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32, kEce = 64, kCwr = 128 };

struct PacketSpec {
  Family family = Family::kV4;
  std::uint8_t protocol = 6;
  std::uint8_t host = 1;  // last byte of the source
  std::uint16_t port = 40000;
  std::uint16_t payload = 100;
  std::uint16_t id = 1;
  std::uint16_t fragment = 0x4000;  // flags and offset; IPv4
  std::uint8_t tos = 0;
  std::uint8_t ttl = 64;
  std::uint32_t sequence = 1000;
  std::uint32_t acknowledgement = 5000;
  std::uint16_t window = 512;
  std::uint8_t flags = kAck;
  Bytes options;           // TCP, a multiple of 4
  std::uint32_t seed = 1;  // of the payload
};

inline std::size_t ip_header(Family f) { return f == Family::kV4 ? 20 : 40; }

inline std::uint64_t pseudo_sum(std::span<const std::uint8_t> p, Family f, std::size_t l4_length) {
  const std::uint8_t protocol = p[f == Family::kV4 ? 9 : 6];
  return (f == Family::kV4 ? esp::sum16(&p[12], 8) : esp::sum16(&p[8], 32)) + protocol + l4_length;
}

inline std::uint16_t transport_checksum(std::span<const std::uint8_t> p, Family f) {
  const auto l4 = p.subspan(ip_header(f));
  const auto sum =
      static_cast<std::uint16_t>(~esp::fold16(pseudo_sum(p, f, l4.size()) + esp::sum16(l4.data(), l4.size())));
  return sum == 0 && p[f == Family::kV4 ? 9 : 6] == 17 ? std::uint16_t{0xffff} : sum;
}

/// Lengths and checksums of a packet whose other fields are there.
inline void finish(Bytes& p, Family f) {
  const std::size_t ip = ip_header(f);
  if (f == Family::kV4) {
    store_be(&p[2], static_cast<std::uint16_t>(p.size()));
    store_be(&p[10], std::uint16_t{0});
    store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), 20))));
  } else {
    store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  }
  const bool tcp = p[f == Family::kV4 ? 9 : 6] == 6;
  if (!tcp) store_be(&p[ip + 4], static_cast<std::uint16_t>(p.size() - ip));
  const std::size_t at = ip + (tcp ? 16 : 6);
  store_be(&p[at], std::uint16_t{0});
  store_be(&p[at], transport_checksum(p, f));
}

inline Bytes make(const PacketSpec& s) {
  const std::size_t ip = ip_header(s.family);
  const std::size_t l4 = s.protocol == 6 ? 20 + s.options.size() : 8;
  Bytes p(ip + l4 + s.payload);
  if (s.family == Family::kV4) {
    p[0] = 0x45;
    p[1] = s.tos;
    store_be(&p[4], s.id);
    store_be(&p[6], s.fragment);
    p[8] = s.ttl;
    p[9] = s.protocol;
    store_be(&p[12], 0xc0000200u + s.host);
    store_be(&p[16], 0xc6336401u);
  } else {
    p[0] = static_cast<std::uint8_t>(0x60 | s.tos >> 4);
    p[1] = static_cast<std::uint8_t>(s.tos << 4);
    p[6] = s.protocol;
    p[7] = s.ttl;
    for (const std::size_t at : {8u, 24u}) store_be(&p[at], 0x20010db8u);
    p[23] = s.host;
    p[39] = 99;
  }
  std::uint8_t* t = &p[ip];
  store_be(t, s.port);
  store_be(t + 2, std::uint16_t{5201});
  if (s.protocol == 6) {
    store_be(t + 4, s.sequence);
    store_be(t + 8, s.acknowledgement);
    t[12] = static_cast<std::uint8_t>((l4 / 4) << 4);
    t[13] = s.flags;
    store_be(t + 14, s.window);
    std::ranges::copy(s.options, t + 20);
  }
  std::mt19937 random(s.seed);
  for (std::size_t i = ip + l4; i < p.size(); ++i) p[i] = static_cast<std::uint8_t>(random());
  finish(p, s.family);
  return p;
}

inline bool checksum_right(std::span<const std::uint8_t> p, Family f) {
  const auto l4 = p.subspan(ip_header(f));
  return esp::fold16(pseudo_sum(p, f, l4.size()) + esp::sum16(l4.data(), l4.size())) == 0xffff;
}

/// Leaves the checksum to the card, as the kernel does: the field has the pseudo-header's sum.
inline void leave_checksum(Bytes& p, Family f) {
  const std::size_t ip = ip_header(f);
  const bool tcp = p[f == Family::kV4 ? 9 : 6] == 6;
  store_be(&p[ip + (tcp ? 16 : 6)], esp::fold16(pseudo_sum(p, f, p.size() - ip)));
}

}  // namespace gw::gso::test
