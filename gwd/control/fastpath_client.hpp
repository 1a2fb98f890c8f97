// gwd's end of the gw-fastpath RPC (proto/gw/fastpath/v1): connects, says hello, matches replies to
// requests, hands events on, and connects again for as long as it lives. Owner: Gateway; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::gwd {

namespace fp = ::gw::fastpath::v1;

/// Told about the session; every call on the control thread.
class FastpathListener {
 public:
  virtual ~FastpathListener() = default;
  /// Said hello. Whatever gwd owns has to be sent again, then SyncDone.
  virtual void on_fastpath_up(const fp::HelloReply& hello) = 0;
  virtual void on_fastpath_down(const Error& why) = 0;
  virtual void on_fastpath_event(const fp::Event& event) = 0;
};

class FastpathClient {
 public:
  /// A reply takes microseconds; this long without one and the session is dropped.
  static constexpr std::chrono::milliseconds kRequestTimeout{2000};
  static constexpr std::chrono::milliseconds kReconnectPause{100};

  FastpathClient(boost::asio::io_context& io, std::string socket_path, FastpathListener& listener);
  ~FastpathClient();

  void start();
  void stop();
  /// It has answered the hello: only then is anything else asked.
  bool connected() const { return said_hello_; }
  /// There is a connection, and the hello is not answered yet.
  bool greeting() const { return connected_ && !said_hello_; }
  /// Begins a new session, as after a restart of either: for a listener that has to hear the answer to the hello.
  void renew();
  /// No process has the socket. One that is stopped has it and may send packets yet, when it is continued.
  bool gone() const { return gone_; }

  /// Sends `frame` (its id is set here) and waits for the answer. kClosed when there is no session or it
  /// breaks, kTimeout, or the code that gw-fastpath answered with, its field and message kept.
  boost::asio::awaitable<Result<fp::Response>> request(fp::ClientFrame frame);

  /// Whether gw-fastpath answers; kTimeout leaves the session as it is.
  boost::asio::awaitable<Status> ping(std::chrono::milliseconds timeout);

 private:
  struct Pending;
  std::shared_ptr<Pending> send(fp::ClientFrame frame, std::chrono::milliseconds timeout);

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Error> session();
  boost::asio::awaitable<Status> say_hello();
  boost::asio::awaitable<Result<fp::Response>> ask(fp::ClientFrame frame);
  boost::asio::awaitable<void> write_pending();
  Status dispatch(std::string_view payload);
  void fail_pending(const Error& why);

  boost::asio::io_context& io_;
  std::string path_;
  FastpathListener& listener_;
  boost::asio::local::stream_protocol::socket socket_;
  boost::asio::steady_timer pause_;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending_;
  std::string outgoing_;
  std::uint64_t next_id_ = 1;
  std::uint64_t epoch_;
  bool writing_ = false;
  bool connected_ = false;
  bool said_hello_ = false;
  bool gone_ = false;
  bool renewing_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
