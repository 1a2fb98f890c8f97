// The other instance, as the data path sees it: heartbeats both ways, whether it is alive and forwards, what it claims,
// and the embedded lease that depends on it (lease.hpp). Pure: datagrams and time in, datagrams and findings out.
// Owner: the liveness thread.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.hpp"
#include "base/secret.hpp"
#include "ebpf/liveness/heartbeat.hpp"
#include "ebpf/liveness/lease.hpp"

namespace gw::liveness {

struct PartnerSettings {
  std::uint8_t own_instance = 0;
  std::uint8_t instance = 0;  // the other's
  LeaseSettings timing;
  friend bool operator==(const PartnerSettings&, const PartnerSettings&) = default;
};

enum class Forwarding : std::uint8_t { kNo, kYes };
/// Whether an instance's gwd is there.
enum class Control : std::uint8_t { kAway, kThere };

struct PartnerStatus {
  bool alive = false;
  Forwarding forwarding = Forwarding::kNo;
  Control control = Control::kThere;
  std::optional<MonoTime> last_heard;
  std::vector<Claim> claims;
};

struct Loss {
  IpAddress endpoint;
  std::uint64_t lease_epoch = 0;  // of the other's claim
  friend bool operator==(const Loss&, const Loss&) = default;
};

class Partner {
 public:
  Partner(const PartnerSettings& settings, Secret key, const BootNonce& own, MonoTime now);

  bool has_key(const Secret& key) const { return (next_key_ ? *next_key_ : key_) == key; }
  /// The peer gets the new key a moment earlier or later: both are believed, and what we send changes when the peer's
  /// has, or after a second.
  void change_key(Secret key, MonoTime now);

  /// What another process of this instance needs to go on as if it were this one; and from such a process. To the peer
  /// nothing has happened.
  struct Continuation {
    BootNonce nonce{};
    std::uint64_t sequence = 0;
    std::optional<ReplayGuard::Echo> peer;
    std::optional<MonoTime> lease_since;  // none: not held
  };
  Continuation continuation() const { return {own_, sequence_, guard_.believed(), lease_.held_since()}; }
  void go_on(const Continuation& from);
  /// In this process, in the place of one with other settings: what that had, without a question to the peer.
  void keep_lease(MonoTime held_since) { lease_.go_on(held_since); }

  /// Ours, as gwd has set them. An endpoint that was lost stays so until it is claimed with a higher epoch.
  void set_claims(std::vector<Claim> claims);
  void set_forwarding(Forwarding forwarding) { forwarding_ = forwarding; }
  void set_control(Control control) { control_ = control; }

  /// First in every turn, before what waits in the socket is read. True: datagram() is to be sent.
  bool advance(MonoTime now);
  std::vector<std::uint8_t> datagram() const;
  void receive(std::span<const std::uint8_t> bytes, MonoTime now);
  /// Last in every turn, when all that waited has been read: is it still alive?
  void judge(MonoTime now);
  MonoTime due() const;

  const PartnerStatus& status() const { return status_; }
  /// The peer is alive or not, forwards or not, claims something else than before: once for each change.
  bool take_changed() { return std::exchange(changed_, false); }
  /// Endpoints of ours that the other claims with a higher epoch: each claim once.
  std::vector<Loss> take_losses() { return std::exchange(losses_, {}); }
  const Lease& lease() const { return lease_; }
  std::uint64_t disbelieved(Disbelief reason) const { return disbelieved_[static_cast<std::size_t>(reason)]; }

 private:
  void disbelieve(Disbelief reason) { ++disbelieved_[static_cast<std::size_t>(reason)]; }
  void take(const Heartbeat& heartbeat, MonoTime now);
  void find_losses();
  std::expected<Heartbeat, Disbelief> parse_with_any_key(std::span<const std::uint8_t> bytes);
  void use_next_key();
  std::chrono::nanoseconds patience() const { return settings_.timing.interval * settings_.timing.multiplier; }

  PartnerSettings settings_;
  Secret key_;
  Secret old_key_;  // still believed; empty: none
  std::optional<Secret> next_key_;
  MonoTime next_key_due_ = MonoTime::max();
  BootNonce own_;
  ReplayGuard guard_;
  Lease lease_;
  std::vector<Claim> claims_;
  std::vector<Loss> lost_;    // known
  std::vector<Loss> losses_;  // not told yet
  Forwarding forwarding_ = Forwarding::kYes;
  Control control_ = Control::kThere;
  PartnerStatus status_;
  bool changed_ = false;
  bool answer_due_ = false;
  std::optional<ReplayGuard::Echo> answer_to_;  // a process that is not believed yet
  std::uint64_t sequence_ = 0;
  MonoTime next_beat_;
  MonoTime last_turn_;
  MonoTime listening_since_;
  MonoTime next_answer_ = MonoTime::min();
  std::array<std::uint64_t, kDisbeliefs> disbelieved_{};
};

}  // namespace gw::liveness
