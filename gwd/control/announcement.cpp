#include "gwd/control/announcement.hpp"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <span>

#include "base/fd.hpp"

namespace gw::gwd {
namespace {

struct Interface {
  int index = 0;
  MacAddress mac{};
};

Result<Interface> find_interface(const std::string& name) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return fail(Errc::kNotFound, std::format("no interface {}", name));
  std::ranges::copy(name, request.ifr_name);
  if (ioctl(fd.get(), SIOCGIFINDEX, &request) != 0) return fail(Errc::kNotFound, std::format("no interface {}", name));
  Interface found{.index = request.ifr_ifindex};
  if (ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) return fail_errno("SIOCGIFHWADDR");
  std::memcpy(found.mac.data(), request.ifr_hwaddr.sa_data, found.mac.size());
  return found;
}

using ArpFrame = std::array<std::uint8_t, 42>;

Status send_arp(const Interface& interface, std::span<const ArpFrame> frames) {
  const Fd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));  // protocol 0: it receives nothing
  if (!fd) return fail_errno("packet socket");
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETHERTYPE_ARP);
  to.sll_ifindex = interface.index;
  for (const ArpFrame& frame : frames)
    if (sendto(fd.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
      return fail_errno("ARP");
  return {};
}

Status announce_v4(const Interface& interface, const IpAddress& address) {
  const std::array<ArpFrame, 2> frames{arp_announcement(address, interface.mac, ArpOperation::kRequest),
                                       arp_announcement(address, interface.mac, ArpOperation::kReply)};
  return send_arp(interface, frames);
}

/// For multicast on one link.
Result<Fd> icmp6_socket(const Interface& interface) {
  Fd fd(socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6));
  if (!fd) return fail_errno("ICMPv6 socket");
  icmp6_filter nothing;
  ICMP6_FILTER_SETBLOCKALL(&nothing);
  const int hops = 255;  // RFC 4861 7.1.1, 7.1.2: anything else is not believed
  if (setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &nothing, sizeof nothing) != 0 ||
      setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) != 0 ||
      setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface.index, sizeof interface.index) != 0)
    return fail_errno("ICMPv6 socket");
  return fd;
}

// RFC 4861 4.3, to the solicited-node multicast address (RFC 4291 2.7.1) from a link-local one, which the kernel
// chooses.
Status ask_v6(const Interface& interface, const IpAddress& neighbour) {
  GW_TRY_ASSIGN(const Fd fd, icmp6_socket(interface));
  std::array<std::uint8_t, 24> message{};
  message[0] = ND_NEIGHBOR_SOLICIT;
  std::ranges::copy(neighbour.bytes(), message.begin() + 8);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_scope_id = static_cast<std::uint32_t>(interface.index);
  inet_pton(AF_INET6, "ff02::1:ff00:0", &to.sin6_addr);
  std::ranges::copy(neighbour.bytes().last(3), to.sin6_addr.s6_addr + 13);
  if (sendto(fd.get(), message.data(), message.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
    return fail_errno("neighbour solicitation");
  return {};
}

Status announce_v6(const Interface& interface, const IpAddress& address) {
  GW_TRY_ASSIGN(const Fd fd, icmp6_socket(interface));
  sockaddr_in6 from{};
  from.sin6_family = AF_INET6;
  std::ranges::copy(address.bytes(), from.sin6_addr.s6_addr);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0)
    return fail_errno(std::format("source {}", address));
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_scope_id = static_cast<std::uint32_t>(interface.index);
  inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
  const auto message = neighbour_advertisement(address, interface.mac);
  if (sendto(fd.get(), message.data(), message.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
    return fail_errno("unsolicited neighbour advertisement");
  return {};
}

}  // namespace

std::array<std::uint8_t, 42> arp_announcement(const IpAddress& address, const MacAddress& mac, ArpOperation operation) {
  std::array<std::uint8_t, 42> frame{};
  auto at = std::fill_n(frame.begin(), 6, std::uint8_t{0xff});
  at = std::ranges::copy(mac, at).out;
  // Ethertype; hardware type Ethernet, protocol IPv4, lengths, operation.
  constexpr std::array<std::uint8_t, 9> kHead{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0};
  at = std::ranges::copy(kHead, at).out;
  *at++ = static_cast<std::uint8_t>(operation);
  at = std::ranges::copy(mac, at).out;
  at = std::ranges::copy(address.bytes(), at).out;
  // The target's hardware address is ignored in a request (RFC 5227 3); in a reply it is everybody's.
  at = std::fill_n(at, 6, operation == ArpOperation::kReply ? std::uint8_t{0xff} : std::uint8_t{0});
  std::ranges::copy(address.bytes(), at);
  return frame;
}

std::array<std::uint8_t, 42> arp_probe(const IpAddress& address, const MacAddress& mac) {
  auto frame = arp_announcement(address, mac, ArpOperation::kRequest);
  constexpr std::size_t kSender = 28;  // its protocol address
  std::fill_n(frame.begin() + kSender, 4, std::uint8_t{0});
  return frame;
}

std::array<std::uint8_t, 32> neighbour_advertisement(const IpAddress& address, const MacAddress& mac) {
  std::array<std::uint8_t, 32> message{};
  message[0] = ND_NEIGHBOR_ADVERT;
  // RFC 4861 4.4: override; not solicited; a router, as the gateway forwards.
  message[4] = 0x80 | 0x20;
  std::ranges::copy(address.bytes(), message.begin() + 8);
  message[24] = ND_OPT_TARGET_LINKADDR;
  message[25] = 1;  // in units of 8 bytes
  std::ranges::copy(mac, message.begin() + 26);
  return message;
}

Status announce(const std::string& interface, const IpAddress& address) {
  GW_TRY_ASSIGN(const Interface found, find_interface(interface));
  return address.is_v4() ? announce_v4(found, address) : announce_v6(found, address);
}

Status ask(const std::string& interface, const IpAddress& neighbour) {
  GW_TRY_ASSIGN(const Interface found, find_interface(interface));
  if (!neighbour.is_v4()) return ask_v6(found, neighbour);
  const std::array<ArpFrame, 1> frames{arp_probe(neighbour, found.mac)};
  return send_arp(found, frames);
}

}  // namespace gw::gwd
