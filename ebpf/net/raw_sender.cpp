#include "ebpf/net/raw_sender.hpp"

#include <netinet/in.h>  // before linux/icmp.h: only then its in6_pktinfo is there

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <format>

#include "base/control_message.hpp"
#include "base/wire.hpp"
#include "ebpf/net/interface.hpp"
#include "ebpf/net/send_error.hpp"

namespace gw::net {
namespace {

// Missing from older libc headers; the number is ABI (Linux 4.18).
#ifndef IPV6_HDRINCL
constexpr int IPV6_HDRINCL = 36;
#endif

struct Option {
  int level;
  int name;
  int value = 1;
};

Status set(const Fd& fd, const Option& o) {
  if (::setsockopt(fd.get(), o.level, o.name, &o.value, sizeof o.value) == 0) return {};
  return fail_errno("setting up a raw socket");
}

Result<Fd> open_raw(int family, int protocol) {
  Fd fd(::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return fail_errno("opening a raw IP socket");
  return fd;
}

constexpr int kInternetworkControl = 0xc0;  // RFC 1812 4.3.2.5

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Address socket_address(const IpAddress& to) {
  Address address;
  if (to.is_v4()) {
    auto& a = reinterpret_cast<sockaddr_in&>(address.storage);
    a.sin_family = AF_INET;
    std::memcpy(&a.sin_addr, to.bytes().data(), 4);
    address.length = sizeof a;
  } else {
    auto& a = reinterpret_cast<sockaddr_in6&>(address.storage);
    a.sin6_family = AF_INET6;
    std::memcpy(&a.sin6_addr, to.bytes().data(), 16);
    address.length = sizeof a;
  }
  return address;
}

/// By this interface, whatever the routes say.
bool send_by(const Fd& fd, int ifindex, const IpAddress& to, std::span<const std::uint8_t> packet) {
  Address address = socket_address(to);
  iovec data{const_cast<std::uint8_t*>(packet.data()), packet.size()};
  msghdr m{};
  m.msg_name = &address.storage;
  m.msg_namelen = address.length;
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(in6_pktinfo))> room{};
  ControlWriter control(m, room);
  if (to.is_v4()) {
    in_pktinfo info{};
    info.ipi_ifindex = ifindex;
    control.add(IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    info.ipi6_ifindex = static_cast<decltype(info.ipi6_ifindex)>(ifindex);
    control.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  return ::sendmsg(fd.get(), &m, MSG_NOSIGNAL) >= 0;
}

}  // namespace

Result<RawSender::Pair> RawSender::open_headers() {
  GW_TRY_ASSIGN(Fd v4, open_raw(AF_INET, IPPROTO_RAW));
  GW_TRY_ASSIGN(Fd v6, open_raw(AF_INET6, IPPROTO_RAW));
  GW_TRY(set(v4, {IPPROTO_IP, IP_HDRINCL}));
  GW_TRY(set(v6, {IPPROTO_IPV6, IPV6_HDRINCL}));
  return Pair{std::move(v4), std::move(v6)};
}

/// They would get every ICMP message that arrives: filters keep them empty.
Result<RawSender::Pair> RawSender::open_icmp() {
  GW_TRY_ASSIGN(Fd v4, open_raw(AF_INET, IPPROTO_ICMP));
  GW_TRY_ASSIGN(Fd v6, open_raw(AF_INET6, IPPROTO_ICMPV6));
  constexpr int kNoType = -1;  // a bit for each type: all are filtered out
  GW_TRY(set(v4, {SOL_RAW, ICMP_FILTER, kNoType}));
  GW_TRY(set(v4, {IPPROTO_IP, IP_TOS, kInternetworkControl}));
  icmp6_filter none;
  ICMP6_FILTER_SETBLOCKALL(&none);
  if (::setsockopt(v6.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &none, sizeof none) != 0)
    return fail_errno("setting up a raw socket");
  GW_TRY(set(v6, {IPPROTO_IPV6, IPV6_TCLASS, kInternetworkControl}));
  return Pair{std::move(v4), std::move(v6)};
}

Result<RawSender> RawSender::open(const std::string& wan) {
  const int ifindex = interface_index(wan);
  if (ifindex == 0) return fail(Errc::kNotFound, std::format("interface '{}' does not exist", wan));
  GW_TRY_ASSIGN(Pair headers, open_headers());
  GW_TRY_ASSIGN(Pair icmp, open_icmp());
  return RawSender({ifindex}, std::move(headers), std::move(icmp));
}

gw_drop RawSender::send(std::span<const std::uint8_t> packet, Way way) {
  const int ifindex = way.ifindex != 0 ? way.ifindex : wan_.ifindex;
  bool sent = false;
  if (packet.size() >= 20 && packet[0] >> 4 == 4)
    sent = send_by(headers_.v4, ifindex, IpAddress::from_v4(load_be<std::uint32_t>(&packet[16])), packet);
  else if (packet.size() >= 40 && packet[0] >> 4 == 6)
    sent = send_by(headers_.v6, ifindex, IpAddress::from_v6(packet.subspan<24, 16>()), packet);
  else
    return GW_DROP_MALFORMED_OUTER;
  return sent ? GW_DROP_NONE : drop_for_send_error(errno);
}

bool RawSender::send_icmp(const IpAddress& to, std::span<const std::uint8_t> message) {
  const Fd& fd = to.is_v4() ? icmp_.v4 : icmp_.v6;
  const Address address = socket_address(to);
  return ::sendto(fd.get(), message.data(), message.size(), 0, reinterpret_cast<const sockaddr*>(&address.storage),
                  address.length) >= 0;
}

}  // namespace gw::net
