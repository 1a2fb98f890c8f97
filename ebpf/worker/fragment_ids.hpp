// The identification field of packets that may be cut on their way: one sequence for each pair of addresses, whoever
// sends (RFC 6864 4.3, RFC 8200 4.5). Two SAs of a pair may belong to two workers, so the counters are shared, and
// atomic; only packets that can be cut touch them. Pairs with one hash have one sequence together. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "base/wire.hpp"
#include "ebpf/abi/flow_hash.h"

namespace gw::worker {

class FragmentIds {
 public:
  /// `seed`: random, so that the numbers are hard to guess and do not begin where they did before a restart.
  explicit FragmentIds(std::uint64_t seed) {
    for (auto& next : next_) next.store(gw_flow_fold(seed = gw_flow_mix(seed, 1)), std::memory_order_relaxed);
  }

  /// `addresses`: source and destination as they are in the IP header, 8 or 32 bytes.
  std::uint32_t next(std::span<const std::uint8_t> addresses) {
    std::uint64_t hash = addresses.size();
    for (std::size_t at = 0; at + 8 <= addresses.size(); at += 8)
      hash = gw_flow_mix(hash, load_be<std::uint64_t>(&addresses[at]));
    return next_[hash % next_.size()].fetch_add(1, std::memory_order_relaxed);
  }
  /// For IPv4. Never 0, which a raw socket takes for "the kernel's choice", another one for each piece.
  std::uint16_t next_v4(std::span<const std::uint8_t> addresses) {
    std::uint16_t id = 0;
    while (id == 0) id = static_cast<std::uint16_t>(next(addresses));
    return id;
  }

 private:
  std::array<std::atomic<std::uint32_t>, 1024> next_;
};

}  // namespace gw::worker
