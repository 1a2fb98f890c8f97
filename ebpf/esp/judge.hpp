// What encapsulation decides before it changes anything: whether the SA takes the packet, and how long it becomes. For
// the codec, and for whoever asks what would happen (worker/trace.cpp). Pure.
#pragma once

#include <cstdint>
#include <span>

#include "ebpf/abi/drop.h"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/sa.hpp"

namespace gw::esp {

/// Steps 1 and 2 of encapsulation (codec.hpp). `inner` is set if the packet is taken.
[[gnu::always_inline]] inline gw_drop judge_encap(const OutboundSa& sa, std::span<const std::uint8_t> packet,
                                                  InnerHeader& inner) {
  if (sa.hard_expired()) return GW_DROP_HARD_EXPIRED;
  const auto found = check_inner(packet);
  if (!found) return GW_DROP_MALFORMED_INNER;
  inner = *found;
  // Link-layer padding is not the packet's.
  if (!sa.selectors().matches(packet.first(inner.total_length), inner.family, SelectorSet::Way::kLocalToRemote))
    return GW_DROP_TS_MISMATCH;
  return GW_DROP_NONE;
}

/// How the bytes of an encapsulated packet are laid out.
struct Layout {
  std::uint32_t before;  // outer headers, ESP header, IV
  std::uint32_t tfc;     // padding behind the inner packet (RFC 4303 2.7)
  std::uint32_t pad;     // ESP's own
  std::uint32_t text;    // what is encrypted: packet, padding, trailer
  std::uint32_t total;   // of the outer packet
};

[[gnu::always_inline]] inline Layout layout_of(const OutboundSa& sa, std::uint32_t inner_bytes) {
  const Transform& t = sa.transform();
  Layout l{};
  l.before = static_cast<std::uint32_t>(sa.header().size()) + kSequenceBytes + t.iv_bytes;
  l.tfc = inner_bytes < sa.pad_to() ? sa.pad_to() - inner_bytes : 0;
  const std::uint32_t payload = inner_bytes + l.tfc;
  l.pad = -(payload + kTrailerBytes) & (t.block_bytes - 1U);
  l.text = payload + l.pad + kTrailerBytes;
  l.total = l.before + l.text + t.icv_bytes;
  return l;
}

}  // namespace gw::esp
