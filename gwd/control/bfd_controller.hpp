// Keeps bfdd at the intended BFD sessions and reads whether they are up. Owner: Gateway; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "bgp/bfd_model.hpp"
#include "bgp/vty_client.hpp"
#include "gwd/control/loop_wake.hpp"

namespace gw::gwd {

class BfdController {
 public:
  static constexpr std::chrono::milliseconds kTimeout{5000};
  static constexpr std::chrono::milliseconds kReconnectPause{200};
  static constexpr std::chrono::milliseconds kPoll{500};     // 500 sessions are 300 kB
  static constexpr std::chrono::milliseconds kIdle{10'000};  // without sessions

  /// `vty_dir` has bfdd.vty.
  BfdController(boost::asio::io_context& io, const Clock& clock, std::string vty_dir);

  void start();
  void stop();

  void set_intent(bgp::BfdSessions sessions);
  /// Told when a session went up or down, or all of them were lost sight of.
  void on_change(std::function<void()> callback) { changed_ = std::move(callback); }

  bool connected() const { return connected_; }
  /// Of the connection, or since it was lost.
  std::optional<WallTime> since() const { return since_; }
  /// Something is to be watched: without it, nobody misses bfdd.
  bool needed() const { return !wanted_.empty(); }
  /// Empty while bfdd is away.
  const bgp::BfdStates& states() const { return states_; }

 private:
  enum class Connected : std::uint8_t { kNo, kYes };
  void set_connected(Connected now);
  void set_states(bgp::BfdStates states);
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Status> open_session();
  boost::asio::awaitable<Status> apply();
  boost::asio::awaitable<Status> read_states();

  boost::asio::io_context& io_;
  const Clock& clock_;
  std::string path_;
  bgp::VtyClient vty_;
  LoopWake wake_;
  bgp::BfdSessions wanted_;
  /// Until then bfdd keeps what it has: a gwd that was restarted does not know yet which endpoints are here.
  bool ordered_ = false;
  bgp::BfdSessions applied_;
  bgp::BfdStates states_;
  std::function<void()> changed_;
  std::optional<WallTime> since_;
  bool connected_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
