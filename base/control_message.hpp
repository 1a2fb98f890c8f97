// What the kernel tells and is told about a datagram beside its bytes (cmsg(3), ip(7), ipv6(7), udp(7)): local address,
// traffic class, size of a train's pieces. For all sockets of ours that need to know. Any thread.
#pragma once

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <span>

#include "base/ip.hpp"
#include "base/wire.hpp"

namespace gw {

/// Control messages under construction, in memory aligned as cmsghdr is; there is room for what is added.
class ControlWriter {
 public:
  ControlWriter(msghdr& m, std::span<std::uint8_t> room) : m_(m) {
    m_.msg_control = room.data();
    m_.msg_controllen = 0;
  }
  template <class T>
  void add(int level, int type, const T& value) {
    auto* c = reinterpret_cast<cmsghdr*>(static_cast<std::uint8_t*>(m_.msg_control) + m_.msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(CMSG_DATA(c), &value, sizeof value);
    m_.msg_controllen += CMSG_SPACE(sizeof value);
  }

 private:
  msghdr& m_;
};

/// Of a received datagram, as far as its socket asked for it (IP_PKTINFO, IP_RECVTOS, their like for IPv6, UDP_GRO).
struct DatagramInfo {
  IpAddress local;
  std::uint8_t traffic_class = 0;
  std::uint32_t segment_bytes = 0;  // of a train; 0: one datagram
};

namespace detail {
template <class T>
T control_data(const cmsghdr* c) {
  T value{};
  std::memcpy(&value, CMSG_DATA(c), sizeof value);
  return value;
}
}  // namespace detail

inline DatagramInfo read_datagram_info(msghdr& m) {
  using detail::control_data;
  DatagramInfo info;
  const auto v6 = [](const in6_addr& a) { return IpAddress::from_v6(std::span<const std::uint8_t, 16>(a.s6_addr)); };
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
      info.local = IpAddress::from_v4(be_to_host(control_data<in_pktinfo>(c).ipi_addr.s_addr));
    else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
      info.traffic_class = control_data<std::uint8_t>(c);
    else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
      info.local = v6(control_data<in6_pktinfo>(c).ipi6_addr);
    else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
      info.traffic_class = static_cast<std::uint8_t>(control_data<int>(c));
    else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
      info.segment_bytes = static_cast<std::uint32_t>(control_data<int>(c));
  }
  return info;
}

}  // namespace gw
