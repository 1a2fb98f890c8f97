// The gw-fastpath that runs, for one that is to take its place: it says what it has while it forwards, stops, and says
// where. If the other one is late, dies or refuses at any moment before it has taken the baton, this one goes on; after
// that it ends. docs/adr/0020. Control thread.
//
// Whoever may can have it start its successor itself (Start): then that one has its sandbox, whoever asks.
//
//   waiting --Ask--> bulk (asynchronous: clients are served) --BULK_IN--> changes (they wait, packets do not)
//     --READY--> stopped: the gap --TAKEN--> gone
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ebpf/control/forwarding.hpp"
#include "ebpf/handover/baton.hpp"
#include "ebpf/handover/channel.hpp"
#include "ebpf/handover/process.hpp"
#include "ebpf/rpc/service.hpp"
#include "ebpf/tun/fd_store.hpp"

namespace gw::handover {

/// Beside the RPC's socket.
std::string socket_beside(const std::string& rpc_socket);
/// Why the one that asks cannot take the place of this one; for people.
Status check(const fp::HandoverAsk& ask, const fp::HandoverAsk& own);

class Giver {
 public:
  struct Parts {
    boost::asio::io_context& io;
    const Clock& clock;
    std::string program;  // that a successor is started from
    rpc::Service& service;
    control::Forwarding& forwarding;
    fp::HandoverAsk self;  // as this process would ask
    std::function<fp::HandoverOffer()> offer;
    std::function<std::vector<tun::NamedFd>()> fds;  // all that there are now
    std::function<bool()> unsettled;                 // packets wait in here, or soon may
    std::function<void(fp::HandoverFinal&)> stop;    // packets and BFD; and what only then is known
    std::function<void()> go_on;                     // after stop()
    std::function<void(int pid)> gone;               // the other one has taken over
  };
  explicit Giver(Parts parts);
  ~Giver();

  /// Makes the socket, mode 0600; `inherited`: of a process before this one.
  Status listen(const std::string& path, Fd inherited);
  int fd() { return acceptor_.native_handle(); }
  /// The socket is left to whoever has taken over.
  void abandon();

 private:
  using Protocol = boost::asio::local::stream_protocol;
  struct Peer {
    std::unique_ptr<Channel> channel;
    int pid = 0;
    Baton baton;
    std::set<std::pair<std::string, int>> sent;  // descriptors
    std::string release;
    std::chrono::microseconds gap{};  // that packets waited, if it has taken over
  };
  /// A process that was started here, and who wanted it.
  struct Successor {
    Process process;
    std::unique_ptr<Channel> requester;
    std::string why;  // it cannot
  };
  boost::asio::awaitable<void> accept();
  boost::asio::awaitable<Status> serve(Peer& peer, const fp::HandoverFrame& question);
  void refuse(Channel& channel, std::string why);
  void start_successor(std::unique_ptr<Channel> requester, const fp::HandoverStart& m);
  boost::asio::awaitable<void> watch_successor();
  void tell_requester(const Peer& peer);
  boost::asio::awaitable<Result<fp::HandoverFrame>> next(Peer& peer, Patience patience);
  boost::asio::awaitable<Status> send_bulk(Peer& peer);
  boost::asio::awaitable<void> settle();
  Status send_fds(Peer& peer);
  Status finish(Peer& peer);

  Parts parts_;
  Protocol::acceptor acceptor_;
  std::string path_;
  std::optional<Successor> successor_;
};

}  // namespace gw::handover
