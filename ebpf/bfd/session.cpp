#include "ebpf/bfd/session.hpp"

#include <algorithm>
#include <utility>

namespace gw::bfd {

Session::Session(std::uint32_t local_discriminator, const Settings& settings, MonoTime now)
    : local_discriminator_(local_discriminator),
      settings_(clamped(settings)),
      used_min_tx_(settings_.desired_min_tx),
      used_min_rx_(settings_.required_min_rx),
      random_(local_discriminator | 1),
      last_sent_(now) {
  if (settings_.admin == Admin::kDisabled) set_state(State::kAdminDown, Diagnostic::kAdministrativelyDown);
  change_due_ = sends_periodically();
  schedule(now);
}

Session::Session(const Snapshot& snapshot, const Settings& settings, MonoTime now)
    : Session(snapshot.local_discriminator, settings, now) {
  if (settings_.admin == Admin::kDisabled) return;
  state_ = snapshot.state;
  diagnostic_ = snapshot.diagnostic;
  remote_ = snapshot.remote;
  change_due_ = true;
  // The settings here may be others than where the session was.
  if (state_ == State::kUp) start_poll();
  if (detection_time().count() > 0) detect_at_ = now + detection_time();
  schedule(now);
}

Settings Session::clamped(Settings settings) const {
  settings.desired_min_tx = std::max(settings.desired_min_tx, kFastest);
  settings.required_min_rx = std::max(settings.required_min_rx, kFastest);
  settings.detect_multiplier = std::max<std::uint8_t>(settings.detect_multiplier, 1);
  return settings;
}

// --- configuration (6.8.3) -----------------------------------------------------------------------------

void Session::configure(const Settings& wanted, MonoTime now) {
  const Settings settings = clamped(wanted);
  if (settings == settings_) return;
  const Settings before = std::exchange(settings_, settings);
  if (settings.admin != before.admin) {
    if (settings.admin == Admin::kDisabled)
      set_state(State::kAdminDown, Diagnostic::kAdministrativelyDown);
    else
      set_state(State::kDown, Diagnostic::kNone);
  }
  // Sending less often than the peer expects, or expecting more than it sends yet, waits for its answer. Further
  // changes before that: the most careful of all.
  const bool up = state_ == State::kUp;
  used_min_tx_ = up ? std::min(used_min_tx_, settings.desired_min_tx) : settings.desired_min_tx;
  used_min_rx_ = up ? std::max(used_min_rx_, settings.required_min_rx) : settings.required_min_rx;
  if (up) start_poll();
  change_due_ = true;
  schedule(now);
}

void Session::start_poll() {
  polling_ = true;
  change_due_ = true;
}

void Session::end_poll() {
  polling_ = false;
  used_min_tx_ = settings_.desired_min_tx;
  used_min_rx_ = settings_.required_min_rx;
}

void Session::set_state(State state, Diagnostic diagnostic) {
  if (state_ == state) return;
  const bool was_up = state_ == State::kUp;
  state_ = state;
  diagnostic_ = diagnostic;
  change_due_ = true;
  final_due_ = final_due_ && state != State::kAdminDown;
  if (was_up) end_poll();
  if (state == State::kUp) start_poll();  // the transmit interval is no longer the slow one
}

// --- receiving (6.8.6, from where the session has been found) ---------------------------------------------

std::expected<void, Refusal> Session::receive(const Packet& p, MonoTime now) {
  if (state_ == State::kAdminDown) return std::unexpected(Refusal::kSessionDisabled);
  take_remote(p);
  if (p.final && polling_) end_poll();
  follow(p.state);
  if (p.poll) final_due_ = true;
  const Interval detection = detection_time();
  detect_at_ = detection.count() > 0 ? now + detection : MonoTime::max();
  schedule(now);
  return {};
}

void Session::take_remote(const Packet& p) {
  remote_ = {.discriminator = p.my_discriminator,
             .state = p.state,
             .diagnostic = p.diagnostic,
             .detect_multiplier = p.detect_multiplier,
             .control_plane_independent = p.control_plane_independent,
             .demand = p.demand,
             .desired_min_tx = p.desired_min_tx,
             .required_min_rx = p.required_min_rx,
             .required_min_echo_rx = p.required_min_echo_rx};
}

void Session::follow(State remote) {
  switch (state_) {
    case State::kAdminDown: return;
    case State::kDown:
      if (remote == State::kDown)
        set_state(State::kInit, diagnostic_);
      else if (remote == State::kInit)
        set_state(State::kUp, Diagnostic::kNone);
      return;
    case State::kInit:
      if (remote == State::kAdminDown)
        set_state(State::kDown, Diagnostic::kNeighborSignaledDown);
      else if (remote != State::kDown)
        set_state(State::kUp, Diagnostic::kNone);
      return;
    case State::kUp:
      if (remote == State::kAdminDown || remote == State::kDown)
        set_state(State::kDown, Diagnostic::kNeighborSignaledDown);
      return;
  }
}

// --- time -----------------------------------------------------------------------------------------------

// 6.8.4
Interval Session::detection_time() const {
  return Interval(static_cast<std::uint32_t>(std::min<std::uint64_t>(
      std::uint64_t{remote_.detect_multiplier} * std::max(used_min_rx_, remote_.desired_min_tx).count(),
      Interval::max().count())));
}

Interval Session::advertised_min_tx() const {
  return state_ == State::kUp ? settings_.desired_min_tx : std::max(settings_.desired_min_tx, kSlow);
}

// 6.8.7
Interval Session::transmit_interval() const {
  if (remote_.required_min_rx.count() == 0) return Interval(0);
  const Interval own = state_ == State::kUp ? used_min_tx_ : std::max(used_min_tx_, kSlow);
  return std::max(own, remote_.required_min_rx);
}

// 6.8.7. Deviation: a peer in demand mode (6.6) goes on getting packets; it does not mind.
bool Session::sends_periodically() const {
  return remote_.required_min_rx.count() != 0 && (settings_.role == Role::kActive || remote_.discriminator != 0);
}

/// Reduced by up to 25 %, and with a multiplier of 1 by at least 10 % (6.8.7).
Interval Session::jittered(Interval interval) {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  const std::uint64_t most = settings_.detect_multiplier == 1 ? 900 : 1000;
  const std::uint64_t permille = 750 + random_ % (most - 750 + 1);
  return Interval(static_cast<std::uint32_t>(interval.count() * permille / 1000));
}

/// An interval that became shorter counts from the last packet; one that goes on as it was keeps its time.
void Session::schedule(MonoTime now) {
  if (!sends_periodically()) {
    next_send_ = MonoTime::max();
    scheduled_ = Interval(0);
    return;
  }
  const Interval interval = transmit_interval();
  if (interval == scheduled_) return;
  scheduled_ = interval;
  next_send_ = std::max(now, last_sent_ + jittered(interval));
}

void Session::advance(MonoTime now) {
  if (now < detect_at_) return;
  detect_at_ = MonoTime::max();
  if (state_ == State::kInit || state_ == State::kUp) set_state(State::kDown, Diagnostic::kDetectionTimeExpired);
  remote_ = {.diagnostic = remote_.diagnostic};  // 6.8.1; who had asked for no packets gets some again
  schedule(now);
}

std::optional<Packet> Session::take_packet(MonoTime now) {
  if (final_due_) {
    final_due_ = false;
    Packet p = packet();
    p.poll = false;
    p.final = true;
    return p;
  }
  const bool change = std::exchange(change_due_, false) && sends_periodically();
  if (!change && now < next_send_) return std::nullopt;
  last_sent_ = now;
  scheduled_ = transmit_interval();
  next_send_ = now + jittered(scheduled_);
  return packet();
}

MonoTime Session::due() const {
  if (final_due_ || (change_due_ && sends_periodically())) return MonoTime::min();
  return std::min(next_send_, detect_at_);
}

Packet Session::packet() const {
  return {.diagnostic = diagnostic_,
          .state = state_,
          .poll = polling_,
          // gw-fastpath forwards without any control process (RFC 5880 4.1).
          .control_plane_independent = true,
          .detect_multiplier = settings_.detect_multiplier,
          .my_discriminator = local_discriminator_,
          .your_discriminator = remote_.discriminator,
          .desired_min_tx = advertised_min_tx(),
          .required_min_rx = settings_.required_min_rx};
}

}  // namespace gw::bfd
