// One BFD session in asynchronous mode (RFC 5880 6), pure: packets and time in, packets and changes out. No sockets,
// no clock; its owner (ebpf/bfd/engine) finds the session of a packet, sends what take_packet() has, and calls again at
// due(). One thread.
//
// Not spoken, by choice: demand mode (a peer that asks for it goes on getting periodic packets), echo, authentication.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.hpp"
#include "ebpf/bfd/packet.hpp"

namespace gw::bfd {

enum class Role : std::uint8_t { kActive, kPassive };  // passive: silent until the peer has spoken
enum class Admin : std::uint8_t { kEnabled, kDisabled };

struct Settings {
  Interval desired_min_tx{50'000};
  Interval required_min_rx{50'000};
  std::uint8_t detect_multiplier = 3;
  Role role = Role::kActive;
  Admin admin = Admin::kEnabled;
  friend bool operator==(const Settings&, const Settings&) = default;
};

/// What the peer said last.
struct Remote {
  std::uint32_t discriminator = 0;  // 0: not known
  State state = State::kDown;
  Diagnostic diagnostic = Diagnostic::kNone;
  std::uint8_t detect_multiplier = 0;
  bool control_plane_independent = false;
  bool demand = false;
  Interval desired_min_tx{0};
  Interval required_min_rx{1};  // RFC 5880 6.8.1
  Interval required_min_echo_rx{0};
  friend bool operator==(const Remote&, const Remote&) = default;
};

/// All that another instance needs to go on with a running session.
struct Snapshot {
  std::uint32_t local_discriminator = 0;
  State state = State::kDown;
  Diagnostic diagnostic = Diagnostic::kNone;
  Remote remote;
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

class Session {
 public:
  /// Until the session is up no more than a packet a second is sent (RFC 5880 6.8.3).
  static constexpr Interval kSlow{1'000'000};
  /// Less is asked of neither side: the shortest detection time that a loaded machine keeps.
  static constexpr Interval kFastest{10'000};

  Session(std::uint32_t local_discriminator, const Settings& settings, MonoTime now);
  /// Goes on with a session as it was; the first packet is due at once, and the peer has a whole detection time.
  Session(const Snapshot& snapshot, const Settings& settings, MonoTime now);

  /// Timers of a session that is up change by a poll sequence (6.8.3).
  void configure(const Settings& settings, MonoTime now);
  const Settings& settings() const { return settings_; }

  /// A packet that is this session's. An error: the session is disabled.
  std::expected<void, Refusal> receive(const Packet& packet, MonoTime now);
  /// Carries out what is due; twice does nothing.
  void advance(MonoTime now);
  /// The packet to be sent now, if one is due: the answer to a poll, a change, or the periodic one. There may be two.
  std::optional<Packet> take_packet(MonoTime now);
  /// When advance() and take_packet() want to be called again.
  MonoTime due() const;

  State state() const { return state_; }
  Diagnostic diagnostic() const { return diagnostic_; }
  std::uint32_t local_discriminator() const { return local_discriminator_; }
  const Remote& remote() const { return remote_; }
  Snapshot snapshot() const { return {local_discriminator_, state_, diagnostic_, remote_}; }
  /// In use now; 0: nothing is expected, or sent.
  Interval detection_time() const;
  Interval transmit_interval() const;

 private:
  Settings clamped(Settings settings) const;
  void set_state(State state, Diagnostic diagnostic);
  void start_poll();
  void end_poll();
  void take_remote(const Packet& packet);
  void follow(State remote_state);
  void schedule(MonoTime now);
  bool sends_periodically() const;
  Interval advertised_min_tx() const;
  Interval jittered(Interval interval);
  Packet packet() const;

  std::uint32_t local_discriminator_;
  Settings settings_;
  // What is used until the poll sequence ends: the old, where the new would break what the peer expects.
  Interval used_min_tx_;
  Interval used_min_rx_;
  State state_ = State::kDown;
  Diagnostic diagnostic_ = Diagnostic::kNone;
  Remote remote_;
  bool polling_ = false;
  bool final_due_ = false;
  bool change_due_ = false;  // the peer does not know the state yet
  std::uint32_t random_;
  MonoTime last_sent_;
  MonoTime next_send_ = MonoTime::max();
  Interval scheduled_{0};  // the interval that next_send_ was made from
  MonoTime detect_at_ = MonoTime::max();
};

}  // namespace gw::bfd
