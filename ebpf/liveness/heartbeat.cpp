#include "ebpf/liveness/heartbeat.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <utility>

#include "base/wire.hpp"

namespace gw::liveness {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic = {'G', 'W', 'H', 'B'};
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kForwarding = 1;
constexpr std::uint8_t kAsking = 2;
constexpr std::uint8_t kControlAway = 4;

std::array<std::uint8_t, kTagBytes> tag_of(std::span<const std::uint8_t> bytes, const Secret& key) {
  std::array<std::uint8_t, kTagBytes> tag{};
  unsigned length = 0;
  if (!::HMAC(EVP_sha256(), key.bytes().data(), static_cast<int>(key.size()), bytes.data(), bytes.size(), tag.data(),
              &length))
    std::abort();  // out of memory
  return tag;
}

void put_claim(std::uint8_t* at, const Claim& claim) {
  at[0] = claim.endpoint.is_v4() ? 4 : 6;
  at[1] = static_cast<std::uint8_t>(claim.ownership);
  std::ranges::copy(claim.endpoint.bytes(), at + 2);
  store_be(at + 18, claim.lease_epoch);
}

std::optional<Claim> claim_at(const std::uint8_t* at) {
  if ((at[0] != 4 && at[0] != 6) || at[1] > static_cast<std::uint8_t>(Ownership::kOwned)) return std::nullopt;
  const std::size_t bytes = address_bytes(at[0] == 4 ? Family::kV4 : Family::kV6);
  const auto address = IpAddress::from_bytes(std::span(at + 2, bytes));
  if (!address) return std::nullopt;
  return Claim{*address, static_cast<Ownership>(at[1]), load_be<std::uint64_t>(at + 18)};
}

bool is_zero(const BootNonce& nonce) {
  return std::ranges::all_of(nonce, [](std::uint8_t b) { return b == 0; });
}

}  // namespace

std::string_view to_string(Disbelief reason) {
  switch (reason) {
    case Disbelief::kTruncated: return "truncated";
    case Disbelief::kMagic: return "magic";
    case Disbelief::kVersion: return "version";
    case Disbelief::kLength: return "length";
    case Disbelief::kKey: return "key";
    case Disbelief::kField: return "field";
    case Disbelief::kOwnInstance: return "own_instance";
    case Disbelief::kOtherProcess: return "other_process";
    case Disbelief::kReplayed: return "replayed";
    case Disbelief::kUnproven: return "unproven";
  }
  return "unknown";
}

Result<std::vector<std::uint8_t>> serialize(const Heartbeat& h, const Secret& key) {
  if (h.claims.size() > kMaxClaims)
    return fail(Errc::kLimit,
                std::format("a heartbeat has room for {} endpoints, not {}", kMaxClaims, h.claims.size()));
  std::vector<std::uint8_t> out(kHeartbeatHead + h.claims.size() * kClaimBytes);
  std::ranges::copy(kMagic, out.begin());
  out[4] = kVersion;
  out[5] = h.instance;
  out[6] = static_cast<std::uint8_t>((h.forwarding ? kForwarding : 0) | (h.asking ? kAsking : 0) |
                                     (h.control_away ? kControlAway : 0));
  out[7] = static_cast<std::uint8_t>(h.claims.size());
  std::ranges::copy(h.nonce, &out[8]);
  store_be(&out[24], h.sequence);
  std::ranges::copy(h.peer_nonce, &out[32]);
  store_be(&out[48], h.heard_sequence);
  for (std::size_t i = 0; i < h.claims.size(); ++i) put_claim(&out[kHeartbeatHead + i * kClaimBytes], h.claims[i]);
  const auto tag = tag_of(out, key);
  out.insert(out.end(), tag.begin(), tag.end());
  return out;
}

std::expected<Heartbeat, Disbelief> parse(std::span<const std::uint8_t> bytes, const Secret& key) {
  const auto disbelieved = [](Disbelief d) { return std::unexpected(d); };
  if (bytes.size() < kHeartbeatHead + kTagBytes) return disbelieved(Disbelief::kTruncated);
  const std::uint8_t* const b = bytes.data();
  if (!std::equal(kMagic.begin(), kMagic.end(), b)) return disbelieved(Disbelief::kMagic);
  if (b[4] != kVersion) return disbelieved(Disbelief::kVersion);
  const std::size_t claims = b[7];
  if (claims > kMaxClaims || bytes.size() != kHeartbeatHead + claims * kClaimBytes + kTagBytes)
    return disbelieved(Disbelief::kLength);
  const auto tag = tag_of(bytes.first(bytes.size() - kTagBytes), key);
  if (::CRYPTO_memcmp(tag.data(), b + bytes.size() - kTagBytes, kTagBytes) != 0) return disbelieved(Disbelief::kKey);
  Heartbeat h{.instance = b[5],
              .forwarding = (b[6] & kForwarding) != 0,
              .asking = (b[6] & kAsking) != 0,
              .control_away = (b[6] & kControlAway) != 0,
              .sequence = load_be<std::uint64_t>(b + 24)};
  std::copy_n(b + 8, h.nonce.size(), h.nonce.begin());
  std::copy_n(b + 32, h.peer_nonce.size(), h.peer_nonce.begin());
  h.heard_sequence = load_be<std::uint64_t>(b + 48);
  if (h.sequence == 0 || is_zero(h.nonce)) return disbelieved(Disbelief::kField);
  for (std::size_t i = 0; i < claims; ++i) {
    const auto claim = claim_at(b + kHeartbeatHead + i * kClaimBytes);
    if (!claim) return disbelieved(Disbelief::kField);
    h.claims.push_back(*claim);
  }
  return h;
}

std::expected<void, Disbelief> ReplayGuard::accept(const Heartbeat& h) {
  if (h.nonce == own_) return std::unexpected(Disbelief::kReplayed);  // our own, sent back
  if (peer_ && h.nonce == peer_->nonce) {
    if (h.sequence <= peer_->sequence) return std::unexpected(Disbelief::kReplayed);
    peer_->sequence = h.sequence;
    return {};
  }
  if (std::ranges::contains(retired_, h.nonce)) return std::unexpected(Disbelief::kOtherProcess);
  if (h.peer_nonce != own_) {
    candidate_ = Echo{h.nonce, h.sequence};
    candidate_is_new_ = true;
    return std::unexpected(Disbelief::kUnproven);
  }
  if (peer_) {
    retired_.push_back(peer_->nonce);
    if (retired_.size() > kRetired) retired_.pop_front();
  }
  peer_ = Echo{h.nonce, h.sequence};
  candidate_.reset();
  candidate_is_new_ = false;
  return {};
}

std::optional<ReplayGuard::Echo> ReplayGuard::take_candidate() {
  if (!std::exchange(candidate_is_new_, false)) return std::nullopt;
  return candidate_;
}

}  // namespace gw::liveness
