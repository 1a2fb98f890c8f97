// ESP packets to the kernel: trains in one message (UDP_SEGMENT), many messages in one system call. Nothing is
// copied before the kernel does. Always by the wan interface or a VLAN on it, whatever the routes say: a route to a
// peer that leads into a tunnel must not make that tunnel carry itself. One worker.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>

#include "ebpf/gso/trains.hpp"
#include "ebpf/worker/port.hpp"

namespace gw::gso {

class Sender {
 public:
  struct Sockets {
    int udp4 = -1;
    int udp6 = -1;
    int raw4 = -1;
    int raw6 = -1;
  };
  struct Link {
    int ifindex = 0;
  };
  Sender(const Sockets& sockets, Link wan)
      : sockets_(sockets), wan_(wan), dont_fragment_{{{sockets.udp4}, {sockets.raw4}}} {}

  /// Sends all and sets Outgoing::lost of those that the kernel refused: GW_DROP_TX_FULL (queue full), TOO_BIG,
  /// UNREACHABLE, SEND_REFUSED.
  void send(std::span<worker::Outgoing> packets);

 private:
  static constexpr std::size_t kMost = worker::Port::kQueue;

  struct alignas(16) Control {
    std::array<std::uint8_t,
               CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(std::uint16_t))>
        bytes{};
  };
  /// Whether routers may cut an IPv4 packet: its DF flag. IPv6 is cut by its sender alone.
  enum class OnTheWay : std::uint8_t { kWhole, kCut };
  /// A socket has the flag, not a packet: it is changed when the policy of what it sends changes.
  struct DontFragment {
    int fd = -1;
    OnTheWay now = OnTheWay::kWhole;  // as gso::open_*() made it
  };

  static OnTheWay treatment_of(const worker::Outgoing& packet);
  int socket_for(const worker::Outgoing& packet) const;
  bool prepare(int fd, OnTheWay wanted);
  void compose(std::size_t message, std::size_t first, std::size_t count);
  void submit(std::size_t messages);
  void lose(std::size_t message, int error);
  bool send_singly(std::size_t message);

  Sockets sockets_;
  Link wan_;
  std::span<worker::Outgoing> packets_;
  std::array<Datagram, kMost> datagrams_;
  std::array<iovec, kMost> parts_;
  std::array<mmsghdr, kMost> messages_;
  std::array<sockaddr_storage, kMost> names_;
  std::array<Control, kMost> controls_;
  std::array<std::size_t, kMost + 1> first_;   // packet of each message
  std::array<int, kMost> fds_;                 // and its socket
  std::array<OnTheWay, kMost> on_the_way_;     // and its treatment
  std::array<DontFragment, 2> dont_fragment_;  // the IPv4 sockets
};

}  // namespace gw::gso
