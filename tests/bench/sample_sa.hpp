// The SA and the inner packet that the benchmarks use: AES-256-GCM with ESN, IPv4 in IPv4, window 4096.
#pragma once

#include <array>
#include <cstdint>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/sa.hpp"

namespace gw::bench {

inline esp::SaParameters sample_sa(std::uint32_t spi) {
  esp::SaParameters p;
  p.spi = spi;
  p.src = {IpAddress::from_v4(0xcb00710a), 0};
  p.dst = {IpAddress::from_v4(0xc6336414), 0};
  p.replay_window = 4096;
  std::array<std::uint8_t, 36> key;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i);
  store_be(key.data(), spi);
  p.key = Secret(key);
  p.local = p.remote = {{IpAddress::from_v4(0), IpAddress::from_v4(UINT32_MAX)}};
  return p;
}

/// An IPv4 header, UDP, from 10.1.0.5; `destination` in host order.
inline std::array<std::uint8_t, 20> sample_header(std::uint16_t total_bytes, std::uint32_t destination) {
  std::array<std::uint8_t, 20> h{};
  h[0] = 0x45;
  store_be(&h[2], total_bytes);
  h[8] = 64;
  h[9] = 17;
  store_be(&h[12], std::uint32_t{0x0a010005});
  store_be(&h[16], destination);
  store_be(&h[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(h.data(), h.size()))));
  return h;
}

}  // namespace gw::bench
