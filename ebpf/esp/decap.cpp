// Decapsulation (RFC 4303 3.4). The steps are numbered in codec.hpp.
#include <algorithm>
#include <cstring>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/ecn.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/prefetch.hpp"

namespace gw::esp {
namespace {

// RFC 6040 4.2 into the inner header. False: drop.
bool apply_ecn(std::uint8_t* inner, Family family, std::uint8_t from_outer) {
  const auto before = static_cast<std::uint8_t>((family == Family::kV4 ? inner[1] : inner[1] >> 4) & kEcnMask);
  const auto after = combined_ecn(before, from_outer);
  if (!after) return false;
  if (*after == before) return true;
  if (family == Family::kV6) {
    inner[1] = static_cast<std::uint8_t>((inner[1] & ~(kEcnMask << 4)) | *after << 4);
    return true;
  }
  const auto word = load_be<std::uint16_t>(inner);
  inner[1] = static_cast<std::uint8_t>((inner[1] & ~kEcnMask) | *after);
  store_be(inner + 10, updated_checksum(load_be<std::uint16_t>(inner + 10), word, load_be<std::uint16_t>(inner)));
  return true;
}

// Steps 5 to 7: everything about an authentic packet's content. Leaves the packet at its inner header.
gw_drop deliver(Packet& packet, const InboundSa& sa, std::span<const std::uint8_t> text) {
  // 5
  const std::size_t pad = text[text.size() - 2];
  const std::uint8_t next_header = text.back();
  if (pad + kTrailerBytes > text.size()) return GW_DROP_PAD;
  const std::size_t payload = text.size() - kTrailerBytes - pad;
  for (std::size_t i = 0; i < pad; ++i)
    if (text[payload + i] != static_cast<std::uint8_t>(i + 1)) return GW_DROP_PAD;  // RFC 4303 2.4
  if (next_header == kNextHeaderNone) return GW_DROP_DUMMY;
  if (next_header != 4 && next_header != 41) return GW_DROP_NEXT_HEADER;
  const auto inner = check_inner(text.first(payload));
  if (!inner || inner->family != (next_header == 4 ? Family::kV4 : Family::kV6)) return GW_DROP_MALFORMED_INNER;

  // 6
  if (!sa.selectors().matches(text.first(inner->total_length), inner->family, SelectorSet::Way::kRemoteToLocal))
    return GW_DROP_TS_MISMATCH;

  // 7
  packet.offset += kEspHeaderBytes + sa.transform().iv_bytes;
  packet.length = inner->total_length;
  return apply_ecn(packet.data(), inner->family, packet.traffic_class & kEcnMask) ? GW_DROP_NONE : GW_DROP_ECN;
}

}  // namespace

gw_drop Codec::prepare_decap(Packet& packet, Work& work, CryptoOp& op, std::uint8_t& events) {
  InboundSa& sa = *packet.in;
  // 1
  if (sa.hard_expired()) {
    events |= sa.check_limits();  // reached in an earlier process, or its notice was lost: IKE has to know
    return GW_DROP_HARD_EXPIRED;
  }
  const Transform& t = sa.transform();
  const std::uint32_t before = kEspHeaderBytes + t.iv_bytes;
  if (packet.length < before + kTrailerBytes + t.icv_bytes) return GW_DROP_TRUNCATED;
  const std::uint32_t text = packet.length - before - t.icv_bytes;
  // The alignment to 4 bytes that the others ask for (RFC 4303 2.4) is the sender's business.
  if (t.block_bytes > 4 && (text & (t.block_bytes - 1U)) != 0) return GW_DROP_TRUNCATED;
  std::uint8_t* esp = packet.data();
  if (load_be<std::uint32_t>(esp) != sa.spi()) return GW_DROP_UNKNOWN_SPI;

  // 2
  const auto sequence = sa.window().infer(sa.record(), load_be<std::uint32_t>(esp + 4));
  if (!sequence || !sa.window().acceptable(sa.record(), *sequence)) return GW_DROP_REPLAY;

  op = {.key = sa.key(), .text = esp + before, .length = text, .sequence = *sequence};
  work.packet = &packet;
  return GW_DROP_NONE;
}

gw_drop Codec::finish_decap(const Work& work, const CryptoOp& op, std::uint64_t now_ms, std::uint8_t& events) {
  Packet& packet = *work.packet;
  InboundSa& sa = *packet.in;
  if (!op.ok) return GW_DROP_ICV;
  if (sa.hard_expired()) return GW_DROP_HARD_EXPIRED;  // reached within this burst
  // 4
  if (!sa.window().accept(sa.record(), op.sequence)) return GW_DROP_REPLAY;
  sa.note_received();

  // Only the newest packet moves the peer: one that was delayed on the old path does not (RFC 7296 2.23). And
  // only one in UDP of an SA in UDP: the other encapsulation is accepted, but says nothing about the NAT's port.
  if (packet.source_port != 0 && sa.udp() && !sa.is_source(packet.source, packet.source_port) &&
      op.sequence == sa.record().replay_top) [[unlikely]]
    events |= sa.note_source(packet.source, packet.source_port);

  const gw_drop drop = deliver(packet, sa, {op.text, op.length});
  sa.count(drop == GW_DROP_NONE ? packet.length : op.length, now_ms);
  return drop;
}

void Codec::decapsulate_chunk(std::span<Packet> packets, std::uint64_t now_ms, BurstResult& result) {
  std::size_t n = 0;
  const SaPrefetch<InboundSa> prefetch(packets);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    prefetch.step(i);
    Packet& p = packets[i];
    if (p.drop != GW_DROP_NONE) continue;
    p.drop = prepare_decap(p, work_[n], ops_[n], result.events);
    if (p.drop != GW_DROP_NONE) [[unlikely]] {
      p.in->count_drop(p.drop);
      ++result.dropped;
      continue;
    }
    ++n;
  }
  // 3
  backend_.decrypt(std::span(ops_).first(n));

  for (std::size_t i = 0; i < n; ++i) {
    Packet& p = *work_[i].packet;
    p.drop = finish_decap(work_[i], ops_[i], now_ms, result.events);
    if (p.drop == GW_DROP_NONE) {
      ++result.passed;
    } else {
      p.in->count_drop(p.drop);
      ++result.dropped;
    }
    // Once per run of packets of one SA, at its end.
    if (i + 1 == n || work_[i + 1].packet->in != p.in) result.events |= p.in->check_limits();
  }
}

BurstResult Codec::decapsulate(std::span<Packet> packets, std::uint64_t now_ms) {
  BurstResult result;
  for (; !packets.empty(); packets = packets.subspan(std::min(packets.size(), kCryptoBurst)))
    decapsulate_chunk(packets.first(std::min(packets.size(), kCryptoBurst)), now_ms, result);
  return result;
}

}  // namespace gw::esp
