// Encapsulation (RFC 4303 3.3). The steps are numbered in codec.hpp.
#include <algorithm>
#include <cstring>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/inner.hpp"

namespace gw::esp {
namespace {

constexpr std::uint8_t kNextHeaderV4 = 4;
constexpr std::uint8_t kNextHeaderV6 = 41;
constexpr std::uint32_t kMaxIpLength = 65535;

// TOS or traffic class: DSCP (RFC 4301 5.1.2.1) and ECN (RFC 6040 4.1, normal mode) go outside unchanged.
std::uint8_t traffic_class(const std::uint8_t* inner, Family family) {
  return family == Family::kV4 ? inner[1] : static_cast<std::uint8_t>(inner[0] << 4 | inner[1] >> 4);
}

// A constant length where it is one of the two usual ones, so that the copy is a few moves.
void copy_header(std::uint8_t* to, std::span<const std::uint8_t> header) {
  constexpr std::size_t kV4 = 24;
  constexpr std::size_t kV4Udp = 32;
  switch (header.size()) {
    case kV4: std::memcpy(to, header.data(), kV4); break;
    case kV4Udp: std::memcpy(to, header.data(), kV4Udp); break;
    default: std::memcpy(to, header.data(), header.size()); break;
  }
}

void finish_outer(std::uint8_t* outer, const OutboundSa& sa, std::uint32_t length, std::uint8_t tos, std::uint16_t id) {
  std::uint8_t* udp = outer + 20;
  if (sa.outer_family() == Family::kV4) {
    outer[1] = tos;
    store_be(outer + 2, static_cast<std::uint16_t>(length));
    // Never used for reassembly (DF is set), but some middleboxes treat a constant id as an attack.
    store_be(outer + 4, id);
    store_be(outer + 10, static_cast<std::uint16_t>(~fold16(sa.ipv4_sum() + tos + length + id)));
  } else {
    outer[0] = static_cast<std::uint8_t>(0x60 | tos >> 4);
    outer[1] = static_cast<std::uint8_t>(tos << 4);
    store_be(outer + 4, static_cast<std::uint16_t>(length - 40));
    udp = outer + 40;
  }
  if (sa.udp()) store_be(udp + 4, static_cast<std::uint16_t>(outer + length - udp));
}

// RFC 3948 2.1 wants 0 over IPv4. Over IPv6 a zero checksum is only for tunnels whose receiver agreed
// (RFC 6935), and a stock kernel drops it: so it is computed, over the ciphertext.
void write_udp6_checksum(std::uint8_t* outer, std::uint32_t length) {
  std::uint8_t* udp = outer + 40;
  const std::uint32_t bytes = length - 40;
  const std::uint64_t pseudo = sum16(outer + 8, 32) + bytes + 17;
  const auto checksum = static_cast<std::uint16_t>(~fold16(fold16(pseudo) + std::uint64_t{fold16(sum16(udp, bytes))}));
  store_be(udp + 6, checksum == 0 ? std::uint16_t{0xffff} : checksum);
}

void write_trailer(std::uint8_t* end, std::uint32_t pad, std::uint8_t next_header) {
  for (std::uint32_t i = 0; i < pad; ++i) end[i] = static_cast<std::uint8_t>(i + 1);  // RFC 4303 2.4
  end[pad] = static_cast<std::uint8_t>(pad);
  end[pad + 1] = next_header;
}

gw_drop reserve_numbers(OutboundSa& sa, Reservation& numbers, std::uint8_t& events) {
  switch (reserve(sa.record(), sa.last_sequence(), numbers)) {
    case ReserveFault::kNone: break;
    case ReserveFault::kSequence: events |= sa.raise(kHardSequence); return GW_DROP_SEQ_EXHAUSTED;
    case ReserveFault::kIv: events |= sa.raise(kHardSequence); return GW_DROP_IV_EXHAUSTED;
  }
  return GW_DROP_NONE;
}

void fill_op(CryptoOp& op, const OutboundSa& sa, const Reservation& numbers, std::uint8_t* esp) {
  const std::uint32_t salt = sa.salt_be();
  std::memcpy(op.nonce.data(), &salt, sizeof salt);
  store_be(op.nonce.data() + 4, numbers.iv);
  store_be(op.aad.data(), sa.spi());
  if (sa.sequence_mode() == SequenceMode::kExtended) {  // RFC 4106 5
    store_be(op.aad.data() + 4, numbers.sequence);
    op.aad_length = 12;
  } else {
    store_be(op.aad.data() + 4, static_cast<std::uint32_t>(numbers.sequence));
    op.aad_length = 8;
  }
  op.key = sa.key();
  op.text = esp + 16;
}

}  // namespace

gw_drop Codec::prepare_encap(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events) {
  OutboundSa& sa = *packet.out;
  // 1
  if (sa.hard_expired()) {
    events |= sa.check_limits();  // reached in an earlier process, or its notice was lost: IKE has to know
    return GW_DROP_HARD_EXPIRED;
  }
  // 2
  const auto inner = check_inner(packet.bytes());
  if (!inner) return GW_DROP_MALFORMED_INNER;
  packet.length = inner->total_length;  // link-layer padding is not the packet's
  if (!sa.selectors().matches(packet.bytes(), inner->family, SelectorSet::Way::kLocalToRemote))
    return GW_DROP_TS_MISMATCH;

  // 3
  const auto header = sa.header();
  const auto before = static_cast<std::uint32_t>(header.size()) + kSequenceAndIvBytes;
  const std::uint32_t pad = -(packet.length + kTrailerBytes) & 3;
  const std::uint32_t text = packet.length + pad + kTrailerBytes;
  const std::uint32_t total = before + text + static_cast<std::uint32_t>(kIcvBytes);
  if (total > kMaxIpLength) return GW_DROP_TOO_BIG;
  if (packet.offset < before || packet.tailroom() < pad + kTrailerBytes + kIcvBytes) return GW_DROP_NO_HEADROOM;

  // 4
  Reservation numbers;
  if (const gw_drop d = reserve_numbers(sa, numbers, events); d != GW_DROP_NONE) return d;

  // 5
  std::uint8_t* start = packet.data();
  const std::uint8_t tos = traffic_class(start, inner->family);
  write_trailer(start + packet.length, pad, inner->family == Family::kV4 ? kNextHeaderV4 : kNextHeaderV6);
  std::uint8_t* outer = start - before;
  copy_header(outer, header);
  store_be(start - 12, static_cast<std::uint32_t>(numbers.sequence));
  store_be(start - 8, numbers.iv);
  finish_outer(outer, sa, total, tos, static_cast<std::uint16_t>(numbers.sequence));

  fill_op(op, sa, numbers, start - 16);
  op.length = text;
  op.icv = start + text;
  work.packet = &packet;
  work.inner_bytes = packet.length;
  packet.offset -= before;
  packet.length = total;
  return GW_DROP_NONE;
}

void Codec::encapsulate_chunk(std::span<Packet> packets, std::uint64_t now_ms, BurstResult& result) {
  std::size_t n = 0;
  for (Packet& p : packets) {
    if (p.drop != GW_DROP_NONE) continue;
    p.drop = prepare_encap(p, work_[n], ops_[n], result.events);
    if (p.drop != GW_DROP_NONE) {
      ++result.dropped;
      continue;
    }
    p.out->count(work_[n].inner_bytes, now_ms);
    ++n;
  }
  // 6
  publish_reservations();
  backend_.encrypt(std::span(ops_).first(n));

  // 7
  const OutboundSa* checked = nullptr;
  for (std::size_t i = 0; i < n; ++i) {
    Packet& p = *work_[i].packet;
    OutboundSa& sa = *p.out;
    if (!ops_[i].ok) [[unlikely]] {
      p.drop = GW_DROP_CRYPTO_FAILED;
      ++result.dropped;
      continue;
    }
    ++result.passed;
    if (sa.udp() && sa.outer_family() == Family::kV6) write_udp6_checksum(p.data(), p.length);
    if (&sa == checked) continue;
    checked = &sa;
    result.events |= sa.check_limits();
    if (near_exhaustion(sa.record(), sa.last_sequence(), sa.sequence_jump())) result.events |= sa.raise(kSoftSequence);
  }
}

BurstResult Codec::encapsulate(std::span<Packet> packets, std::uint64_t now_ms) {
  BurstResult result;
  for (; !packets.empty(); packets = packets.subspan(std::min(packets.size(), kCryptoBurst)))
    encapsulate_chunk(packets.first(std::min(packets.size(), kCryptoBurst)), now_ms, result);
  return result;
}

}  // namespace gw::esp
