// The heartbeat between the fast paths of two instances: one UDP datagram, authenticated (HMAC-SHA256) under a key that
// gwd made for this pair of processes, safe against replay by the senders' boot nonces and sequence numbers.
// Codec and replay rules; pure, one thread. docs/adr/0017 has the reasons.
//
//   0 magic "GWHB"    4 version 1    5 instance    6 flags (1: forwarding, 2: asking, 4: control away)    7 claims
//   8 sender's nonce (16)           24 its sequence (8)
//  32 peer's nonce as heard (16)    48 the highest sequence heard of it (8)
//  56 claims: family 4 or 6, ownership, address (16, an IPv4 one in the first 4), lease epoch (8)
//     HMAC-SHA256 of all before (32)
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace gw::liveness {

using BootNonce = std::array<std::uint8_t, 16>;

enum class Ownership : std::uint8_t { kStandby = 0, kOwned = 1 };

struct Claim {
  IpAddress endpoint;
  Ownership ownership = Ownership::kStandby;
  std::uint64_t lease_epoch = 0;
  friend bool operator==(const Claim&, const Claim&) = default;
};

struct Heartbeat {
  std::uint8_t instance = 0;
  bool forwarding = false;    // the sender's workers advance
  bool asking = false;        // it stood still, and sends nothing until it has an answer
  bool control_away = false;  // its gwd is not there; an earlier version never says so
  BootNonce nonce{};
  std::uint64_t sequence = 0;
  BootNonce peer_nonce{};            // zero: none heard
  std::uint64_t heard_sequence = 0;  // 0: none
  std::vector<Claim> claims;
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

/// With these the datagram fits an MTU of 1280 with room for a tunnel's headers.
inline constexpr std::size_t kMaxClaims = 40;
inline constexpr std::size_t kHeartbeatHead = 56;
inline constexpr std::size_t kClaimBytes = 26;
inline constexpr std::size_t kTagBytes = 32;
inline constexpr std::size_t kMaxHeartbeatBytes = kHeartbeatHead + kMaxClaims * kClaimBytes + kTagBytes;
inline constexpr std::size_t kHeartbeatKeyBytes = 32;

/// Why a datagram was not believed.
enum class Disbelief : std::uint8_t {
  kTruncated,
  kMagic,
  kVersion,
  kLength,
  kKey,           // the tag does not fit: another key, or tampered with
  kField,         // authentic and impossible: another program's idea of the format
  kOwnInstance,   // the sender has our number: a copy of this machine
  kOtherProcess,  // of a process of the peer that has ended
  kReplayed,      // an old sequence number
  kUnproven,      // from a process that has not shown yet that it hears us
};
inline constexpr std::size_t kDisbeliefs = 10;
std::string_view to_string(Disbelief reason);

/// More claims than kMaxClaims are kLimit.
Result<std::vector<std::uint8_t>> serialize(const Heartbeat& heartbeat, const Secret& key);
std::expected<Heartbeat, Disbelief> parse(std::span<const std::uint8_t> bytes, const Secret& key);

/// Which of the authentic heartbeats are news. A new process of the peer is believed when it echoes our nonce: what was
/// recorded before we started cannot know it, and nonces that the peer has given up are refused for good.
class ReplayGuard {
 public:
  explicit ReplayGuard(const BootNonce& own) : own_(own) {}

  std::expected<void, Disbelief> accept(const Heartbeat& heartbeat);

  /// For the next heartbeat of ours: whom we believe and up to where, or else who wants to be believed.
  struct Echo {
    BootNonce nonce{};
    std::uint64_t sequence = 0;
  };
  /// As a process before this one knew it.
  void believe(const Echo& peer) { peer_ = peer; }
  std::optional<Echo> believed() const { return peer_; }

  Echo echo() const { return peer_ ? *peer_ : candidate_ ? *candidate_ : Echo{}; }
  /// The one that was refused as kUnproven last, to be answered at once; then no more.
  std::optional<Echo> take_candidate();

 private:
  static constexpr std::size_t kRetired = 64;
  BootNonce own_;
  std::optional<Echo> peer_;
  std::optional<Echo> candidate_;
  bool candidate_is_new_ = false;
  std::deque<BootNonce> retired_;
};

}  // namespace gw::liveness
