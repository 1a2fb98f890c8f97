#include "ebpf/ip/icmp_error.hpp"

#include <algorithm>
#include <cstring>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/inner.hpp"

namespace gw::ip {
namespace {

constexpr std::uint32_t kMaxV4Error = 576;
constexpr std::uint8_t kInternetworkControl = 0xc0;  // RFC 1812 4.3.2.5: precedence 6
constexpr std::uint8_t kTtl = 64;

struct TypeAndCode {
  std::uint8_t type;
  std::uint8_t code;
};

TypeAndCode type_and_code(IcmpError error, Family family) {
  const bool v4 = family == Family::kV4;
  switch (error) {
    case IcmpError::kTooBig: return v4 ? TypeAndCode{3, 4} : TypeAndCode{2, 0};
    case IcmpError::kTimeExceeded: return v4 ? TypeAndCode{11, 0} : TypeAndCode{3, 0};
    case IcmpError::kNoRoute: return v4 ? TypeAndCode{3, 0} : TypeAndCode{1, 0};
    case IcmpError::kUnreachable: return v4 ? TypeAndCode{3, 1} : TypeAndCode{1, 3};
    case IcmpError::kProhibited: return v4 ? TypeAndCode{3, 13} : TypeAndCode{1, 1};
  }
  return {3, 1};
}

/// The queries of RFC 792, RFC 950, RFC 1256 and RFC 8335. Whatever else there is or will be: no answer.
bool is_icmp_query(std::uint8_t type) {
  return type == 0 || (type >= 8 && type <= 10) || (type >= 13 && type <= 18) || type == 42 || type == 43;
}

bool v4_may_be_answered(std::span<const std::uint8_t> packet) {
  const auto src = load_be<std::uint32_t>(&packet[12]);
  const auto dst = load_be<std::uint32_t>(&packet[16]);
  const auto no_host = [](std::uint32_t a) { return a >> 24 == 0 || a >> 24 == 127 || a >= 0xe0000000; };
  if (no_host(src) || dst >= 0xe0000000) return false;
  if ((load_be<std::uint16_t>(&packet[6]) & 0x1fff) != 0) return false;
  if (packet[9] != kProtocolIcmp) return true;
  const std::size_t header = (packet[0] & 0xfu) * 4;
  return packet.size() > header && is_icmp_query(packet[header]);
}

bool v6_may_be_answered(std::span<const std::uint8_t> packet, IcmpError error) {
  const auto src = IpAddress::from_v6(packet.subspan<8, 16>());
  const auto dst = IpAddress::from_v6(packet.subspan<24, 16>());
  if (src.is_multicast() || src.is_unspecified() || src.is_loopback()) return false;
  // RFC 4443 2.4 e.3: path MTU discovery works for multicast, too.
  if (dst.is_multicast() && error != IcmpError::kTooBig) return false;
  const esp::Flow flow = esp::parse_flow(packet, Family::kV6);
  if (flow.l4_offset == 0) return error == IcmpError::kTooBig && flow.fragment;  // could be an ICMP error
  if (flow.protocol != kProtocolIcmpV6) return true;
  constexpr std::uint8_t kFirstQuery = 128;
  constexpr std::uint8_t kRedirect = 137;
  const auto type = static_cast<std::uint8_t>(flow.port[0] >> 8);
  return flow.has_ports && type >= kFirstQuery && type != kRedirect;
}

void write_v4_header(std::uint8_t* h, std::span<const std::uint8_t> packet, const IpAddress& source,
                     std::uint32_t total) {
  std::memset(h, 0, 20);
  h[0] = 0x45;
  h[1] = kInternetworkControl;
  store_be(h + 2, static_cast<std::uint16_t>(total));
  store_be(h + 6, kDontFragment);  // at most 576 bytes: an atomic datagram, whose id means nothing (RFC 6864)
  h[8] = kTtl;
  h[9] = kProtocolIcmp;
  std::ranges::copy(source.bytes(), h + 12);
  std::memcpy(h + 16, &packet[12], 4);
  store_be(h + 10, static_cast<std::uint16_t>(~esp::fold16(esp::sum16(h, 20))));
}

void write_v6_header(std::uint8_t* h, std::span<const std::uint8_t> packet, const IpAddress& source,
                     std::uint32_t total) {
  std::memset(h, 0, 40);
  h[0] = static_cast<std::uint8_t>(0x60 | kInternetworkControl >> 4);
  store_be(h + 4, static_cast<std::uint16_t>(total - 40));
  h[6] = kProtocolIcmpV6;
  h[7] = kTtl;
  std::ranges::copy(source.bytes(), h + 8);
  std::memcpy(h + 24, &packet[8], 16);
}

}  // namespace

bool may_be_answered(std::span<const std::uint8_t> packet, IcmpError error) {
  return packet[0] >> 4 == 4 ? v4_may_be_answered(packet) : v6_may_be_answered(packet, error);
}

std::uint32_t write_icmp_error(std::span<std::uint8_t> out, std::span<const std::uint8_t> packet,
                               const IcmpErrorContent& content) {
  const bool v4 = packet[0] >> 4 == 4;
  const std::uint32_t header = v4 ? 20 : 40;
  const std::uint32_t most = (v4 ? kMaxV4Error : kMaxIcmpError) - header - kIcmpHeader;
  const std::uint32_t quoted = std::min(most, static_cast<std::uint32_t>(packet.size()));
  const std::uint32_t total = header + kIcmpHeader + quoted;
  std::uint8_t* icmp = out.data() + header;
  const auto [type, code] = type_and_code(content.error, v4 ? Family::kV4 : Family::kV6);
  std::memset(icmp, 0, kIcmpHeader);
  icmp[0] = type;
  icmp[1] = code;
  if (content.error == IcmpError::kTooBig) {
    if (v4)
      store_be(icmp + 6, static_cast<std::uint16_t>(content.mtu));  // RFC 1191 4
    else
      store_be(icmp + 4, content.mtu);
  }
  std::memcpy(icmp + kIcmpHeader, packet.data(), quoted);
  std::uint64_t sum = esp::sum16(icmp, kIcmpHeader + quoted);
  if (v4) {
    write_v4_header(out.data(), packet, content.source, total);
  } else {
    write_v6_header(out.data(), packet, content.source, total);
    sum += esp::sum16(out.data() + 8, 32) + kIcmpHeader + quoted + kProtocolIcmpV6;
  }
  store_be(icmp + 2, static_cast<std::uint16_t>(~esp::fold16(sum)));
  return total;
}

}  // namespace gw::ip
