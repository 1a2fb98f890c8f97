// Where captures are asked for: a Unix stream socket of its own, for root and for whoever runs gw-fastpath alone,
// because what it shows is clear. One capture at a time. Control thread; a capture itself has its thread (session.hpp).
#pragma once

#include <sys/socket.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <set>
#include <string>

#include "base/clock.hpp"
#include "ebpf/capture/ask.hpp"
#include "ebpf/capture/session.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/worker/workers.hpp"

namespace gw::capture {

class Server {
 public:
  struct Parts {
    boost::asio::io_context& io;
    worker::Workers& workers;
    const control::Tunnels& tunnels;
    const control::SaManager& sas;
    const Clock& clock;
    std::string interface;  // the wan port
    std::string kind;       // "xsk" or "gso"
  };
  explicit Server(Parts parts);
  ~Server();

  /// Makes the socket, mode 0600; of a process before this one, it takes the path.
  Status listen(const std::string& path);
  /// The path is left to whoever has taken over.
  void abandon() { path_.clear(); }
  /// Ends the capture, if there is one, and removes the socket. Twice does nothing.
  void stop();

 private:
  using Protocol = boost::asio::local::stream_protocol;
  struct Running {
    std::unique_ptr<Session> session;
    int pid = 0;
    MonoTime end;
    Request request;
    bool attached = true;
    std::set<control::SaKey> keys_given;
  };
  boost::asio::awaitable<void> accept();
  boost::asio::awaitable<void> serve(Protocol::socket socket);
  boost::asio::awaitable<Result<fp::CaptureAsk>> read_ask(Protocol::socket& socket);
  Status start(Protocol::socket& socket, const fp::CaptureAsk& ask, const ucred& client);
  void give_keys();
  std::size_t add_keys();
  Result<Session::Lanes> make_lanes(const Request& request) const;
  fp::CaptureStarted describe() const;
  void detach();
  void finish();

  Parts parts_;
  Protocol::acceptor acceptor_;
  std::string path_;
  std::unique_ptr<Running> running_;
  std::size_t asking_ = 0;  // connections whose question is awaited
};

}  // namespace gw::capture
