// Rate limits: a token bucket, and the pair of them that ICMP errors need (RFC 1812 4.3.2.8, RFC 4443 2.4 f): one for
// all, and one for each receiver, so that one noisy sender does not silence the answers to others. Pure: time is an
// argument; one thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "base/clock.hpp"
#include "base/ip.hpp"

namespace gw::ip {

class TokenBucket {
 public:
  struct Rate {
    std::uint32_t per_second = 0;
    std::uint32_t burst = 0;
  };
  constexpr explicit TokenBucket(Rate rate) : rate_(rate), tokens_ns_(cost() * rate.burst) {}

  bool take(MonoTime now);

 private:
  /// A token is the time it takes to earn one.
  constexpr std::uint64_t cost() const { return 1'000'000'000ull / rate_.per_second; }

  Rate rate_;
  std::uint64_t tokens_ns_;  // full at the beginning
  MonoTime last_{};
};

class ErrorLimiter {
 public:
  /// A line of 1,000 errors of 1280 bytes is 10 Mbit/s; mtr with ten probes a second and a few hosts at once sees no
  /// gap.
  static constexpr TokenBucket::Rate kAll{1000, 200};
  static constexpr TokenBucket::Rate kReceiver{100, 20};

  /// May an error be sent to this address now? Receivers are told apart by a hash: two may share a bucket.
  bool take(const IpAddress& receiver, MonoTime now);

 private:
  static constexpr std::size_t kReceivers = 256;
  template <std::size_t... I>
  static constexpr std::array<TokenBucket, sizeof...(I)> buckets(std::index_sequence<I...>) {
    return {((void)I, TokenBucket(kReceiver))...};
  }
  TokenBucket all_{kAll};
  std::array<TokenBucket, kReceivers> receivers_ = buckets(std::make_index_sequence<kReceivers>{});
};

}  // namespace gw::ip
