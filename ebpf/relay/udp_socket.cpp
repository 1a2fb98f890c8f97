#include "ebpf/relay/udp_socket.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/control_message.hpp"
#include "base/log.hpp"
#include "base/wire.hpp"

namespace gw::relay {
namespace {

// A burst of IKE_SA_INITs after an outage of all sites, 1.5 KB each; the kernel's limit does not apply (FORCE).
constexpr int kBufferBytes = 4 << 20;

Status set(int fd, int level, int option, int value) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0)
    return fail_errno(std::format("setting option {} of a UDP socket", option));
  return {};
}

Status set_options(int fd, Family family) {
  const bool v4 = family == Family::kV4;
  GW_TRY(v4 ? set(fd, IPPROTO_IP, IP_PKTINFO, 1) : set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
  GW_TRY(v4 ? set(fd, IPPROTO_IP, IP_RECVTOS, 1) : set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
  if (!v4) GW_TRY(set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
  // Without CAP_NET_ADMIN in the initial namespace the usual limit is what there is.
  for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
    if (auto done = set(fd, SOL_SOCKET, option, kBufferBytes); !done) log::debug("ike", "{}", done.error().describe());
  return {};
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Address socket_address(const UdpEnd& end, std::uint32_t scope_id) {
  Address a;
  if (end.address.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(a.storage);
    in.sin_family = AF_INET;
    in.sin_port = host_to_be(end.port);
    std::memcpy(&in.sin_addr, end.address.bytes().data(), sizeof in.sin_addr);
    a.length = sizeof in;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(a.storage);
    in.sin6_family = AF_INET6;
    in.sin6_port = host_to_be(end.port);
    in.sin6_scope_id = scope_id;
    std::memcpy(&in.sin6_addr, end.address.bytes().data(), sizeof in.sin6_addr);
    a.length = sizeof in;
  }
  return a;
}

template <class T>
IpAddress address_from(const T& in) {
  static_assert(sizeof in == 4 || sizeof in == 16);
  return IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(&in), sizeof in}).value_or(IpAddress{});
}

UdpEnd end_of(const sockaddr_storage& s) {
  if (s.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(s);
    return {address_from(in.sin_addr), be_to_host(in.sin_port)};
  }
  const auto& in = reinterpret_cast<const sockaddr_in6&>(s);
  return {address_from(in.sin6_addr), be_to_host(in.sin6_port)};
}

}  // namespace

Result<UdpSocket> UdpSocket::open(std::uint16_t port, Family family) {
  const bool v4 = family == Family::kV4;
  Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("opening a UDP socket for IKE");
  GW_TRY(set_options(fd.get(), family));
  if (port == kNatTPort) GW_TRY(set(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1));
  const IpAddress any = v4 ? IpAddress{} : IpAddress::parse("::").value();
  const Address address = socket_address({any, port}, 0);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
    if (errno == EADDRINUSE)
      return fail(Errc::kAlreadyExists,
                  std::format("UDP port {} is taken by another program (an IKE daemon with its own sockets? charon "
                              "must load kernel-gw in place of socket-default)",
                              port));
    return fail_errno(std::format("binding UDP port {}", port));
  }
  return UdpSocket(std::move(fd), port, family);
}

Result<UdpSocket> UdpSocket::adopt(Fd fd) {
  sockaddr_storage s{};
  socklen_t length = sizeof s;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&s), &length) != 0)
    return fail_errno("adopting a UDP socket for IKE");
  if (s.ss_family != AF_INET && s.ss_family != AF_INET6)
    return fail(Errc::kNotFound, "the kept descriptor is no UDP socket");
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0)
    return fail_errno("adopting a UDP socket for IKE");
  const UdpEnd end = end_of(s);
  return UdpSocket(std::move(fd), end.port, s.ss_family == AF_INET ? Family::kV4 : Family::kV6);
}

bool UdpSocket::shares_port() const {
  int shared = 0;
  socklen_t length = sizeof shared;
  return ::getsockopt(fd_.get(), SOL_SOCKET, SO_REUSEPORT, &shared, &length) == 0 && shared != 0;
}

std::optional<UdpSocket::Received> UdpSocket::receive(std::span<std::uint8_t> buffer) const {
  sockaddr_storage from{};
  iovec data{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, 256> control;
  msghdr m{};
  m.msg_name = &from;
  m.msg_namelen = sizeof from;
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  ssize_t n = -1;
  // An ICMP error for something we sent is reported once by the next call, and means nothing for receiving.
  for (int tries = 0; n < 0 && tries < 2; ++tries) {
    n = ::recvmsg(fd_.get(), &m, 0);
    if (n < 0 && (errno == EAGAIN || errno == EBADF)) return std::nullopt;
  }
  if (n < 0) return std::nullopt;
  Received r{.flow = {.peer = end_of(from)}, .length = static_cast<std::size_t>(n)};
  r.flow.local.port = port_;
  const DatagramInfo info = read_datagram_info(m);
  r.flow.local.address = info.local;
  r.flow.traffic_class = info.traffic_class;
  if (r.flow.peer.address.is_v6() && r.flow.peer.address.is_link_local())
    r.flow.scope_id = reinterpret_cast<const sockaddr_in6&>(from).sin6_scope_id;
  return r;
}

Status UdpSocket::send(const IkeFlow& flow, std::span<const std::uint8_t> payload, int ifindex) const {
  const Address to = socket_address(flow.peer, flow.scope_id);
  iovec data{const_cast<std::uint8_t*>(payload.data()), payload.size()};
  msghdr m{};
  m.msg_name = const_cast<sockaddr_storage*>(&to.storage);
  m.msg_namelen = to.length;
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int))> room{};
  ControlWriter control(m, room);
  const int traffic_class = flow.traffic_class;
  if (family_ == Family::kV4) {
    in_pktinfo info{};
    info.ipi_ifindex = ifindex;
    std::memcpy(&info.ipi_spec_dst, flow.local.address.bytes().data(), sizeof info.ipi_spec_dst);
    control.add(IPPROTO_IP, IP_PKTINFO, info);
    control.add(IPPROTO_IP, IP_TOS, traffic_class);
  } else {
    in6_pktinfo info{};
    info.ipi6_ifindex = static_cast<unsigned>(ifindex);
    std::memcpy(&info.ipi6_addr, flow.local.address.bytes().data(), sizeof info.ipi6_addr);
    control.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
    control.add(IPPROTO_IPV6, IPV6_TCLASS, traffic_class);
  }
  if (::sendmsg(fd_.get(), &m, MSG_NOSIGNAL) < 0)
    return fail_errno(std::format("sending IKE to {} port {}", flow.peer.address, flow.peer.port));
  return {};
}

}  // namespace gw::relay
