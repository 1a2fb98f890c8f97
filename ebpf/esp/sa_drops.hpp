// Drops of one SA by reason, beside its tunnel's: what the peer of this SA did wrong lately. Counted by the codec
// (the SA's owner is the only writer), read by any thread; shared, so that a reader may outlive the SA. Memory
// that packets which pass never touch.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "ebpf/abi/drop.h"
#include "ebpf/esp/runtime_record.hpp"

namespace gw::esp {

class SaDrops {
 public:
  void add(gw_drop reason, std::uint64_t packets = 1) {
    std::uint64_t& count = counts_[reason];
    store_field(count, load_field(count) + packets);
  }
  std::uint64_t get(gw_drop reason) const { return load_field(counts_[reason]); }
  bool any() const {
    return std::ranges::any_of(counts_, [](const std::uint64_t& count) { return load_field(count) != 0; });
  }

 private:
  std::array<std::uint64_t, GW_DROP_COUNT> counts_{};
};

}  // namespace gw::esp
