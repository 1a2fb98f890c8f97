// Encapsulation (RFC 4303 3.3). The steps are numbered in codec.hpp.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/judge.hpp"
#include "ebpf/esp/prefetch.hpp"

namespace gw::esp {
namespace {

constexpr std::uint8_t kNextHeaderV4 = 4;
constexpr std::uint8_t kNextHeaderV6 = 41;
constexpr std::uint32_t kMaxIpLength = 65535;

std::uint8_t inner_traffic_class(const std::uint8_t* inner, Family family) {
  return family == Family::kV4 ? inner[1] : static_cast<std::uint8_t>(inner[0] << 4 | inner[1] >> 4);
}

std::uint16_t inner_fragment_field(const std::uint8_t* inner, Family family) {
  return family == Family::kV4 ? load_be<std::uint16_t>(inner + 6) : kDontFragment;
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

// What differs from packet to packet.
struct OuterFields {
  std::uint32_t length;  // of the outer packet
  std::uint8_t traffic_class;
  std::uint16_t id;        // IPv4
  std::uint16_t fragment;  // IPv4: kDontFragment or 0
};

[[gnu::always_inline]] inline void finish_outer(std::uint8_t* outer, const OutboundSa& sa, const OuterFields& f) {
  std::uint8_t* udp = outer + 20;
  if (sa.outer_family() == Family::kV4) {
    outer[1] = f.traffic_class;
    store_be(outer + 2, static_cast<std::uint16_t>(f.length));
    store_be(outer + 4, f.id);
    store_be(outer + 6, f.fragment);
    const std::uint64_t sum = sa.ipv4_sum() + f.traffic_class + f.length + f.id + f.fragment;
    store_be(outer + 10, static_cast<std::uint16_t>(~fold16(sum)));
  } else {
    outer[0] = static_cast<std::uint8_t>(0x60 | f.traffic_class >> 4);
    outer[1] = static_cast<std::uint8_t>(f.traffic_class << 4);
    store_be(outer + 4, static_cast<std::uint16_t>(f.length - 40));
    udp = outer + 40;
  }
  if (sa.udp()) store_be(udp + 4, static_cast<std::uint16_t>(outer + f.length - udp));
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

struct Trailer {
  std::uint32_t pad;
  std::uint32_t block;
  std::uint8_t next_header;
};

// RFC 4303 2.4: 1, 2, 3, ... Without blocks there are at most three, and room for more: what is too many is the ICV's
// place (8 bytes at least), which is written later.
void write_trailer(std::uint8_t* end, const Trailer& t) {
  static constexpr std::array<std::uint8_t, kMaxBlockBytes> kPad{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  if (t.block == 4)
    std::memcpy(end, kPad.data(), 4);
  else
    std::memcpy(end, kPad.data(), t.pad);
  end[t.pad] = static_cast<std::uint8_t>(t.pad);
  end[t.pad + 1] = t.next_header;
}

gw_drop reserve_numbers(OutboundSa& sa, Reservation& numbers, std::uint8_t& events) {
  switch (reserve(sa.record(), sa.last_sequence(), numbers)) {
    case ReserveFault::kNone: break;
    case ReserveFault::kSequence: events |= sa.raise(kHardSequence); return GW_DROP_SEQ_EXHAUSTED;
    case ReserveFault::kIv: events |= sa.raise(kHardSequence); return GW_DROP_IV_EXHAUSTED;
  }
  return GW_DROP_NONE;
}

}  // namespace

// Inlined: a call for every packet costs as much as the headers.
[[gnu::always_inline]] inline gw_drop Codec::build(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events,
                                                   const Content& content) {
  OutboundSa& sa = *packet.out;
  const Transform& t = sa.transform();
  // 3
  const auto [before, tfc, pad, text, total] = layout_of(sa, packet.length);
  if (total > kMaxIpLength) return GW_DROP_TOO_BIG;
  if (packet.offset < before || packet.capacity - packet.offset < text + t.icv_bytes) return GW_DROP_NO_HEADROOM;

  // 4
  Reservation numbers;
  if (const gw_drop d = reserve_numbers(sa, numbers, events); d != GW_DROP_NONE) return d;

  // 5
  std::uint8_t* start = packet.data();
  if (tfc != 0) [[unlikely]]
    std::memset(start + packet.length, 0, tfc);  // RFC 4303 2.7
  write_trailer(start + packet.length + tfc, {.pad = pad, .block = t.block_bytes, .next_header = content.next_header});
  std::uint8_t* outer = start - before;
  copy_header(outer, sa.header());
  store_be(start - t.iv_bytes - kSequenceBytes, static_cast<std::uint32_t>(numbers.sequence));
  if (t.iv_policy == IvPolicy::kUnique)
    store_be(start - kAeadIvBytes, numbers.iv);
  else
    backend_.ivs().take({start - t.iv_bytes, t.iv_bytes});
  // The id serves reassembly only where DF is clear, and then the sender gives another one, unique for the addresses.
  // Where DF is set some middleboxes treat a constant one as an attack.
  finish_outer(outer, sa,
               {.length = total,
                .traffic_class = content.traffic_class,
                .id = static_cast<std::uint16_t>(numbers.sequence),
                .fragment = content.fragment});

  op = {.key = sa.key(), .text = start, .length = text, .sequence = numbers.sequence};
  work.packet = &packet;
  work.inner_bytes = packet.length;
  packet.offset -= before;
  packet.length = total;
  return GW_DROP_NONE;
}

gw_drop Codec::prepare_encap(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events) {
  OutboundSa& sa = *packet.out;
  // 1, 2
  InnerHeader inner{};
  if (const gw_drop reason = judge_encap(sa, packet.bytes(), inner); reason != GW_DROP_NONE) [[unlikely]] {
    // Reached in an earlier process, or its notice was lost: IKE has to know.
    if (reason == GW_DROP_HARD_EXPIRED) events |= sa.check_limits();
    return reason;
  }
  packet.length = inner.total_length;
  const std::uint8_t* header = packet.data();
  return build(packet, work, op, events,
               {.next_header = inner.family == Family::kV4 ? kNextHeaderV4 : kNextHeaderV6,
                .traffic_class = sa.marks().traffic_class(inner_traffic_class(header, inner.family)),
                .fragment = sa.marks().fragment_field(inner_fragment_field(header, inner.family))});
}

gw_drop Codec::prepare_dummy(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events) {
  OutboundSa& sa = *packet.out;
  if (sa.hard_expired()) {
    events |= sa.check_limits();
    return GW_DROP_HARD_EXPIRED;
  }
  std::memset(packet.data(), 0, packet.length);
  return build(packet, work, op, events,
               {.next_header = kNextHeaderNone,
                .traffic_class = sa.marks().traffic_class(0),
                .fragment = sa.marks().fragment_field(kDontFragment)});
}

void Codec::encapsulate_chunk(std::span<Packet> packets, Kind kind, std::uint64_t now_ms, BurstResult& result) {
  std::size_t n = 0;
  const SaPrefetch<OutboundSa> prefetch(packets);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    prefetch.step(i);
    Packet& p = packets[i];
    if (p.drop != GW_DROP_NONE) continue;
    p.drop = kind == Kind::kPacket ? prepare_encap(p, work_[n], ops_[n], result.events)
                                   : prepare_dummy(p, work_[n], ops_[n], result.events);
    if (p.drop != GW_DROP_NONE) [[unlikely]] {
      p.out->count_drop(p.drop);
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
      sa.count_drop(p.drop);
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
    encapsulate_chunk(packets.first(std::min(packets.size(), kCryptoBurst)), Kind::kPacket, now_ms, result);
  return result;
}

BurstResult Codec::encapsulate_dummies(std::span<Packet> packets, std::uint64_t now_ms) {
  BurstResult result;
  for (; !packets.empty(); packets = packets.subspan(std::min(packets.size(), kCryptoBurst)))
    encapsulate_chunk(packets.first(std::min(packets.size(), kCryptoBurst)), Kind::kDummy, now_ms, result);
  return result;
}

}  // namespace gw::esp
