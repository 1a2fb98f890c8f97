#include "ebpf/net/raw_sender.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <format>

namespace gw::net {
namespace {

// Missing from older libc headers; the number is ABI (Linux 4.18).
#ifndef IPV6_HDRINCL
constexpr int IPV6_HDRINCL = 36;
#endif

struct HeaderOption {
  int level;
  int name;
};

Result<Fd> open_raw(int family, HeaderOption own_header, const std::string& wan) {
  Fd fd(::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW));
  if (!fd) return fail_errno("opening a raw IP socket");
  const int on = 1;
  if (::setsockopt(fd.get(), own_header.level, own_header.name, &on, sizeof on) != 0)
    return fail_errno("raw IP socket with own header");
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, wan.data(), static_cast<socklen_t>(wan.size())) != 0)
    return fail_errno(std::format("binding a raw IP socket to {}", wan));
  return fd;
}

}  // namespace

Result<RawSender> RawSender::open(const std::string& wan) {
  GW_TRY_ASSIGN(Fd v4, open_raw(AF_INET, {IPPROTO_IP, IP_HDRINCL}, wan));
  GW_TRY_ASSIGN(Fd v6, open_raw(AF_INET6, {IPPROTO_IPV6, IPV6_HDRINCL}, wan));
  return RawSender(std::move(v4), std::move(v6));
}

bool RawSender::send(std::span<const std::uint8_t> packet) {
  if (packet.size() >= 20 && packet[0] >> 4 == 4) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, packet.data() + 16, 4);
    return ::sendto(v4_.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) >= 0;
  }
  if (packet.size() >= 40 && packet[0] >> 4 == 6) {
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    std::memcpy(&to.sin6_addr, packet.data() + 24, 16);
    return ::sendto(v6_.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) >= 0;
  }
  return false;
}

}  // namespace gw::net
