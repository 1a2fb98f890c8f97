// IKE between the world and charon: gw-fastpath owns UDP 500 and 4500, charon's socket plugin is the client of a
// SOCK_SEQPACKET Unix socket (ebpf/abi/ike_relay.h). What charon cannot take in time, or nobody is there for, is
// dropped and counted: IKE retransmits. Control thread (one io_context).
//
// UDP 500 is always the relay's own. 4500 is its own on an xsk wan port (XDP takes the ESP before it gets there);
// on a gso port the workers get what arrives there and hand IKE over through the inbox. Charon's datagrams leave by
// the relay's own socket all the same: what is larger than the path goes in fragments, which a worker's does not do.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/ip/token_bucket.hpp"
#include "ebpf/relay/ike_inbox.hpp"
#include "ebpf/relay/udp_socket.hpp"
#include "ebpf/tun/fd_store.hpp"

namespace gw::relay {

class IkeRelay {
 public:
  struct Parts {
    /// UDP 500 and 4500, IPv4 and IPv6.
    std::vector<UdpSocket> sockets;
    /// gso: from the workers; outlives the relay. Null on an xsk port.
    IkeInbox* inbox = nullptr;
    const Clock& clock;
    /// What waits in the sockets is left there until charon connects, but no longer: after a restart of
    /// gw-fastpath charon is back in a moment, and gets what came meanwhile.
    std::chrono::milliseconds grace{0};
    /// xsk: ESP on our 4500, which came in fragments (xdp/guard.bpf.h). False: no SA of ours. Null on a gso port.
    std::function<bool(const IkeFlow& flow, std::span<const std::uint8_t> packet)> esp = nullptr;
  };
  struct Counters {
    std::uint64_t to_charon = 0;
    std::uint64_t from_charon = 0;
    std::uint64_t away = 0;        // no charon was connected
    std::uint64_t queue_full = 0;  // charon or the relay was too slow
    std::uint64_t not_ike = 0;     // on our own 4500: keepalives, and what is not ESP of an SA, either
    std::uint64_t send_failed = 0;
    std::uint64_t not_ours = 0;  // from an endpoint that the other instance has
  };

  IkeRelay(boost::asio::io_context& io, Parts parts);
  ~IkeRelay();

  /// Asked before each message: charon of an instance that stood still does not know yet that another one has its
  /// address, and an answer to it would reach that one, which has not asked.
  void only_if(std::function<bool(const IpAddress& local)> may_send) { may_send_ = std::move(may_send); }
  /// The interface by which a message has to leave although the best route is another one; 0: by the best route.
  void leave_by(std::function<int(const IkeFlow& flow)> interface) { leave_by_ = std::move(interface); }
  /// Makes the Unix socket, mode 0660 (its group is that of the gateway's daemons), and starts. kAlreadyExists: another
  /// process answers there. `inherited`: of a process before this one; none: a new one.
  Status listen(const std::string& path, Fd inherited = {});
  void stop();
  /// The socket is left to whoever has taken over.
  void abandon() { path_.clear(); }
  /// Its own sockets, as they are called in the store, and the listening one ("ike").
  std::vector<tun::NamedFd> fds();

  Counters counters() const;

 private:
  using Descriptor = boost::asio::posix::stream_descriptor;
  void watch(Descriptor& descriptor, std::function<void()> handler);
  Status serve(const std::string& path, Fd listener);
  void accept();
  void start_receiving();
  void from_udp(const UdpSocket& socket);
  void from_inbox();
  void from_charon();
  void to_charon(const IkeFlow& flow, std::span<const std::uint8_t> payload);
  void lose_charon(std::string_view why);
  void send(const IkeMessage& message);

  boost::asio::io_context& io_;
  Parts parts_;
  std::string path_;
  Fd listener_fd_;
  Descriptor listener_;
  Descriptor charon_;
  Descriptor inbox_;
  boost::asio::steady_timer grace_;
  bool receiving_ = false;
  std::vector<std::unique_ptr<Descriptor>> udp_;
  std::vector<std::uint8_t> buffer_;
  Counters counters_;
  std::function<bool(const IpAddress& local)> may_send_;  // null: always
  std::function<int(const IkeFlow& flow)> leave_by_;      // null: the best route
  // Who sends from an address that we cannot answer chooses how often; the counter has them all.
  ip::TokenBucket failure_log_{{.per_second = 1, .burst = 5}};
};

}  // namespace gw::relay
