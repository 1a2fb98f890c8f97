#include "ebpf/gso/sockets.hpp"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <array>
#include <format>

#include "base/log.hpp"
#include "base/wire.hpp"

// netinet/udp.h of glibc 2.41 lacks it (Linux 3.16).
#ifndef UDP_NO_CHECK6_RX
#define UDP_NO_CHECK6_RX 102
#endif

namespace gw::gso {
namespace {

// Several bandwidth-delay products of a local burst: 5 ms at 10 Gbit/s are 6 MB. The kernel counts about twice the
// bytes that small packets have.
constexpr int kBufferBytes = 16 << 20;

struct Option {
  int level;
  int name;
  int value;
};

Status set(int fd, const Option& o) {
  if (::setsockopt(fd, o.level, o.name, &o.value, sizeof o.value) != 0)
    return fail_errno(std::format("setting option {}/{} of a socket", o.level, o.name));
  return {};
}

/// Local address and traffic class of each packet, DF, buffers.
Status set_common(int fd, Family family) {
  if (family == Family::kV4) {
    GW_TRY(set(fd, {IPPROTO_IP, IP_PKTINFO, 1}));
    GW_TRY(set(fd, {IPPROTO_IP, IP_RECVTOS, 1}));
    GW_TRY(set(fd, {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE}));
  } else {
    GW_TRY(set(fd, {IPPROTO_IPV6, IPV6_RECVPKTINFO, 1}));
    GW_TRY(set(fd, {IPPROTO_IPV6, IPV6_RECVTCLASS, 1}));
    GW_TRY(set(fd, {IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE}));
    GW_TRY(set(fd, {IPPROTO_IPV6, IPV6_DONTFRAG, 1}));
  }
  // Without CAP_NET_ADMIN in the initial namespace the usual limit is what there is.
  for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
    if (auto done = set(fd, {SOL_SOCKET, option, kBufferBytes}); !done)
      log::debug("gso", "{}", done.error().describe());
  return {};
}

Result<Fd> open_socket(Family family, int type, int protocol) {
  Fd fd(::socket(family == Family::kV4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return fail_errno("opening a socket for ESP");
  GW_TRY(set_common(fd.get(), family));
  return fd;
}

Status bind_nat_t(int fd, Family family) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = host_to_be(kNatTPort);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = host_to_be(kNatTPort);
  const bool is_v4 = family == Family::kV4;
  const auto* address = is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
  if (::bind(fd, address, is_v4 ? sizeof v4 : sizeof v6) == 0) return {};
  if (errno == EADDRINUSE)
    return fail(Errc::kAlreadyExists,
                std::format("UDP port {} is taken by another program (an IKE daemon with its own sockets? charon must "
                            "load kernel-gw in place of socket-default)",
                            kNatTPort));
  return fail_errno(std::format("binding UDP port {}", kNatTPort));
}

}  // namespace

Result<Fd> open_nat_t(Family family) {
  GW_TRY_ASSIGN(Fd fd, open_socket(family, SOCK_DGRAM, 0));
  if (family == Family::kV6) GW_TRY(set(fd.get(), {IPPROTO_IPV6, IPV6_V6ONLY, 1}));
  GW_TRY(set(fd.get(), {SOL_SOCKET, SO_REUSEPORT, 1}));
  GW_TRY(set(fd.get(), {IPPROTO_UDP, UDP_GRO, 1}));
  // RFC 3948 2.1 wants a zero checksum over IPv4 and receivers that do not care. We accept zero over both families
  // (ESP has its own ICV).
  // Deviation from RFC 3948 2.1: what we send has a checksum. UDP_SEGMENT refuses SO_NO_CHECK; cards compute it.
  if (family == Family::kV6) GW_TRY(set(fd.get(), {IPPROTO_UDP, UDP_NO_CHECK6_RX, 1}));
  GW_TRY(bind_nat_t(fd.get(), family));
  return fd;
}

Result<Fd> open_raw_esp(Family family, EspReceiving receiving) {
  GW_TRY_ASSIGN(Fd fd, open_socket(family, SOCK_RAW, IPPROTO_ESP));
  if (receiving == EspReceiving::kNone) {
    std::array<sock_filter, 1> nothing{{BPF_STMT(BPF_RET | BPF_K, 0)}};
    const sock_fprog program{nothing.size(), nothing.data()};
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
      return fail_errno("closing a raw socket to receiving");
  }
  return fd;
}

}  // namespace gw::gso
