#include "ebpf/control/trace_packet.hpp"

#include <algorithm>
#include <format>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/xdp/dry_run.hpp"

namespace gw::control {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kEsp = 50;
constexpr std::uint8_t kHops = 64;
constexpr std::uint32_t kEspBytes = 40;  // more than the guard reads

std::uint32_t ip_header(const IpAddress& a) { return a.is_v4() ? 20 : 40; }

std::uint32_t transport_header(std::uint8_t protocol) {
  if (protocol == kTcp) return 20;
  return protocol == kUdp || protocol == kIcmp || protocol == kProtocolIcmpV6 ? 8 : 0;
}

bool has_ports(std::uint8_t protocol) { return protocol == kTcp || protocol == kUdp; }

void write_ip(std::vector<std::uint8_t>& p, const TraceQuery& q) {
  if (q.source.is_v4()) {
    p[0] = 0x45;
    store_be(&p[2], static_cast<std::uint16_t>(p.size()));
    if (q.cutting == TraceQuery::Cutting::kForbidden) store_be(&p[6], kDontFragment);
    p[8] = kHops;
    p[9] = q.protocol;
    std::ranges::copy(q.source.bytes(), &p[12]);
    std::ranges::copy(q.destination.bytes(), &p[16]);
    store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), 20))));
    return;
  }
  p[0] = 0x60;
  store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  p[6] = q.protocol;
  p[7] = kHops;
  std::ranges::copy(q.source.bytes(), &p[8]);
  std::ranges::copy(q.destination.bytes(), &p[24]);
}

void write_transport(std::uint8_t* h, std::uint32_t bytes, const TraceQuery& q) {
  if (has_ports(q.protocol)) {
    store_be(h, q.source_port);
    store_be(h + 2, q.destination_port);
  }
  if (q.protocol == kTcp) {
    h[12] = 5 << 4;
    h[13] = 0x10;  // ACK
  }
  if (q.protocol == kUdp) store_be(h + 4, static_cast<std::uint16_t>(bytes));
  if (q.protocol == kIcmp) h[0] = 8;
  if (q.protocol == kProtocolIcmpV6) h[0] = 128;
}

}  // namespace

std::uint32_t least_size(const TraceQuery& q) { return ip_header(q.source) + transport_header(q.protocol); }

Status check_query(const TraceQuery& q) {
  if (q.source.family() != q.destination.family())
    return fail_field("destination", std::format("{} and {} are of different families; both IPv4 or both IPv6",
                                                 q.source.to_string(), q.destination.to_string()));
  if (q.source_port != 0 && !has_ports(q.protocol))
    return fail_field("source_port", std::format("protocol {} has no ports; TCP and UDP have", q.protocol));
  if (q.destination_port != 0 && !has_ports(q.protocol))
    return fail_field("destination_port", std::format("protocol {} has no ports; TCP and UDP have", q.protocol));
  if (q.size < least_size(q) || q.size > xdp::DryRun::kMaxPacket)
    return fail_field("size", std::format("{} is not between {} (the headers alone) and {} bytes", q.size,
                                          least_size(q), xdp::DryRun::kMaxPacket));
  return {};
}

std::vector<std::uint8_t> make_packet(const TraceQuery& q) {
  std::vector<std::uint8_t> packet(q.size);
  write_ip(packet, q);
  const std::uint32_t at = ip_header(q.source);
  write_transport(packet.data() + at, q.size - at, q);
  return packet;
}

std::vector<std::uint8_t> make_outer(const OuterQuery& o) {
  const bool udp = o.source_port != 0 || o.destination_port != 0;
  TraceQuery q{.source = o.source,
               .destination = o.destination,
               .protocol = udp ? kUdp : kEsp,
               .source_port = o.source_port,
               .destination_port = o.destination_port};
  const std::uint32_t before = least_size(q);
  q.size = before + kEspBytes;
  std::vector<std::uint8_t> packet = make_packet(q);
  store_be(packet.data() + before, o.spi);
  return packet;
}

}  // namespace gw::control
