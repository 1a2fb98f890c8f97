// Packets for the tests of ebpf/ip, byte by byte. RFC 5737/3849 addresses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"

namespace gw::ip::test {

using Bytes = std::vector<std::uint8_t>;

inline IpAddress addr(std::string_view text) { return IpAddress::parse(text).value(); }

struct V4 {
  std::string_view src = "192.0.2.10";
  std::string_view dst = "198.51.100.20";
  std::uint8_t protocol = 50;
  std::uint8_t tos = 0;
  std::uint16_t id = 7;
  std::uint16_t field = 0;  // flags and offset
  Bytes options = {};       // a multiple of 4
};

inline void write_v4_checksum(Bytes& packet) {
  const std::size_t header = (packet[0] & 0xfu) * 4;
  store_be(&packet[10], std::uint16_t{0});
  store_be(&packet[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(packet.data(), header))));
}

inline Bytes v4(const V4& h, const Bytes& payload) {
  const std::size_t header = 20 + h.options.size();
  Bytes p(header);
  p[0] = static_cast<std::uint8_t>(0x40 | header / 4);
  p[1] = h.tos;
  store_be(&p[2], static_cast<std::uint16_t>(header + payload.size()));
  store_be(&p[4], h.id);
  store_be(&p[6], h.field);
  p[8] = 64;
  p[9] = h.protocol;
  std::ranges::copy(addr(h.src).bytes(), &p[12]);
  std::ranges::copy(addr(h.dst).bytes(), &p[16]);
  std::ranges::copy(h.options, p.begin() + 20);
  write_v4_checksum(p);
  p.insert(p.end(), payload.begin(), payload.end());
  return p;
}

struct V6 {
  std::string_view src = "2001:db8:f::10";
  std::string_view dst = "2001:db8:e::20";
  std::uint8_t next_header = 50;
  std::uint8_t traffic_class = 0;
};

inline Bytes v6(const V6& h, const Bytes& payload) {
  Bytes p(40);
  p[0] = static_cast<std::uint8_t>(0x60 | h.traffic_class >> 4);
  p[1] = static_cast<std::uint8_t>(h.traffic_class << 4);
  store_be(&p[4], static_cast<std::uint16_t>(payload.size()));
  p[6] = h.next_header;
  p[7] = 64;
  std::ranges::copy(addr(h.src).bytes(), &p[8]);
  std::ranges::copy(addr(h.dst).bytes(), &p[24]);
  p.insert(p.end(), payload.begin(), payload.end());
  return p;
}

/// A fragment header in front of `payload`; `field` is offset and M as they stand in the header.
inline Bytes v6_fragment(V6 h, std::uint32_t id, std::uint16_t field, const Bytes& payload) {
  Bytes body = {h.next_header, 0, static_cast<std::uint8_t>(field >> 8), static_cast<std::uint8_t>(field)};
  body.resize(8);
  store_be(&body[4], id);
  body.insert(body.end(), payload.begin(), payload.end());
  h.next_header = 44;
  return v6(h, body);
}

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Bytes counting(std::size_t n, unsigned start = 0) {
  Bytes b(n);
  for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<std::uint8_t>(start + i * 7 + i / 251);
  return b;
}

inline Bytes random_bytes(std::mt19937& random, std::size_t n) {
  Bytes b(n);
  for (auto& x : b) x = static_cast<std::uint8_t>(random());
  return b;
}

}  // namespace gw::ip::test
