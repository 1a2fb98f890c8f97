#include "ebpf/liveness/partner.hpp"

#include <algorithm>

namespace gw::liveness {
namespace {

// Answers out of turn: a peer that restarts or wakes gets one at once, a flood of questions does not.
constexpr std::chrono::milliseconds kBetweenAnswers{2};
constexpr std::chrono::seconds kKeyChange{1};

const Claim* find(const std::vector<Claim>& claims, const IpAddress& endpoint) {
  const auto it = std::ranges::find(claims, endpoint, &Claim::endpoint);
  return it == claims.end() ? nullptr : &*it;
}

}  // namespace

Partner::Partner(const PartnerSettings& settings, Secret key, const BootNonce& own, MonoTime now)
    : settings_(settings),
      key_(std::move(key)),
      own_(own),
      guard_(own),
      lease_(settings.timing),
      next_beat_(now),
      last_turn_(now),
      listening_since_(now) {}

void Partner::change_key(Secret key, MonoTime now) {
  next_key_ = std::move(key);
  next_key_due_ = now + kKeyChange;
}

void Partner::use_next_key() {
  old_key_ = std::exchange(key_, std::move(*next_key_));
  next_key_.reset();
}

void Partner::go_on(const Continuation& from) {
  own_ = from.nonce;
  guard_ = ReplayGuard(own_);
  if (from.peer) guard_.believe(*from.peer);
  sequence_ = from.sequence;
  if (from.lease_since) lease_.go_on(*from.lease_since);
}

void Partner::set_claims(std::vector<Claim> claims) {
  claims_ = std::move(claims);
  std::erase_if(lost_, [this](const Loss& l) {
    const Claim* ours = find(claims_, l.endpoint);
    return !ours || ours->lease_epoch >= l.lease_epoch;
  });
  find_losses();
}

bool Partner::advance(MonoTime now) {
  // Silence while we did not run says nothing about the peer.
  if (now - std::exchange(last_turn_, now) > settings_.timing.interval * 2) listening_since_ = now;
  if (next_key_ && now >= next_key_due_) use_next_key();
  const bool beat = now >= next_beat_;
  const bool answer = answer_due_ && now >= next_answer_;
  if (!beat && !answer) return false;
  if (beat) {  // in step, but never two in a hurry
    const auto interval = settings_.timing.interval;
    next_beat_ = next_beat_ + interval > now + interval / 2 ? next_beat_ + interval : now + interval;
  }
  if (answer_due_) next_answer_ = now + kBetweenAnswers;
  answer_due_ = false;
  lease_.on_send(++sequence_, now);
  return true;
}

std::vector<std::uint8_t> Partner::datagram() const {
  const ReplayGuard::Echo echo = answer_to_.value_or(guard_.echo());
  std::vector<Claim> claims = claims_;
  if (claims.size() > kMaxClaims) claims.resize(kMaxClaims);  // the RPC refuses more
  for (Claim& c : claims)
    if (std::ranges::contains(lost_, c.endpoint, &Loss::endpoint)) c.ownership = Ownership::kStandby;
  return serialize({.instance = settings_.own_instance,
                    .forwarding = forwarding_ == Forwarding::kYes,
                    .asking = lease_.standing() == Lease::Standing::kAsking,
                    .control_away = control_ == Control::kAway,
                    .nonce = own_,
                    .sequence = sequence_,
                    .peer_nonce = echo.nonce,
                    .heard_sequence = echo.sequence,
                    .claims = std::move(claims)},
                   key_)
      .value_or(std::vector<std::uint8_t>{});
}

void Partner::receive(std::span<const std::uint8_t> bytes, MonoTime now) {
  const auto h = parse_with_any_key(bytes);
  if (!h) return disbelieve(h.error());
  if (h->instance != settings_.instance || h->instance == settings_.own_instance)
    return disbelieve(Disbelief::kOwnInstance);
  const auto accepted = guard_.accept(*h);
  answer_to_ = guard_.take_candidate();
  if (answer_to_) answer_due_ = true;
  if (!accepted) return disbelieve(accepted.error());
  take(*h, now);
}

std::expected<Heartbeat, Disbelief> Partner::parse_with_any_key(std::span<const std::uint8_t> bytes) {
  auto h = parse(bytes, key_);
  if (h || h.error() != Disbelief::kKey) return h;
  if (next_key_) {
    if (auto newer = parse(bytes, *next_key_)) {
      use_next_key();
      return newer;
    }
  }
  if (old_key_.empty()) return h;
  return parse(bytes, old_key_);
}

void Partner::take(const Heartbeat& h, MonoTime now) {
  const auto forwarding = h.forwarding ? Forwarding::kYes : Forwarding::kNo;
  const auto control = h.control_away ? Control::kAway : Control::kThere;
  changed_ = changed_ || !status_.alive || status_.forwarding != forwarding || status_.control != control ||
             status_.claims != h.claims;
  status_ = {true, forwarding, control, now, h.claims};
  // What it claims is obeyed before its answer lets us send.
  find_losses();
  if (h.peer_nonce == own_) lease_.on_answer(h.heard_sequence, now);
  if (h.asking) answer_due_ = true;
}

void Partner::find_losses() {
  for (const Claim& theirs : status_.claims) {
    const Claim* ours = find(claims_, theirs.endpoint);
    if (theirs.ownership != Ownership::kOwned || !ours || ours->ownership != Ownership::kOwned) continue;
    if (theirs.lease_epoch <= ours->lease_epoch) continue;
    const Loss loss{theirs.endpoint, theirs.lease_epoch};
    if (std::ranges::contains(lost_, loss)) continue;
    std::erase_if(lost_, [&](const Loss& l) { return l.endpoint == loss.endpoint; });
    lost_.push_back(loss);
    losses_.push_back(loss);
  }
}

void Partner::judge(MonoTime now) {
  if (!status_.alive) return;
  if (now - std::max(*status_.last_heard, listening_since_) < patience()) return;
  status_.alive = false;
  changed_ = true;
}

MonoTime Partner::due() const {
  MonoTime at = next_beat_;
  if (answer_due_) at = std::min(at, next_answer_);
  if (status_.alive) at = std::min(at, std::max(*status_.last_heard, listening_since_) + patience());
  return at;
}

}  // namespace gw::liveness
