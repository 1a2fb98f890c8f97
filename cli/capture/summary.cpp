#include "cli/capture/summary.hpp"

#include <array>
#include <format>
#include <optional>
#include <string_view>

#include "base/ip.hpp"
#include "base/ip_headers.hpp"
#include "base/wire.hpp"

namespace gw::cli::capture {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint16_t kNatTraversalPort = 4500;  // RFC 3948
constexpr std::uint16_t kIkePort = 500;

struct Header {
  IpAddress src;
  IpAddress dst;
  std::uint8_t protocol = 0;
  std::uint32_t fragment = 0;  // offset in bytes
  bool more = false;           // fragments
  std::uint32_t payload = 0;   // bytes of what it carries, by its own length
  Bytes rest;                  // of that, what there is
};

std::optional<Header> parse_v4(Bytes b) {
  if (b.size() < kIpv4Header) return std::nullopt;
  const std::uint32_t header = (b[0] & 0xfU) * 4;
  const std::uint32_t total = load_be<std::uint16_t>(&b[2]);
  if (header < kIpv4Header || header > b.size() || total < header) return std::nullopt;
  const auto field = load_be<std::uint16_t>(&b[6]);
  return Header{.src = IpAddress::from_v4(load_be<std::uint32_t>(&b[12])),
                .dst = IpAddress::from_v4(load_be<std::uint32_t>(&b[16])),
                .protocol = b[9],
                .fragment = (field & kFragmentOffset) * 8U,
                .more = (field & kMoreFragments) != 0,
                .payload = total - header,
                .rest = b.subspan(header)};
}

bool is_extension(std::uint8_t next) { return next == 0 || next == 43 || next == 60; }  // RFC 8200 4.1

std::optional<Header> parse_v6(Bytes b) {
  if (b.size() < kIpv6Header) return std::nullopt;
  Header h{.src = IpAddress::from_v6(b.subspan<8, 16>()),
           .dst = IpAddress::from_v6(b.subspan<24, 16>()),
           .protocol = b[6],
           .payload = load_be<std::uint16_t>(&b[4]),
           .rest = b.subspan(kIpv6Header)};
  while (h.rest.size() >= 8 && (is_extension(h.protocol) || h.protocol == kProtocolFragment)) {
    const bool fragment = h.protocol == kProtocolFragment;
    const std::uint32_t length = fragment ? 8 : (h.rest[1] + 1U) * 8;
    if (fragment) {
      const auto field = load_be<std::uint16_t>(&h.rest[2]);
      h.fragment = field & 0xfff8U;
      h.more = (field & 1U) != 0;
    }
    if (length > h.rest.size() || length > h.payload) break;
    h.protocol = h.rest[0];
    h.rest = h.rest.subspan(length);
    h.payload -= length;
  }
  return h;
}

std::string esp(Bytes b, std::uint32_t length) {
  if (b.size() < 8) return std::format("ESP, length {}", length);
  return std::format("ESP(spi=0x{:08x},seq=0x{:x}), length {}", load_be<std::uint32_t>(b.data()),
                     load_be<std::uint32_t>(&b[4]), length);
}

std::string tcp(Bytes b, std::uint32_t length) {
  static constexpr std::array<std::pair<std::uint8_t, char>, 8> kFlags{
      {{0x02, 'S'}, {0x01, 'F'}, {0x04, 'R'}, {0x08, 'P'}, {0x20, 'U'}, {0x40, 'E'}, {0x80, 'W'}, {0x10, '.'}}};
  if (b.size() < 14) return std::format("TCP, length {}", length);
  std::string flags;
  for (const auto& [bit, letter] : kFlags)
    if ((b[13] & bit) != 0) flags += letter;
  const std::uint32_t header = (b[12] >> 4) * 4U;
  return std::format("TCP [{}], seq {}, ack {}, length {}", flags.empty() ? "none" : flags,
                     load_be<std::uint32_t>(&b[4]), load_be<std::uint32_t>(&b[8]),
                     length > header ? length - header : 0);
}

std::string udp(Bytes b, std::uint32_t length) {
  const std::uint32_t payload = length > kUdpHeader ? length - kUdpHeader : 0;
  if (b.size() < kUdpHeader) return std::format("UDP, length {}", payload);
  const auto src = load_be<std::uint16_t>(b.data());
  const auto dst = load_be<std::uint16_t>(&b[2]);
  const Bytes content = b.subspan(kUdpHeader);
  if (src == kNatTraversalPort || dst == kNatTraversalPort) {
    if (payload == 1) return "UDP keepalive";
    if (content.size() >= 4 && load_be<std::uint32_t>(content.data()) != 0) return "UDP " + esp(content, payload);
    return std::format("UDP IKE, length {}", payload);
  }
  if (src == kIkePort || dst == kIkePort) return std::format("UDP IKE, length {}", payload);
  return std::format("UDP, length {}", payload);
}

std::string icmp(Bytes b, std::uint32_t length, bool v6) {
  if (b.size() < 8) return std::format("ICMP{}, length {}", v6 ? "v6" : "", length);
  const bool request = b[0] == (v6 ? 128 : 8);
  if (request || b[0] == (v6 ? 129 : 0))
    return std::format("ICMP{} echo {}, id {}, seq {}, length {}", v6 ? "v6" : "", request ? "request" : "reply",
                       load_be<std::uint16_t>(&b[4]), load_be<std::uint16_t>(&b[6]), length);
  return std::format("ICMP{} type {} code {}, length {}", v6 ? "v6" : "", b[0], b[1], length);
}

std::string content_of(const Header& h) {
  if (h.fragment != 0)
    return std::format("fragment of protocol {} at {}{}, length {}", h.protocol, h.fragment,
                       h.more ? ", more follow" : "", h.payload);
  const std::string first = h.more ? ", first fragment" : "";
  switch (h.protocol) {
    case kProtocolTcp: return tcp(h.rest, h.payload) + first;
    case kProtocolUdp: return udp(h.rest, h.payload) + first;
    case kProtocolIcmp: return icmp(h.rest, h.payload, false) + first;
    case kProtocolIcmpV6: return icmp(h.rest, h.payload, true) + first;
    case kProtocolEsp: return esp(h.rest, h.payload) + first;
    default: return std::format("protocol {}, length {}", h.protocol, h.payload) + first;
  }
}

bool has_ports(const Header& h) {
  return h.fragment == 0 && h.rest.size() >= 4 && (h.protocol == kProtocolTcp || h.protocol == kProtocolUdp);
}

}  // namespace

std::string summarize(Bytes bytes, std::uint32_t length) {
  std::optional<Header> h;
  if (!bytes.empty() && bytes[0] >> 4 == 4) h = parse_v4(bytes);
  if (!bytes.empty() && bytes[0] >> 4 == 6) h = parse_v6(bytes);
  if (!h) return std::format("no IP packet, length {}", length);
  const bool ports = has_ports(*h);
  const auto port = [&](std::size_t at) {
    return ports ? std::format(".{}", load_be<std::uint16_t>(&h->rest[at])) : std::string();
  };
  return std::format("{}{} > {}{}: {}", h->src.to_string(), port(0), h->dst.to_string(), port(2), content_of(*h));
}

}  // namespace gw::cli::capture
