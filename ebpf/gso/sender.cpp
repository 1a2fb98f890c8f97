#include "ebpf/gso/sender.hpp"

#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/control_message.hpp"
#include "ebpf/esp/sa.hpp"
#include "ebpf/net/send_error.hpp"

namespace gw::gso {
using worker::Outgoing;

namespace {

/// EIO: this interface cannot have trains (no checksum offload, before Linux 6.11; or an IPsec policy). EMSGSIZE,
/// before Linux 6.10 EINVAL: the train's packets are too big, but the last one is shorter and may not be.
bool concerns_train(int error) { return error == EIO || error == EMSGSIZE || error == EINVAL; }

void add_v4(const std::uint8_t* header, int ifindex, sockaddr_storage& name, ControlWriter& control) {
  auto& to = reinterpret_cast<sockaddr_in&>(name);
  to.sin_family = AF_INET;
  std::memcpy(&to.sin_addr, header + 16, 4);
  in_pktinfo info{};
  info.ipi_ifindex = ifindex;
  std::memcpy(&info.ipi_spec_dst, header + 12, 4);
  control.add(IPPROTO_IP, IP_PKTINFO, info);
}

void add_v6(const std::uint8_t* header, int ifindex, sockaddr_storage& name, ControlWriter& control) {
  auto& to = reinterpret_cast<sockaddr_in6&>(name);
  to.sin6_family = AF_INET6;
  to.sin6_flowinfo = 0;
  to.sin6_scope_id = header[24] == 0xfe && (header[25] & 0xc0) == 0x80 ? static_cast<std::uint32_t>(ifindex) : 0;
  std::memcpy(&to.sin6_addr, header + 24, 16);
  in6_pktinfo info{};
  info.ipi6_ifindex = static_cast<decltype(info.ipi6_ifindex)>(ifindex);
  std::memcpy(&info.ipi6_addr, header + 8, 16);
  control.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
}

}  // namespace

Sender::OnTheWay Sender::treatment_of(const Outgoing& packet) {
  constexpr std::uint8_t kDontFragment = 0x40;
  const std::uint8_t* header = packet.data;
  return header[0] >> 4 == 4 && (header[6] & kDontFragment) == 0 ? OnTheWay::kCut : OnTheWay::kWhole;
}

int Sender::socket_for(const Outgoing& packet) const {
  const bool v4 = packet.sa->outer_family() == Family::kV4;
  if (packet.sa->udp()) return v4 ? sockets_.udp4 : sockets_.udp6;
  return v4 ? sockets_.raw4 : sockets_.raw6;
}

/// Message number `message`: packets [first, first + count), of one SA and traffic class.
void Sender::compose(std::size_t message, std::size_t first, std::size_t count) {
  const Outgoing& packet = packets_[first];
  const std::uint8_t* header = packet.sa->header().data();
  const bool v4 = packet.sa->outer_family() == Family::kV4;
  sockaddr_storage& name = names_[message];
  msghdr& m = messages_[message].msg_hdr;
  m = {};
  m.msg_name = &name;
  m.msg_namelen = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  m.msg_iov = &parts_[first];
  m.msg_iovlen = count;
  ControlWriter control(m, controls_[message].bytes);
  const int ifindex = packet.ifindex > 0 ? packet.ifindex : wan_.ifindex;
  v4 ? add_v4(header, ifindex, name, control) : add_v6(header, ifindex, name, control);
  // Port of both families at the same place; a raw socket wants 0.
  auto& port = reinterpret_cast<sockaddr_in&>(name).sin_port;
  port = 0;
  if (packet.sa->udp()) std::memcpy(&port, header + (v4 ? 22 : 42), 2);
  if (packet.traffic_class != 0)
    v4 ? control.add(IPPROTO_IP, IP_TOS, int{packet.traffic_class})
       : control.add(IPPROTO_IPV6, IPV6_TCLASS, int{packet.traffic_class});
  if (count > 1) control.add(IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(datagrams_[first].length));
  first_[message] = first;
  first_[message + 1] = first + count;
  fds_[message] = socket_for(packet);
  on_the_way_[message] = treatment_of(packet);
}

void Sender::send(std::span<Outgoing> packets) {
  packets_ = packets;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const Outgoing& p = packets[i];
    const std::uint32_t length = p.length - p.esp_offset;
    parts_[i] = {p.data + p.esp_offset, length};
    // Packets of one SA may differ in DF (DfPolicy::kCopy); addresses of SAs are even.
    const auto flow = reinterpret_cast<std::uintptr_t>(p.sa) | (treatment_of(p) == OnTheWay::kCut ? 1 : 0);
    datagrams_[i] = {{flow, p.traffic_class}, length};
  }
  std::size_t messages = 0;
  for (std::size_t at = 0; at < packets.size();) {
    // A raw packet is a message: no segmentation there. One that routers may cut needs an id that no other packet has
    // for minutes (RFC 6864 4.3): the kernel gives each message one, but counts it up within a train.
    const auto rest = std::span<const Datagram>(datagrams_).subspan(at, packets.size() - at);
    const bool train = packets[at].sa->udp() && treatment_of(packets[at]) == OnTheWay::kWhole;
    const std::size_t count = train ? train_length(rest) : 1;
    compose(messages++, at, count);
    at += count;
  }
  submit(messages);
}

void Sender::submit(std::size_t messages) {
  for (std::size_t at = 0; at < messages;) {
    std::size_t end = at + 1;
    while (end < messages && fds_[end] == fds_[at] && on_the_way_[end] == on_the_way_[at]) ++end;
    if (!prepare(fds_[at], on_the_way_[at])) {
      lose(at++, errno);
      continue;
    }
    const int n = ::sendmmsg(fds_[at], &messages_[at], static_cast<unsigned>(end - at), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      at += static_cast<std::size_t>(n);
      continue;
    }
    if (const int error = errno; error != EINTR) {
      if (!concerns_train(error) || !send_singly(at)) lose(at, error);
      ++at;
    }
  }
}

/// False: the kernel refuses, errno says why.
bool Sender::prepare(int fd, OnTheWay wanted) {
  for (DontFragment& socket : dont_fragment_) {
    if (socket.fd != fd || socket.now == wanted) continue;
    // Both look at the interface's MTU alone. What routers say is for the gateway to judge (control::PathMtus).
    const int mode = wanted == OnTheWay::kWhole ? IP_PMTUDISC_PROBE : IP_PMTUDISC_INTERFACE;
    if (::setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &mode, sizeof mode) != 0) return false;
    socket.now = wanted;
  }
  return true;
}

/// The train's packets as messages of their own. False: it was no train.
bool Sender::send_singly(std::size_t message) {
  const std::size_t first = first_[message];
  const std::size_t count = first_[message + 1] - first;
  if (count < 2) return false;
  msghdr m = messages_[message].msg_hdr;
  m.msg_controllen -= CMSG_SPACE(sizeof(std::uint16_t));  // the last one
  for (std::size_t i = first; i < first + count; ++i) {
    m.msg_iov = &parts_[i];
    m.msg_iovlen = 1;
    if (::sendmsg(fds_[message], &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
      packets_[i].lost = net::drop_for_send_error(errno);
  }
  return true;
}

void Sender::lose(std::size_t message, int error) {
  for (std::size_t i = first_[message]; i < first_[message + 1]; ++i)
    packets_[i].lost = net::drop_for_send_error(error);
}

}  // namespace gw::gso
