#include "ebpf/bfd/sockets.hpp"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "base/control_message.hpp"
#include "base/wire.hpp"

namespace gw::bfd {
namespace {

constexpr std::uint16_t kSingleHopPort = 3784;
constexpr std::uint16_t kMultiHopPort = 4784;
constexpr std::uint16_t kFirstSourcePort = 49152;  // RFC 5881 4
constexpr int kTtl = 255;
constexpr int kDscpCs6 = 0xc0;
constexpr int kPriority = 6;  // TC_PRIO_INTERACTIVE: the first band of the default queue
constexpr std::size_t kBatch = 32;
constexpr int kBatches = 32;  // a flood does not keep the thread from its timers
constexpr std::size_t kMaxDatagram = 256;
constexpr std::size_t kControlRoom = 128;
constexpr int kReceiveBuffer = 1 << 20;

Status set(int fd, int level, int option, int value) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0)
    return fail_errno(std::format("setting option {} of a BFD socket", option));
  return {};
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Address socket_address(const IpAddress& address, std::uint16_t port, int scope) {
  Address a;
  if (address.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(a.storage);
    in.sin_family = AF_INET;
    in.sin_port = host_to_be(port);
    std::memcpy(&in.sin_addr, address.bytes().data(), sizeof in.sin_addr);
    a.length = sizeof in;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(a.storage);
    in.sin6_family = AF_INET6;
    in.sin6_port = host_to_be(port);
    if (address.is_link_local()) in.sin6_scope_id = static_cast<std::uint32_t>(scope);
    std::memcpy(&in.sin6_addr, address.bytes().data(), sizeof in.sin6_addr);
    a.length = sizeof in;
  }
  return a;
}

bool bind_to(int fd, const Address& a) {
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&a.storage), a.length) == 0;
}

Result<Fd> open_receiver(Family family, std::uint16_t port) {
  const bool v4 = family == Family::kV4;
  Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("opening a BFD socket");
  if (v4) {
    GW_TRY(set(fd.get(), IPPROTO_IP, IP_PKTINFO, 1));
    GW_TRY(set(fd.get(), IPPROTO_IP, IP_RECVTTL, 1));
  } else {
    GW_TRY(set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
    GW_TRY(set(fd.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
    GW_TRY(set(fd.get(), IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
  }
  (void)set(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, kReceiveBuffer);  // else the usual one does
  const IpAddress any = v4 ? IpAddress() : IpAddress::from_v6(std::array<std::uint8_t, 16>{});
  if (!bind_to(fd.get(), socket_address(any, port, 0)))
    return fail_errno(std::format("binding UDP port {} for BFD (does another BFD daemon run?)", port));
  return fd;
}

/// What the kernel says beside the bytes.
void read_control(msghdr& m, Received& out) {
  using detail::control_data;
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
      out.ifindex = control_data<in_pktinfo>(c).ipi_ifindex;
    else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
      out.ttl = static_cast<std::uint8_t>(control_data<int>(c));
    else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
      out.ifindex = static_cast<int>(control_data<in6_pktinfo>(c).ipi6_ifindex);
    else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)
      out.ttl = static_cast<std::uint8_t>(control_data<int>(c));
  }
  out.local = read_datagram_info(m).local;
}

IpAddress source_of(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET)
    return IpAddress::from_v4(be_to_host(reinterpret_cast<const sockaddr_in&>(from).sin_addr.s_addr));
  const auto& in = reinterpret_cast<const sockaddr_in6&>(from);
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(in.sin6_addr.s6_addr));
}

class SocketLink final : public Link {
 public:
  SocketLink(Fd fd, Address peer, int ifindex) : fd_(std::move(fd)), peer_(peer), ifindex_(ifindex) {}

  bool send(std::span<const std::uint8_t> packet) override {
    const auto sent = ::sendto(fd_.get(), packet.data(), packet.size(), 0,
                               reinterpret_cast<const sockaddr*>(&peer_.storage), peer_.length);
    // A full queue, or an error that an earlier packet met on its way: the next one may do better.
    return sent >= 0 || errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED || errno == EHOSTUNREACH;
  }
  int ifindex() const override { return ifindex_; }

 private:
  Fd fd_;
  Address peer_;
  int ifindex_;
};

Status set_sender(int fd, const SessionKey& key) {
  if (key.peer.is_v4()) {
    GW_TRY(set(fd, IPPROTO_IP, IP_TTL, kTtl));
    GW_TRY(set(fd, IPPROTO_IP, IP_TOS, kDscpCs6));
  } else {
    GW_TRY(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, kTtl));
    GW_TRY(set(fd, IPPROTO_IPV6, IPV6_TCLASS, kDscpCs6));
  }
  GW_TRY(set(fd, SOL_SOCKET, SO_PRIORITY, kPriority));
  if (!key.device.empty() &&
      ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, key.device.c_str(), static_cast<socklen_t>(key.device.size())) != 0)
    return fail_errno(std::format("binding a BFD socket to {}", key.device));
  return {};
}

/// One source port for each session, for as long as it lasts (RFC 5881 4).
Status bind_sender(int fd, const SessionKey& key, int ifindex) {
  static std::minstd_rand random{std::random_device{}()};
  constexpr int kAttempts = 64;
  for (int i = 0; i < kAttempts; ++i) {
    const auto port = static_cast<std::uint16_t>(kFirstSourcePort + random() % (65536 - kFirstSourcePort));
    if (bind_to(fd, socket_address(key.local, port, ifindex))) return {};
    if (errno != EADDRINUSE) return fail_errno(std::format("binding a BFD socket to {}", key.local));
  }
  return fail(Errc::kLimit, "no source port is free for a BFD session");
}

}  // namespace

Result<Receivers> Receivers::open() {
  Receivers r;
  std::size_t n = 0;
  for (const Family family : {Family::kV4, Family::kV6}) {
    for (const Hops hops : {Hops::kSingle, Hops::kMulti}) {
      auto fd = open_receiver(family, hops == Hops::kSingle ? kSingleHopPort : kMultiHopPort);
      // Without IPv6 in the kernel there are no such sessions.
      if (!fd && family == Family::kV6 && errno == EAFNOSUPPORT) continue;
      if (!fd) return std::unexpected(std::move(fd).error());
      r.sockets_[n++] = {std::move(*fd), hops};
    }
  }
  return r;
}

Receivers Receivers::adopt(std::array<Fd, 4> fds) {
  Receivers r;
  for (std::size_t i = 0; i < fds.size(); ++i)
    r.sockets_[i] = {std::move(fds[i]), i % 2 == 0 ? Hops::kSingle : Hops::kMulti};  // the order of open()
  return r;
}

std::array<int, 4> Receivers::fds() const {
  return {sockets_[0].fd.get(), sockets_[1].fd.get(), sockets_[2].fd.get(), sockets_[3].fd.get()};
}

void Receivers::read(int fd, const std::function<void(const Received&)>& packet) {
  const auto socket = std::ranges::find(sockets_, fd, [](const Socket& s) { return s.fd.get(); });
  if (socket == sockets_.end()) return;
  std::array<std::array<std::uint8_t, kMaxDatagram>, kBatch> bytes;
  alignas(cmsghdr) std::array<std::array<std::uint8_t, kControlRoom>, kBatch> control;
  std::array<sockaddr_storage, kBatch> from;
  std::array<iovec, kBatch> vectors;
  std::array<mmsghdr, kBatch> messages;
  for (int round = 0; round < kBatches; ++round) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors[i] = {bytes[i].data(), bytes[i].size()};
      messages[i] = {};
      messages[i].msg_hdr = {.msg_name = &from[i],
                             .msg_namelen = sizeof from[i],
                             .msg_iov = &vectors[i],
                             .msg_iovlen = 1,
                             .msg_control = control[i].data(),
                             .msg_controllen = control[i].size()};
    }
    const int n = ::recvmmsg(fd, messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (n <= 0) return;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      Received r{
          .source = source_of(from[i]), .hops = socket->hops, .bytes = std::span(bytes[i]).first(messages[i].msg_len)};
      read_control(messages[i].msg_hdr, r);
      packet(r);
    }
    if (n < static_cast<int>(kBatch)) return;
  }
}

Result<std::unique_ptr<Link>> open_link(const SessionKey& key) {
  const bool v4 = key.peer.is_v4();
  const int ifindex = key.device.empty() ? 0 : static_cast<int>(::if_nametoindex(key.device.c_str()));
  if (!key.device.empty() && ifindex == 0) return fail(Errc::kNotFound, std::format("no interface '{}'", key.device));
  Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("opening a BFD socket");
  GW_TRY(set_sender(fd.get(), key));
  GW_TRY(bind_sender(fd.get(), key, ifindex));
  const std::uint16_t port = key.hops == Hops::kSingle ? kSingleHopPort : kMultiHopPort;
  return std::make_unique<SocketLink>(std::move(fd), socket_address(key.peer, port, ifindex), ifindex);
}

}  // namespace gw::bfd
