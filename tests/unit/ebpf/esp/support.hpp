// What the ESP tests share: hex, packets in buffers, SA pairs. RFC 5737 and 3849 addresses.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/abi/drop_names.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/outer.hpp"

namespace gw {
inline void PrintTo(gw_drop d, std::ostream* os) { *os << drop_info(d).name; }
}  // namespace gw

namespace gw::esp::test {

using Bytes = std::vector<std::uint8_t>;

inline Bytes unhex(std::string_view text) {
  Bytes out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    out.push_back(static_cast<std::uint8_t>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  return out;
}

/// On the wire, outer IP header included, for an inner packet of this size; TFC padding included.
inline std::uint32_t outer_length(const OutboundSa& sa, std::uint32_t inner_length) {
  constexpr std::uint32_t kTrailer = 2;
  constexpr std::uint32_t kSequence = 4;
  const Transform& t = sa.transform();
  const std::uint32_t text = std::max(inner_length, sa.pad_to()) + kTrailer;
  return static_cast<std::uint32_t>(sa.header().size()) + kSequence + t.iv_bytes +
         (text + t.block_bytes - 1) / t.block_bytes * t.block_bytes + t.icv_bytes;
}

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

inline std::unique_ptr<CryptoBackend> backend(BackendChoice choice) {
  auto made = make_backend(choice);
  EXPECT_TRUE(made) << made.error().describe();
  return std::move(*made);
}

inline const std::vector<BackendChoice>& all_backends() {
#ifdef __x86_64__
  static const std::vector<BackendChoice> kAll{BackendChoice::kIpsecMb, BackendChoice::kOpenssl};
#else
  static const std::vector<BackendChoice> kAll{BackendChoice::kOpenssl};
#endif
  return kAll;
}

/// For names of parametrised tests: "AES_CBC_256_HMAC_SHA1_96".
inline std::string test_name(std::string_view transform) {
  std::string name(transform);
  std::ranges::replace_if(name, [](char c) { return c == '-' || c == '/'; }, '_');
  return name;
}

inline std::string backend_name(const testing::TestParamInfo<BackendChoice>& test) {
  return test.param == BackendChoice::kIpsecMb ? "ipsec_mb" : "openssl";
}

inline void fix_ipv4_checksum(std::uint8_t* header) {
  store_be(header + 10, std::uint16_t{0});
  store_be(header + 10, static_cast<std::uint16_t>(~fold16(sum16(header, (header[0] & 0xfU) * 4))));
}

struct InnerOptions {
  Family family = Family::kV4;
  std::size_t size = 100;  // of the whole IP packet
  std::uint8_t tos = 0;
  std::uint8_t protocol = 17;
  std::uint16_t source_port = 1000;
  std::uint16_t destination_port = 2000;
  bool from_peer = false;  // addresses swapped: a packet towards this side
};

/// An IP packet between 10.1.0.5 / 2001:db8:1::5 (this side) and 10.2.0.7 / 2001:db8:2::7 (the peer's).
inline Bytes inner_packet(const InnerOptions& o) {
  const bool v4 = o.family == Family::kV4;
  const std::size_t header = v4 ? 20 : 40;
  Bytes p(std::max(o.size, header));
  for (std::size_t i = header; i < p.size(); ++i) p[i] = static_cast<std::uint8_t>(i * 31);
  IpAddress src = ip(v4 ? "10.1.0.5" : "2001:db8:1::5");
  IpAddress dst = ip(v4 ? "10.2.0.7" : "2001:db8:2::7");
  if (o.from_peer) std::swap(src, dst);
  if (v4) {
    p[0] = 0x45;
    p[1] = o.tos;
    store_be(&p[2], static_cast<std::uint16_t>(p.size()));
    p[8] = 63;
    p[9] = o.protocol;
  } else {
    p[0] = static_cast<std::uint8_t>(0x60 | o.tos >> 4);
    p[1] = static_cast<std::uint8_t>(o.tos << 4);
    store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
    p[6] = o.protocol;
    p[7] = 63;
  }
  std::memcpy(&p[v4 ? 12 : 8], src.bytes().data(), src.bytes().size());
  std::memcpy(&p[v4 ? 16 : 24], dst.bytes().data(), dst.bytes().size());
  if (p.size() >= header + 4) {
    store_be(&p[header], o.source_port);
    store_be(&p[header + 2], o.destination_port);
  }
  if (v4) fix_ipv4_checksum(p.data());
  return p;
}

/// A packet and the buffer that it lies in: guard bytes around it show writes outside of the contract.
struct Buffer {
  static constexpr std::uint8_t kGuard = 0xa5;
  static constexpr std::uint32_t kGuardBytes = 32;

  explicit Buffer(std::span<const std::uint8_t> content, std::uint32_t headroom = kMaxHeadroom,
                  std::uint32_t tailroom = kMaxTailroom)
      : memory(content.size() + headroom + tailroom + 2 * kGuardBytes, kGuard) {
    std::ranges::copy(content, memory.begin() + kGuardBytes + headroom);
    packet.base = memory.data() + kGuardBytes;
    packet.capacity = static_cast<std::uint32_t>(memory.size()) - 2 * kGuardBytes;
    packet.offset = headroom;
    packet.length = static_cast<std::uint32_t>(content.size());
  }
  Buffer(Buffer&&) = default;
  ~Buffer() {
    if (memory.empty()) return;
    for (std::size_t i = 0; i < kGuardBytes; ++i) {
      EXPECT_EQ(memory[i], kGuard) << "written before the buffer";
      EXPECT_EQ(memory[memory.size() - 1 - i], kGuard) << "written behind the buffer";
    }
  }
  Bytes bytes() const { return {packet.bytes().begin(), packet.bytes().end()}; }

  Bytes memory;
  Packet packet;
};

inline std::vector<Selector> everything() {
  return {{ip("0.0.0.0"), ip("255.255.255.255")}, {ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}};
}

struct PairOptions {
  Family outer = Family::kV4;
  Encapsulation encapsulation = Encapsulation::kNative;
  SequenceMode mode = SequenceMode::kExtended;
  std::string_view transform = "AES_GCM_16-256";
  std::uint32_t window = 64;
  std::uint32_t spi = 0xc0ffee01;
  BackendChoice sender = BackendChoice::kAuto;
  BackendChoice receiver = BackendChoice::kAuto;
  Lifetime out_lifetime{};
  Lifetime in_lifetime{};
  std::vector<Selector> out_local = everything();
  std::vector<Selector> in_local = everything();
  OuterPolicy policy{};
  std::uint16_t pad_to = 0;
};

inline SaParameters parameters(const PairOptions& o) {
  SaParameters p;
  const bool v4 = o.outer == Family::kV4;
  p.spi = o.spi;
  p.src = {ip(v4 ? "203.0.113.10" : "2001:db8:f::10"), 4500};
  p.dst = {ip(v4 ? "198.51.100.20" : "2001:db8:e::20"), 4500};
  p.encapsulation = o.encapsulation;
  p.sequence_mode = o.mode;
  p.replay_window = o.window;
  p.transform = find_transform(o.transform);
  Bytes key(std::size_t{p.transform->key_bytes} + p.transform->salt_bytes);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i * 5 + o.spi);
  p.key = Secret(key);
  Bytes integrity_key(p.transform->integrity_key_bytes);
  for (std::size_t i = 0; i < integrity_key.size(); ++i)
    integrity_key[i] = static_cast<std::uint8_t>(i * 7 + o.spi + 1);
  p.integrity_key = Secret(integrity_key);
  p.outer = o.policy;
  p.pad_to = o.pad_to;
  p.local = everything();
  p.remote = everything();
  return p;
}

/// What a port does with a packet off the wire before the codec gets it: outer header, lookup of the one SA.
inline gw_drop receive(Packet& packet, InboundSa& sa) {
  OuterHeader outer;
  if (const gw_drop drop = strip_outer(packet, outer); drop != GW_DROP_NONE) return drop;
  const bool found = outer.family == sa.outer_family() && outer.spi == sa.spi() &&
                     std::memcmp(outer.destination, sa.dst().data(), sa.dst().size()) == 0;
  packet.in = &sa;
  return found ? GW_DROP_NONE : GW_DROP_UNKNOWN_SPI;
}

/// An outbound SA and the inbound SA at its other end, with records of their own.
struct SaPair {
  explicit SaPair(const PairOptions& o)
      : sender(backend(o.sender)), receiver(backend(o.receiver)), encap(*sender), decap(*receiver) {
    EXPECT_TRUE(begin_outbound(out_record, 3));
    SaParameters p = parameters(o);
    p.lifetime = o.out_lifetime;
    p.local = o.out_local;
    auto out = OutboundSa::create(p, *sender, out_record);
    p.lifetime = o.in_lifetime;
    p.local = o.in_local;
    auto in = InboundSa::create(p, *receiver, in_record);
    EXPECT_TRUE(out) << out.error().describe();
    EXPECT_TRUE(in) << in.error().describe();
    outbound = std::move(*out);
    inbound = std::move(*in);
  }

  /// Encapsulates; the result is what goes over the wire.
  Bytes seal(std::span<const std::uint8_t> inner) {
    Buffer b(inner);
    b.packet.out = outbound.get();
    encap.encapsulate({&b.packet, 1}, 1000);
    EXPECT_EQ(b.packet.drop, GW_DROP_NONE);
    return b.bytes();
  }
  struct Opened {
    gw_drop drop;
    Bytes inner;
    BurstResult result;
  };
  Opened open(std::span<const std::uint8_t> wire) {
    Buffer b(wire, 0, 0);
    b.packet.drop = receive(b.packet, *inbound);
    const BurstResult r = decap.decapsulate({&b.packet, 1}, 2000);
    return {b.packet.drop, b.bytes(), r};
  }
  /// A packet of this SA with any plaintext at all, made by the backend itself: an authentic misfit.
  Bytes forge(std::span<const std::uint8_t> text, std::uint64_t sequence, std::uint8_t outer_tos = 0) {
    const Transform& t = outbound->transform();
    const auto header = outbound->header();
    Bytes wire(header.begin(), header.end());
    wire.resize(header.size() + kSequenceBytes + t.iv_bytes + text.size() + t.icv_bytes);
    std::uint8_t* esp = wire.data() + header.size() - 4;
    store_be(esp + 4, static_cast<std::uint32_t>(sequence));
    if (t.iv_bytes >= 8) store_be(esp + 8, sequence * 77);
    CryptoOp op{};
    op.key = outbound->key();
    op.text = esp + kEspHeaderBytes + t.iv_bytes;
    op.length = static_cast<std::uint32_t>(text.size());
    op.sequence = sequence;
    std::ranges::copy(text, op.text);
    sender->encrypt({&op, 1});
    EXPECT_TRUE(op.ok);
    if (outbound->outer_family() == Family::kV4) {
      wire[1] = outer_tos;
      store_be(&wire[2], static_cast<std::uint16_t>(wire.size()));
      fix_ipv4_checksum(wire.data());
      if (outbound->udp()) store_be(&wire[24], static_cast<std::uint16_t>(wire.size() - 20));
    } else {
      wire[0] = static_cast<std::uint8_t>(0x60 | outer_tos >> 4);
      wire[1] = static_cast<std::uint8_t>(outer_tos << 4);
      store_be(&wire[4], static_cast<std::uint16_t>(wire.size() - 40));
      if (outbound->udp()) store_be(&wire[44], static_cast<std::uint16_t>(wire.size() - 40));
    }
    return wire;
  }

  std::unique_ptr<CryptoBackend> sender;
  std::unique_ptr<CryptoBackend> receiver;
  RuntimeRecord out_record{};
  RuntimeRecord in_record{};
  Codec encap;
  Codec decap;
  std::unique_ptr<OutboundSa> outbound;
  std::unique_ptr<InboundSa> inbound;
};

/// `inner` with the ESP trailer behind it (pad bytes 1, 2, 3, ...).
inline Bytes with_trailer(Bytes inner, std::uint8_t next_header, std::size_t block = 4) {
  const std::size_t pad = (block - (inner.size() + 2) % block) % block;
  for (std::size_t i = 1; i <= pad; ++i) inner.push_back(static_cast<std::uint8_t>(i));
  inner.push_back(static_cast<std::uint8_t>(pad));
  inner.push_back(next_header);
  return inner;
}

}  // namespace gw::esp::test
