#include "ebpf/net/icmp_listener.hpp"

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace gw::net {
namespace {

constexpr int kMostAtOnce = 64;
constexpr std::size_t kLongest = 2048;  // a message quotes 1280 bytes at most, or one that quotes more is cut

Result<Fd> open_raw(int family, int protocol) {
  Fd fd(::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return fail_errno("opening a raw ICMP socket");
  return fd;
}

std::optional<IpAddress> address_of(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET) {
    const auto& a = reinterpret_cast<const sockaddr_in&>(from);
    return IpAddress::from_v4(ntohl(a.sin_addr.s_addr));
  }
  if (from.ss_family != AF_INET6) return std::nullopt;
  const auto& a = reinterpret_cast<const sockaddr_in6&>(from);
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(a.sin6_addr.s6_addr, 16));
}

}  // namespace

Result<IcmpListener> IcmpListener::open() {
  GW_TRY_ASSIGN(Fd v4, open_raw(AF_INET, IPPROTO_ICMP));
  GW_TRY_ASSIGN(Fd v6, open_raw(AF_INET6, IPPROTO_ICMPV6));
  const icmp_filter unreachable{~(1u << ICMP_DEST_UNREACH)};
  if (::setsockopt(v4.get(), SOL_RAW, ICMP_FILTER, &unreachable, sizeof unreachable) != 0)
    return fail_errno("filtering a raw ICMP socket");
  icmp6_filter too_big;
  ICMP6_FILTER_SETBLOCKALL(&too_big);
  ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &too_big);
  if (::setsockopt(v6.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &too_big, sizeof too_big) != 0)
    return fail_errno("filtering a raw ICMP socket");
  return IcmpListener(std::move(v4), std::move(v6));
}

void IcmpListener::read(const std::function<void(const IcmpMessage&)>& handler) const {
  std::array<std::uint8_t, kLongest> buffer;
  for (const Fd* fd : {&v4_, &v6_}) {
    for (int i = 0; i < kMostAtOnce; ++i) {
      sockaddr_storage from{};
      socklen_t length = sizeof from;
      const ssize_t n =
          ::recvfrom(fd->get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (n < 0) break;
      auto bytes = std::span<const std::uint8_t>(buffer).first(static_cast<std::size_t>(n));
      const auto sender = address_of(from);
      if (!sender) continue;
      if (sender->is_v4()) {  // with its IP header; IPv6 comes without
        const std::size_t header = bytes.empty() ? 0 : (bytes[0] & 0xfu) * std::size_t{4};
        if (header < 20 || header > bytes.size()) continue;
        bytes = bytes.subspan(header);
      }
      handler({sender->family(), *sender, bytes});
    }
  }
}

}  // namespace gw::net
