// The forwarding lookups of a burst's packets, done together: memory answers for all of them at once. Both families.
// Worker thread.
#pragma once

#include <array>
#include <cstdint>

#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/fib/view.hpp"
#include "ebpf/worker/port.hpp"

namespace gw::worker {

class RouteBurst {
 public:
  static_assert(kBurst <= fib::kLookupBurst);

  /// `packet`, an index of the burst, is asked about once; its address is 4 or 16 bytes in network order and stays
  /// where it is until find().
  void add(std::size_t packet, const std::uint8_t* address, Family family) {
    if (family == Family::kV4) {
      v4_[v4_count_] = load_be<std::uint32_t>(address);
      v4_packet_[v4_count_++] = static_cast<std::uint8_t>(packet);
    } else {
      v6_[v6_count_] = address;
      v6_packet_[v6_count_++] = static_cast<std::uint8_t>(packet);
    }
  }

  /// The next hops; memory is asked for their records, which are looked at next.
  void find(const fib::Memory& memory) {
    std::array<fib::NextHopIndex, kBurst> found;
    const auto note = [&](const std::array<std::uint8_t, kBurst>& packets, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) {
        hop_[packets[i]] = found[i];
        __builtin_prefetch(&memory.next_hops[found[i]]);
      }
    };
    if (v4_count_ > 0) {
      fib::lookup_burst_v4(memory, std::span(v4_).first(v4_count_), found.data());
      note(v4_packet_, v4_count_);
    }
    if (v6_count_ > 0) {
      fib::lookup_burst_v6(memory, std::span(v6_).first(v6_count_), found.data());
      note(v6_packet_, v6_count_);
    }
  }

  /// After find().
  fib::NextHopIndex hop(std::size_t packet) const { return hop_[packet]; }

 private:
  std::size_t v4_count_ = 0;
  std::size_t v6_count_ = 0;
  std::array<std::uint32_t, kBurst> v4_;
  std::array<const std::uint8_t*, kBurst> v6_;
  std::array<std::uint8_t, kBurst> v4_packet_;
  std::array<std::uint8_t, kBurst> v6_packet_;
  std::array<fib::NextHopIndex, kBurst> hop_;
};

}  // namespace gw::worker
