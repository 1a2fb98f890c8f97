// A token bucket of bytes, for the rates of tunnels: policing as routers do it (RFC 2697's committed bucket). Exact: a
// token is a byte times the nanoseconds of a second, so nothing is rounded at any rate. Pure: time is an argument; one
// thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.hpp"

namespace gw::ip {

struct ByteRate {
  std::uint64_t per_second = 0;  // bytes; 0: no limit
  std::uint64_t burst = 0;       // bytes
  friend bool operator==(const ByteRate&, const ByteRate&) = default;
};

/// 400 Gbit/s: with it and the burst below a full bucket fits 63 bits.
inline constexpr std::uint64_t kMaxBytesPerSecond = 50'000'000'000;

/// What a policer lets through at once: 100 ms of the rate, the round trip of a far site, so that one TCP connection
/// gets near the rate (a policer's bucket is to TCP what a queue is elsewhere); and never less than four superpackets,
/// which come in one piece.
constexpr ByteRate policed_at(std::uint64_t bytes_per_second) {
  constexpr std::uint64_t kLeast = 4 * 65536;
  return {bytes_per_second, std::max(bytes_per_second / 10, kLeast)};
}

class ByteBucket {
 public:
  /// A new limit is full; one that changes keeps what it has, so that who stays below both rates loses nothing.
  void set(const ByteRate& rate, MonoTime now) {
    if (rate == rate_) return;
    refill(now);
    const bool is_new = rate_.per_second == 0;
    rate_ = rate;
    last_ = now;
    tokens_ = is_new ? full() : std::min(tokens_, full());
  }
  const ByteRate& rate() const { return rate_; }
  bool limits() const { return rate_.per_second != 0; }

  /// Are there tokens for so many bytes? Always without a limit.
  bool has(std::uint32_t bytes, MonoTime now) {
    if (!limits()) return true;
    refill(now);
    return tokens_ >= cost(bytes);
  }
  /// Takes them, whether there or not: debt is at most a bucket.
  void charge(std::uint32_t bytes) {
    if (limits()) tokens_ = std::max(tokens_ - cost(bytes), -full());
  }
  bool take(std::uint32_t bytes, MonoTime now) {
    if (!has(bytes, now)) return false;
    charge(bytes);
    return true;
  }

 private:
  static constexpr std::int64_t kSecond = 1'000'000'000;
  static constexpr std::int64_t cost(std::uint64_t bytes) { return static_cast<std::int64_t>(bytes) * kSecond; }
  std::int64_t full() const { return cost(rate_.burst); }

  void refill(MonoTime now) {
    if (!limits() || now <= last_) return;
    const auto passed = static_cast<std::uint64_t>((now - last_).count());
    last_ = now;
    // Deep in debt at a high rate it takes all 64 bits.
    const std::uint64_t missing = static_cast<std::uint64_t>(full()) - static_cast<std::uint64_t>(tokens_);
    // Longer than it takes to fill: the product might not fit.
    if (passed > missing / rate_.per_second)
      tokens_ = full();
    else
      // Out of debt the sum fits, the summand may not.
      tokens_ = static_cast<std::int64_t>(static_cast<std::uint64_t>(tokens_) + passed * rate_.per_second);
  }

  ByteRate rate_;
  std::int64_t tokens_ = 0;
  MonoTime last_{};
};

}  // namespace gw::ip
