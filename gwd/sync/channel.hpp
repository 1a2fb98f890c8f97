// The sync channel to the other instance's gwd, as gwd's main loop sees it. Its own thread and io_context do the
// TLS, the heartbeats and the carrying of gw-fastpath's PeerSync; nothing of that waits for the main loop.
// The two are joined by bounded queues. Owner: main; every call and every upcall is on the main loop's thread.
//
// A session outlives its connections: what was sent arrives once and in order (within its Kind) also when a path
// breaks and the other goes on. Only when the other process is new, or more piled up than the buffers hold, a new
// session begins: on_sync_reset(). What was sent before counts no longer; everything has to be said again.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "gwd/config/ha_model.hpp"
#include "gwd/sync/kinds.hpp"

namespace gw::gwd::sync {

struct ChannelSettings {
  std::string gateway;
  config::HaModel ha;
  std::string fastpath_socket;  // empty: PeerSync is not carried
  std::string release;          // of this gwd
};

struct PeerInfo {
  std::string release;
  std::uint64_t incarnation = 0;  // another one: its gwd was started anew
};

struct PeerHeartbeat {
  std::size_t path = 0;
  std::chrono::microseconds round_trip{0};  // 0: not known yet
  std::chrono::milliseconds loop_age{0};    // since the peer's main loop last said something
  std::string status;                       // what it said: Channel::say()
  std::uint64_t sequence = 0;
};

/// One path: our n-th sync address to the other's.
struct PathState {
  bool connected = false;
  std::string problem;   // why not: "certificate of hub-east/gw-c, expected hub-east/gw-b"; empty: nothing is wrong
  bool refused = false;  // it is there, but not who it should be, or we are not for it: an operator has to look
  std::chrono::microseconds round_trip{0};
  friend bool operator==(const PathState&, const PathState&) = default;
};

struct KindCounters {
  std::uint64_t sent_messages = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_messages = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t repeated_frames = 0;  // sent again on another path
  std::size_t unacknowledged_bytes = 0;
  std::chrono::microseconds lag{0};  // age of the oldest message that the other has not acknowledged; 0: none
  /// How long messages waited for their acknowledgement: upper bounds in kLagBounds, the last is "more".
  std::array<std::uint64_t, 10> lag_histogram{};
  double lag_sum_seconds = 0;
};
inline constexpr std::array<std::chrono::milliseconds, 9> kLagBounds{
    std::chrono::milliseconds(1),   std::chrono::milliseconds(2),   std::chrono::milliseconds(5),
    std::chrono::milliseconds(10),  std::chrono::milliseconds(20),  std::chrono::milliseconds(50),
    std::chrono::milliseconds(100), std::chrono::milliseconds(500), std::chrono::milliseconds(2000)};

/// At most 100 ms old.
struct ChannelStats {
  bool connected = false;       // by one path at least
  std::uint64_t sessions = 0;   // begun
  std::uint64_t failovers = 0;  // from one path to the other within a session
  std::uint64_t refused = 0;    // connections
  std::vector<PathState> paths;
  std::array<KindCounters, kKinds.size()> kinds{};  // by index_of()
  std::optional<WallTime> certificate_ends;         // our own
};

class ChannelListener {
 public:
  virtual ~ChannelListener() = default;
  /// A new session: say everything again. Messages before this were of the last one; half a message is never delivered.
  virtual void on_sync_reset(const PeerInfo& peer) = 0;
  virtual void on_sync_message(Kind kind, std::string payload) = 0;
  virtual void on_sync_heartbeat(const PeerHeartbeat& heartbeat) = 0;
  /// A path came up, broke or was refused.
  virtual void on_sync_paths(const std::vector<PathState>& paths) = 0;
};

class Channel {
 public:
  /// Starts the thread. Paths come up, break and come back by themselves; missing certificates are a path's problem
  /// (and read as soon as they are there), no error here.
  Channel(boost::asio::io_context& main, ChannelSettings settings, ChannelListener& listener);
  /// Says Bye, stops and joins the thread.
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Queues a message. While no path is there it waits, to arrive when the session goes on. Before the first session,
  /// and when it does not fit any more, it is dropped: in both cases on_sync_reset() comes (again).
  void send(Kind kind, std::string payload);
  /// What every heartbeat says from now on. Say it at least every few hundred milliseconds, changed or not: the other
  /// instance is told how long ago that was.
  void say(std::string status);
  /// Everything is to be said again in both directions: a new session.
  void reset();

  const ChannelStats& stats() const;
  /// Grows every 100 ms while the thread goes on.
  std::uint64_t reports() const;

 private:
  struct Shared;
  class Thread;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<Thread> thread_;
};

}  // namespace gw::gwd::sync
