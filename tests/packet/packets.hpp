// Packets for the XDP tests, built byte by byte, and a run of a program on one. RFC 5737/3849 addresses.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "ebpf/fib/v4_table.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::packet_test {

/// Forwarding tables of a test's size.
inline constexpr xdp::FibSize kSmallFib = {.v4_groups = 16 + fib::kOwnV4Groups, .v6_lines = 256, .next_hops = 32};

using Bytes = std::vector<std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;

inline constexpr Mac kOurMac = {2, 0, 0, 0, 0, 1};
inline constexpr Mac kPeerMac = {2, 0, 0, 0, 0, 2};

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
/// ::ffff:0:0/96, which parse() refuses.
inline IpAddress mapped(std::string_view v4) {
  std::array<std::uint8_t, 16> bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::ranges::copy(ip(v4).bytes(), bytes.begin() + 12);
  return IpAddress::from_v6(bytes);
}

Bytes operator+(Bytes a, const Bytes& b);
Bytes be16(unsigned v);
Bytes be32(std::uint32_t v);

Bytes ethernet(std::uint16_t type, const Mac& dst = kOurMac);
/// `frame` with these tags (their EtherTypes, outermost first) in front of its EtherType.
Bytes tag(const Bytes& frame, const std::vector<std::uint16_t>& types);
Bytes vlan(std::uint16_t type);  // the rest of a tag: TCI and the next EtherType

/// A byte of the IP header that says something else.
struct Lie {
  std::size_t at = SIZE_MAX;
  std::uint8_t value = 0;
};
/// An untagged frame that tells it.
Bytes tell(Bytes frame, const Lie& lie);

struct Ipv4 {
  IpAddress src = ip("203.0.113.9");
  IpAddress dst = ip("192.0.2.1");
  std::uint8_t protocol = 17;
  std::uint8_t ttl = 64;
  std::uint16_t fragment = 0;  // flags and offset field
  unsigned options = 0;        // bytes
};
Bytes ipv4(const Ipv4& header, const Bytes& payload);

struct Ipv6 {
  IpAddress src = ip("2001:db8:ffff::9");
  IpAddress dst = ip("2001:db8::1");
  std::uint8_t next_header = 17;
  std::uint8_t hop_limit = 64;
};
Bytes ipv6(const Ipv6& header, const Bytes& payload);

struct UdpPorts {
  std::uint16_t src = 4500;
  std::uint16_t dst = 4500;
};
/// `length_off`: how much the length field is off.
Bytes udp(const UdpPorts& ports, const Bytes& payload, int length_off = 0);
/// SPI, sequence number, and `rest` bytes of ciphertext.
Bytes esp(std::uint32_t spi, std::size_t rest = 40);

inline constexpr std::uint16_t kIpv4Type = 0x0800;
inline constexpr std::uint16_t kIpv6Type = 0x86dd;
inline constexpr std::uint16_t kVlanType = 0x8100;
inline constexpr std::uint16_t kVlanProviderType = 0x88a8;

/// The verdict (XDP_*) of one run, and the frame afterwards; -1 and a test failure if the kernel refuses to run it.
struct XdpOutput {
  int verdict = -1;
  Bytes frame;
};
XdpOutput run_xdp(int program_fd, const Bytes& frame);
/// The same of a program that is not to change it.
int run(int program_fd, const Bytes& frame);

/// The verdict (TC_ACT_*) of one run of a tcx program on a socket buffer, and what it marked.
struct SkbInput {
  Bytes frame;
  std::uint32_t mark = 0;
  std::uint32_t gso_segs = 0;  // a superpacket's segments, each with gso_size bytes of payload
  std::uint32_t gso_size = 0;
};
struct SkbOutput {
  int verdict = -1;  // -1 and a test failure if the kernel refuses to run it
  std::uint32_t mark = 0;
  Bytes frame;
};
/// What a test run takes at least: Ethernet and the IP header that its type promises.
std::size_t shortest_skb(const Bytes& frame);
/// A test run's device is the loopback, whose address is all zero: that is "our MAC" there.
Bytes for_loopback(Bytes frame);
SkbOutput run_skb(int program_fd, const SkbInput& input);

/// Counters of one kind of event alone.
xdp::Counters only(gw_xdp_counter counter, std::uint64_t packets = 1);

/// A socket for the programs' maps: the map takes it unbound, and a test run redirects nothing for real.
Fd unbound_xsk();

/// True: packet tests can run here. False after a printed reason.
bool can_run();

}  // namespace gw::packet_test
