// What a capture sees of the packet path (ADR 23): each packet as it is at that moment, from an IP header on. Nothing
// of this runs while there is no capture.
#include <array>
#include <cstring>
#include <functional>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/outer.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/link_layer.hpp"

namespace gw::worker {
namespace {

using capture::Direction;
using capture::Mark;
using capture::OuterHeader;
using capture::Point;

static_assert(capture::Tap::kKept >= kBurst);

/// What is in front of an ESP header.
struct Front {
  std::span<const std::uint8_t> bytes;
  OuterHeader header = OuterHeader::kAsSeen;
  std::array<std::uint8_t, kIpv6Header + kUdpHeader> rebuilt{};
};

/// The header is in the buffer: `source` points into it.
bool has_header(const esp::Packet& p, std::size_t source_at) {
  const auto at = [](const std::uint8_t* x) { return reinterpret_cast<std::uintptr_t>(x); };
  return p.source != nullptr && at(p.source) >= at(p.base) + source_at && at(p.source) < at(p.data());
}

void rebuild(Front& front, const esp::Packet& p, const IpAddress& dst) {
  const bool v4 = dst.is_v4();
  const bool udp = p.source_port != 0;
  const std::uint32_t ip = v4 ? kIpv4Header : kIpv6Header;
  const std::uint32_t payload = (udp ? kUdpHeader : 0) + p.length;
  std::uint8_t* const h = front.rebuilt.data();
  const std::uint8_t protocol = udp ? kProtocolUdp : kProtocolEsp;
  const auto destination = dst.bytes();
  if (v4) {
    h[0] = 0x45;
    h[1] = p.traffic_class;
    store_be(h + 2, static_cast<std::uint16_t>(ip + payload));
    h[9] = protocol;
  } else {
    store_be(h, 0x60000000U | std::uint32_t{p.traffic_class} << 20);
    store_be(h + 4, static_cast<std::uint16_t>(payload));
    h[6] = protocol;
  }
  const std::size_t bytes = v4 ? 4 : 16;
  if (p.source) std::memcpy(h + (v4 ? 12 : 8), p.source, bytes);
  std::memcpy(h + (v4 ? 16 : 24), destination.data(), bytes);
  if (v4) store_be(h + 10, static_cast<std::uint16_t>(~esp::fold16(esp::sum16(h, kIpv4Header))));
  if (udp) {
    store_be(h + ip, p.source_port);
    store_be(h + ip + 2, esp::kNatTraversalPort);
    store_be(h + ip + 4, static_cast<std::uint16_t>(payload));
  }
  front.header = OuterHeader::kRebuilt;
  front.bytes = {h, ip + (udp ? kUdpHeader : 0)};
}

/// `p` begins at its ESP header.
void find_front(Front& front, const esp::Packet& p, const IpAddress& dst) {
  const std::size_t source_at = dst.is_v4() ? 12 : 8;
  if (!has_header(p, source_at)) return rebuild(front, p, dst);
  const std::uint8_t* const begin = p.source - source_at;
  front.bytes = {begin, static_cast<std::size_t>(p.data() - begin)};
}

/// From the IP header on; of a frame that has none, what is behind the MAC addresses and the type.
std::span<const std::uint8_t> without_link(esp::Packet p) {
  if (skip_link_layer(p)) return p.bytes();
  return p.bytes().subspan(std::min<std::size_t>(p.length, kEthernetBytes));
}

std::span<const std::uint8_t> ip_part(const Port& port, const Outgoing& out) {
  const esp::Packet p{.base = out.data, .capacity = out.length, .length = out.length};
  return port.framing() == Port::Framing::kEthernet ? without_link(p) : p.bytes();
}

}  // namespace

std::uint32_t DataPath::tunnel_id(TunnelSlot slot) const {
  if (slot == kNoTunnel) return 0;
  const std::uint32_t id = tunnels_[slot].config.id;
  return id != 0 ? id : tap_.tunnel_id(slot);  // another worker's
}

Mark DataPath::mark(Point point, const Slot& s) const {
  Mark m{.point = point, .tunnel = tunnel_id(s.tunnel)};
  if (s.in != nullptr) {
    m.direction = Direction::kIn;
    m.spi = s.in->sa->spi();
  } else if (s.tunnel != kNoTunnel) {
    m.direction = Direction::kOut;
    m.spi = tunnels_[s.tunnel].active.key.spi;
  }
  m.unix_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(wall_.time_since_epoch()).count();
  return m;
}

void DataPath::tap_arrived(const esp::Packet& p, const PacketMeta& meta, const Inbound* in) {
  Mark m = mark(Point::kOuter, {.tunnel = in ? in->tunnel : kNoTunnel});
  m.direction = Direction::kIn;
  m.spi = meta.key.spi;
  Front front;
  find_front(front, p, meta.key.dst);
  m.header = front.header;
  tap_.put(m, front.bytes, p.bytes());
}

/// slots_[i] belongs to packets[i].
void DataPath::tap_decapsulated(std::span<const esp::Packet> packets) {
  for (std::size_t i = 0; i < packets.size(); ++i)
    if (packets[i].drop == GW_DROP_NONE) tap_.put(mark(Point::kInner, slots_[i]), {}, packets[i].bytes());
}

void DataPath::tap_clear(std::span<const esp::Packet> packets, std::span<const Slot> slots) {
  for (std::size_t i = 0; i < packets.size(); ++i) tap_.put(mark(Point::kInner, slots[i]), {}, packets[i].bytes());
}

void DataPath::tap_sent(std::span<const Outgoing> packets) {
  for (const Outgoing& out : packets) {
    if (out.lost != GW_DROP_NONE) continue;
    Mark m = mark(Point::kOuter, {.tunnel = out.tunnel});
    m.spi = out.sa->spi();
    if (parts_.wan.framing() == Port::Framing::kIp) m.header = OuterHeader::kRebuilt;
    tap_.put(m, {}, ip_part(parts_.wan, out));
  }
}

void DataPath::tap_sent_by_kernel(const esp::Packet& p, const Slot& s) {
  tap_.put(mark(Point::kOuter, s), {}, p.bytes());
}

void DataPath::tap_drop(gw_drop reason, const Slot& s, const esp::Packet& p, const PacketMeta& meta) {
  Mark m = mark(Point::kDrops, s);
  m.reason = reason;
  if (meta.layer != Layer::kEsp) return tap_.put(m, {}, meta.layer == Layer::kIp ? p.bytes() : without_link(p));
  m.direction = Direction::kIn;
  m.spi = meta.key.spi;
  Front front;
  find_front(front, p, meta.key.dst);
  m.header = front.header;
  tap_.put(m, front.bytes, p.bytes());
}

/// The packets of a burst before the codec decrypts them in place.
void DataPath::keep_for_tap(std::span<const esp::Packet> packets) {
  for (std::size_t i = 0; i < packets.size(); ++i) tap_.keep(i, packets[i].bytes());
}

/// What was found wrong with the clear packet shows in the clear packet, all else in ESP as it came.
void DataPath::tap_drop_decapsulated(gw_drop reason, const Slot& s, const esp::Packet& p, std::size_t i) {
  Mark m = mark(Point::kDrops, s);
  m.reason = reason;
  if (reason == GW_DROP_ECN) return tap_.put(m, {}, p.bytes());
  if (reason == GW_DROP_TS_MISMATCH) {
    const auto text = p.bytes().subspan(esp::kEspHeaderBytes + p.in->transform().iv_bytes);
    if (const auto inner = esp::check_inner(text)) return tap_.put(m, {}, text.first(inner->total_length));
  }
  Front front;
  find_front(front, p, *IpAddress::from_bytes(p.in->dst()));
  m.header = front.header;
  tap_.put_kept(m, front.bytes, i);
}

void DataPath::tap_drop(const Port& port, const Outgoing& out, gw_drop reason) {
  Mark m = mark(Point::kDrops, {.tunnel = out.tunnel});
  m.reason = reason;
  m.spi = 0;
  if (&port == &parts_.wan)
    m.spi = out.sa->spi();
  else if (out.tunnel != kNoTunnel)
    m.direction = Direction::kIn;
  tap_.put(m, {}, ip_part(port, out));
}

}  // namespace gw::worker
