// With many SAs each packet's is cold: what the next packets of a burst will touch is fetched while this one is
// worked on. First the SA, then what it points to. A burst of one SA costs a comparison a packet. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include "ebpf/esp/packet.hpp"
#include "ebpf/esp/sa.hpp"

namespace gw::esp {

template <class Sa>
class SaPrefetch {
 public:
  explicit SaPrefetch(std::span<const Packet> packets) : packets_(packets) {
    for (std::size_t i = 1; i < packets.size(); ++i) mixed_ |= sa(i) != sa(i - 1);
    if (!mixed_) return;
    const std::size_t first = std::min(kSaAhead, packets.size());
    for (std::size_t i = 0; i < first; ++i) fetch_sa(i);
    for (std::size_t i = 0; i < std::min(kStateAhead, first); ++i) fetch_state(i);
  }
  /// Before packet `i` is worked on.
  void step(std::size_t i) const {
    if (!mixed_) return;
    if (i + kSaAhead < packets_.size()) fetch_sa(i + kSaAhead);
    if (i + kStateAhead < packets_.size()) fetch_state(i + kStateAhead);
  }

 private:
  // Preparing a packet takes a tenth of a memory access's time, so several have to be under way.
  static constexpr std::size_t kSaAhead = 12;
  static constexpr std::size_t kStateAhead = 6;
  static constexpr std::size_t kLine = 64;

  const Sa* sa(std::size_t i) const {
    if constexpr (std::is_same_v<Sa, OutboundSa>)
      return packets_[i].out;
    else
      return packets_[i].in;
  }
  bool is_new(std::size_t i) const { return packets_[i].drop == GW_DROP_NONE && (i == 0 || sa(i) != sa(i - 1)); }
  void fetch_sa(std::size_t i) const {
    if (!is_new(i)) return;
    const auto* bytes = reinterpret_cast<const char*>(sa(i));
    for (std::size_t at = 0; at < sizeof(Sa); at += kLine) __builtin_prefetch(bytes + at);
  }
  void fetch_state(std::size_t i) const {
    if (!is_new(i)) return;
    __builtin_prefetch(&sa(i)->record().next_sequence, 1);
    __builtin_prefetch(sa(i)->key());
  }

  std::span<const Packet> packets_;
  bool mixed_ = false;
};

}  // namespace gw::esp
