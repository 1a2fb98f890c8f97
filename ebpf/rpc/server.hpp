// The Unix socket: connections, frames, who subscribed to what. Requests go to a Handler, one at a time,
// answered in order. Control thread (one io_context).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::rpc {

namespace fp = ::gw::fastpath::v1;

/// Who is at the other end; from its Hello.
struct Client {
  fp::Role role = fp::ROLE_UNSPECIFIED;  // unspecified: no Hello yet
  std::string name;
  std::uint64_t epoch = 0;
  std::uint64_t generation = 0;  // the Handler's: which Hello this was
};

class Handler {
 public:
  virtual ~Handler() = default;
  /// `client` is the handler's to fill at Hello. The request's key material is wiped by the caller.
  virtual fp::Response handle(Client& client, const fp::ClientFrame& request) = 0;
};

class Server {
 public:
  /// What a client may leave unread before it is disconnected: a few thousand events.
  static constexpr std::size_t kMaxUnsent = std::size_t{4} << 20;

  Server(boost::asio::io_context& io, Handler& handler);
  ~Server();

  /// Makes the socket, mode 0660: its group is that of the gateway's daemons. kAlreadyExists: another process answers
  /// there. `inherited`: of a process before this one; none: a new one.
  Status listen(const std::string& path, Fd inherited = {});
  int fd() { return acceptor_.is_open() ? acceptor_.native_handle() : -1; }
  /// The socket is left to whoever has taken over.
  void abandon() { path_.clear(); }
  /// Closes all and removes the socket.
  void stop();

  /// Sends to the clients of these roles; observers get every event.
  void publish(const fp::Event& event, std::initializer_list<fp::Role> roles);

 private:
  class Session;
  boost::asio::awaitable<void> accept();
  void end_predecessors(const Session& session);

  boost::asio::io_context& io_;
  Handler& handler_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
  std::string path_;
  std::set<std::shared_ptr<Session>> sessions_;
};

}  // namespace gw::rpc
