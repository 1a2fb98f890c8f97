#include "ebpf/ip/token_bucket.hpp"

#include <algorithm>

namespace gw::ip {

bool TokenBucket::take(MonoTime now) {
  if (now > last_) {
    const auto passed = static_cast<std::uint64_t>((now - last_).count());
    const std::uint64_t full = cost() * rate_.burst;
    tokens_ns_ = passed >= full - tokens_ns_ ? full : tokens_ns_ + passed;
    last_ = now;
  }
  if (tokens_ns_ < cost()) return false;
  tokens_ns_ -= cost();
  return true;
}

bool ErrorLimiter::take(const IpAddress& receiver, MonoTime now) {
  // The receiver's own first: a noisy one must not use up what all share.
  return receivers_[hash_value(receiver) % kReceivers].take(now) && all_.take(now);
}

}  // namespace gw::ip
