// A packet for an inbound SA, as it comes off the wire (raw) or with a peer's authentic but hostile content
// (sealed), and a packet that a host sends into a tunnel (inner). First byte: kind and SA; see below.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/outer.hpp"
#include "ebpf/esp/rewrite.hpp"

namespace gw::esp {
namespace {

using Bytes = std::vector<std::uint8_t>;

// The first byte of an input: what the rest is, and for which SA.
enum Kind : std::uint8_t { kRaw = 0, kSealed = 1, kInner = 2, kKindMask = 3 };
constexpr std::uint8_t kOuterV6 = 4;
constexpr std::uint8_t kInUdp = 8;
constexpr std::uint8_t kLongSequence = 16;
constexpr int kTransformShift = 5;  // the upper three bits

void require(bool condition) {
  if (!condition) std::abort();
}

// The program's OpenSSL allocates at first use: one backend for all inputs. Anything else is made anew, so that an
// input always does the same.
CryptoBackend& backend() {
  static const auto made = make_backend(BackendChoice::kAuto).value();
  return *made;
}

constexpr std::array<std::string_view, 8> kTransformNames{
    "AES_GCM_16-256",        "CHACHA20_POLY1305", "AES_CBC-256/HMAC_SHA2_512_256", "AES_CBC-128/HMAC_SHA1_96",
    "3DES_CBC/HMAC_SHA1_96", "AES_GCM_8-128",     "NULL/HMAC_SHA2_384_192",        "AES_CBC-192/HMAC_SHA2_256_128"};

SaParameters parameters(std::uint8_t how) {
  const auto ip = [](const char* text) { return IpAddress::parse(text).value(); };
  const bool v6 = (how & kOuterV6) != 0;
  SaParameters p;
  p.spi = 0xc0ffee01;
  p.src = {ip(v6 ? "2001:db8:f::10" : "203.0.113.10"), 4500};
  p.dst = {ip(v6 ? "2001:db8:e::20" : "198.51.100.20"), 4500};
  p.encapsulation = (how & kInUdp) != 0 ? Encapsulation::kUdp : Encapsulation::kNative;
  p.sequence_mode = (how & kLongSequence) != 0 ? SequenceMode::kExtended : SequenceMode::k32Bit;
  p.transform = find_transform(kTransformNames[how >> kTransformShift]);
  p.key = Secret(Bytes(std::size_t{p.transform->key_bytes} + p.transform->salt_bytes, 0x11));
  p.integrity_key = Secret(Bytes(p.transform->integrity_key_bytes, 0x22));
  // IPv4: anything. IPv6: UDP to ports of one network, so that selectors look into the packet.
  p.local = {{ip("0.0.0.0"), ip("255.255.255.255")}, {ip("2001:db8:1::"), ip("2001:db8:1::ffff"), 17, 1000, 2000}};
  p.remote = {{ip("0.0.0.0"), ip("255.255.255.255")}, {ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}};
  return p;
}

void write_ip_length(Bytes& wire, Family family) {
  if (family == Family::kV6) {
    store_be(&wire[4], static_cast<std::uint16_t>(wire.size() - 40));
    return;
  }
  store_be(&wire[2], static_cast<std::uint16_t>(wire.size()));
  store_be(&wire[10], std::uint16_t{0});
  store_be(&wire[10], static_cast<std::uint16_t>(~fold16(sum16(wire.data(), 20))));
}

// What only the peer can make: `text` (inner packet, padding, trailer) under the SA's key. `ecn` is the outer mark.
Bytes seal(const OutboundSa& sa, std::uint8_t ecn, std::span<const std::uint8_t> text) {
  constexpr std::uint64_t kSequence = 7;
  const auto header = sa.header();
  Bytes wire(header.begin(), header.end());
  const Transform& t = sa.transform();
  wire.resize(header.size() + kSequenceBytes + t.iv_bytes + text.size() + t.icv_bytes);
  std::uint8_t* esp = &wire[header.size() - 4];  // header() ends with the SPI
  store_be(esp + 4, static_cast<std::uint32_t>(kSequence));
  CryptoOp op{};
  op.key = sa.key();
  op.text = esp + kEspHeaderBytes + t.iv_bytes;
  op.length = static_cast<std::uint32_t>(text.size());
  op.sequence = kSequence;
  std::ranges::copy(text, op.text);
  backend().encrypt({&op, 1});

  const Family family = sa.outer_family();
  if (sa.udp()) {
    const std::size_t udp = family == Family::kV4 ? 20 : 40;
    store_be(&wire[udp + 4], static_cast<std::uint16_t>(wire.size() - udp));
  }
  if (family == Family::kV4)
    wire[1] = ecn & 3;
  else
    wire[1] = static_cast<std::uint8_t>((ecn & 3) << 4);
  write_ip_length(wire, family);
  return wire;
}

// What forwarding does to a packet that check_inner() accepted.
void forward(std::span<std::uint8_t> packet, const InnerHeader& header) {
  const Family family = header.family;
  const Flow flow = parse_flow(packet, family);
  require(flow.l4_offset <= packet.size());
  (void)flow_hash(packet, family);
  (void)complete_checksum(packet, family);
  (void)clamp_mss(packet, family, 1350);
  (void)decrement_ttl(packet, family);
  const auto after = check_inner(packet);  // IPv4: the header's checksum was kept right
  require(after && after->header_length == header.header_length && after->total_length == header.total_length);
}

void decapsulate(const SaParameters& p, std::span<const std::uint8_t> wire) {
  RuntimeRecord record{};
  const auto sa = InboundSa::create(p, backend(), record).value();
  // Exactly as large as the packet: AddressSanitizer sees every byte too far.
  const auto memory = std::make_unique<std::uint8_t[]>(wire.size());
  std::ranges::copy(wire, memory.get());
  Packet packet{.base = memory.get(), .capacity = static_cast<std::uint32_t>(wire.size())};
  packet.length = packet.capacity;
  OuterHeader outer;
  if (strip_outer(packet, outer) != GW_DROP_NONE) return;
  require(packet.offset + packet.length <= packet.capacity && packet.length >= 4);
  if (outer.family != sa->outer_family()) return;
  packet.in = sa.get();
  Codec codec(backend());
  const BurstResult result = codec.decapsulate({&packet, 1}, 1000);
  require(result.passed + result.dropped == 1);
  require((packet.drop == GW_DROP_NONE) == (result.passed == 1));
  if (packet.drop == GW_DROP_ICV) require(record.replay_top == 0 && record.packets == 0);
  if (packet.drop != GW_DROP_NONE) return;
  require(packet.offset + packet.length <= packet.capacity);
  const auto inner = check_inner(packet.bytes());
  require(inner && inner->total_length == packet.length);
  forward(packet.bytes(), *inner);
}

void fuzz_sealed(const SaParameters& p, std::uint8_t ecn, std::span<const std::uint8_t> text) {
  RuntimeRecord record{};
  require(begin_outbound(record, 0).has_value());
  const auto sa = OutboundSa::create(p, backend(), record).value();
  const std::size_t blocks = text.size() / p.transform->block_bytes;  // what a cipher can do at all
  if (blocks == 0) return;
  decapsulate(
      p, seal(*sa, ecn, text.first(p.transform->block_bytes > 4 ? blocks * p.transform->block_bytes : text.size())));
}

// `keep_checksum` 0: an IPv4 header's checksum is made right, or hardly any input would get past it.
void fuzz_inner(std::uint8_t keep_checksum, std::span<const std::uint8_t> bytes) {
  const auto memory = std::make_unique<std::uint8_t[]>(bytes.size());
  std::ranges::copy(bytes, memory.get());
  const std::span packet(memory.get(), bytes.size());
  const std::size_t header_bytes = packet.empty() ? 0 : (packet[0] & 0xfU) * 4;
  if (keep_checksum == 0 && header_bytes >= 20 && header_bytes <= packet.size() && packet[0] >> 4 == 4) {
    store_be(&packet[10], std::uint16_t{0});
    store_be(&packet[10], static_cast<std::uint16_t>(~fold16(sum16(packet.data(), header_bytes))));
  }
  const auto header = check_inner(packet);
  if (!header) return;
  require(header->header_length <= header->total_length && header->total_length <= packet.size());
  forward(packet.first(header->total_length), *header);
}

}  // namespace
}  // namespace gw::esp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxBytes = 9000;  // a jumbo frame; sealed, it still fits an IP packet
  if (size < 2 || size > kMaxBytes) return 0;
  const auto p = gw::esp::parameters(data[0]);
  const std::span rest(data + 2, size - 2);
  switch (data[0] & gw::esp::kKindMask) {
    case gw::esp::kRaw: gw::esp::decapsulate(p, std::span(data + 1, size - 1)); break;
    case gw::esp::kSealed:
      if (rest.size() >= 2) gw::esp::fuzz_sealed(p, data[1], rest);
      break;
    default: gw::esp::fuzz_inner(data[1], rest); break;
  }
  return 0;
}
