#include "tests/bench/raw_side.hpp"

#include <algorithm>
#include <array>
#include <format>

#include "base/wire.hpp"

namespace gw::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBytesPerCall = 8'000'000;
constexpr std::uint64_t kPacketsPerCallAtMost = 64 * kPackets;

}  // namespace

std::uint64_t rounds_for(std::uint32_t inner_bytes) {
  return std::min(kBytesPerCall / inner_bytes, kPacketsPerCallAtMost) / kPackets + 1;
}

Result<std::shared_ptr<RawSide>> RawSide::create(std::uint32_t inner_bytes) {
  auto side = std::make_shared<RawSide>(inner_bytes);
  GW_TRY_ASSIGN(side->raw_, RawIpsecMb::create());
  side->choose_call();
  return side;
}

RawSide::RawSide(std::uint32_t inner_bytes) : rounds_(rounds_for(inner_bytes)) {
  const std::uint32_t text = (inner_bytes + 2 + 3) / 4 * 4;
  for (std::size_t i = 0; i < kPackets; ++i) {
    // A raw packet's nonce and AAD lie before it, as ESP's do.
    std::uint8_t* raw = buffers_.at(i) + kFrontRoom;
    store_be(raw - 24, std::uint64_t{i});
    packets_.push_back({raw, text, raw + text, raw - 24, raw - 12});
  }
}

std::string RawSide::name() const { return std::format("raw ipsec-mb, {} calls", to_string(call_)); }

Sample RawSide::encrypt_by(RawCall call) {
  const auto start = Clock::now();
  for (std::uint64_t r = 0; r < rounds_; ++r) raw_->encrypt(call, packets_);
  return {rounds_ * kPackets, Clock::now() - start};
}

Sample RawSide::decrypt() {
  Sample s;
  for (std::uint64_t r = 0; r < rounds_; ++r) {
    raw_->encrypt(call_, packets_);
    const auto start = Clock::now();
    raw_->decrypt(call_, packets_);
    s.took += Clock::now() - start;
    s.items += kPackets;
  }
  return s;
}

// The fastest by its median over interleaved calls: one lucky sample on a busy machine decides nothing.
void RawSide::choose_call() {
  constexpr std::array kCalls{RawCall::kDirect, RawCall::kJob, RawCall::kBurst};
  std::array<std::array<std::chrono::nanoseconds, 9>, kCalls.size()> took;
  for (std::size_t i = 0; i < took[0].size(); ++i)
    for (std::size_t call = 0; call < kCalls.size(); ++call) took[call][i] = encrypt_by(kCalls[call]).took;
  for (auto& t : took) std::ranges::sort(t);
  const auto fastest = std::ranges::min_element(took, {}, [](const auto& t) { return t[t.size() / 2]; });
  call_ = kCalls[static_cast<std::size_t>(fastest - took.begin())];
}

}  // namespace gw::bench
