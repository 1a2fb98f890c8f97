// The rate of the whole gateway, one direction, which all workers draw from (ADR 22): a virtual clock (GCRA, ITU-T
// I.371) in one atomic word. Each worker has a purse (GatewayPurse) and draws some packets' worth at a time, so that
// the word is touched a few thousand times a second, not once a packet. What lies unused in purses is the only error:
// at most one draw for each worker, once; never the average.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/clock.hpp"
#include "ebpf/ip/byte_bucket.hpp"

namespace gw::worker {

class GatewayRate {
 public:
  /// Control thread. Packets are on their way.
  void set(const ip::ByteRate& rate) {
    burst_ns_.store(rate.per_second == 0 ? 0 : nanoseconds(rate.burst, rate.per_second), std::memory_order_relaxed);
    per_second_.store(rate.per_second, std::memory_order_relaxed);
  }

  // --- any thread ---
  bool limits() const { return per_second() != 0; }
  std::uint64_t per_second() const { return per_second_.load(std::memory_order_relaxed); }
  /// 100 us of the rate, between a quarter of and a whole superpacket.
  std::uint32_t draw_bytes() const {
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(per_second() / 10'000, 16384, 65536));
  }
  bool draw(std::uint32_t bytes, MonoTime now) { return move(bytes, now, 0); }
  /// Drawn whether there or not, for packets that nothing may stop: debt is at most another burst.
  void overdraw(std::uint32_t bytes, MonoTime now) {
    (void)move(bytes, now, burst_ns_.load(std::memory_order_relaxed) + 1'000'000);
  }

 private:
  static std::uint64_t nanoseconds(std::uint64_t bytes, std::uint64_t per_second) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((Wide{bytes} * 1'000'000'000u + per_second - 1) / per_second);
  }

  /// `used_until_` is when all that was drawn will have been earned; a full bucket is a burst behind the real clock.
  bool move(std::uint32_t bytes, MonoTime now, std::uint64_t ahead_ns) {
    const std::uint64_t rate = per_second();
    if (rate == 0) return true;
    const auto at = static_cast<std::uint64_t>(now.time_since_epoch().count());
    const std::uint64_t burst = burst_ns_.load(std::memory_order_relaxed);
    const std::uint64_t cost = nanoseconds(bytes, rate);
    std::uint64_t before = used_until_.load(std::memory_order_relaxed);
    std::uint64_t after = 0;
    do {
      after = std::max(before, at > burst ? at - burst : 0) + cost;
      if (after > at + ahead_ns) return false;
    } while (!used_until_.compare_exchange_weak(before, after, std::memory_order_relaxed));
    return true;
  }

  std::atomic<std::uint64_t> per_second_{0};
  std::atomic<std::uint64_t> burst_ns_{0};
  alignas(64) std::atomic<std::uint64_t> used_until_{0};
};

/// One worker's.
class GatewayPurse {
 public:
  bool has(GatewayRate& rate, std::uint32_t bytes, MonoTime now) {
    if (credit_ >= bytes || !rate.limits()) return true;
    const std::uint32_t wanted = std::max(rate.draw_bytes(), bytes);
    if (!rate.draw(wanted, now)) return false;
    credit_ += wanted;
    return true;
  }
  /// After has(); or without, for packets that nothing may stop: what is missing is drawn later, some packets' at once.
  void pay(GatewayRate& rate, std::uint32_t bytes, MonoTime now) {
    if (!rate.limits()) return;
    credit_ -= bytes;
    if (credit_ > -static_cast<std::int64_t>(rate.draw_bytes())) return;
    rate.overdraw(static_cast<std::uint32_t>(-credit_), now);
    credit_ = 0;
  }

 private:
  std::int64_t credit_ = 0;  // bytes
};

}  // namespace gw::worker
