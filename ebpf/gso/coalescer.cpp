#include "ebpf/gso/coalescer.hpp"

#include <cstring>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/gso/checksum.hpp"

namespace gw::gso {
namespace {

constexpr std::uint8_t kAck = 0x10;
constexpr std::uint8_t kPsh = 0x08;

std::size_t ip_header(Family family) { return family == Family::kV4 ? kIpv4Header : kIpv6Header; }

bool same_bytes(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

bool same(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, std::size_t from, std::size_t bytes) {
  return std::memcmp(&a[from], &b[from], bytes) == 0;
}

Family family_of(std::span<const std::uint8_t> packet) { return packet[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

std::span<const std::uint8_t> addresses(std::span<const std::uint8_t> packet, Family family) {
  return family == Family::kV4 ? packet.subspan(12, 8) : packet.subspan(8, 32);
}

std::uint64_t pseudo_header(std::span<const std::uint8_t> packet, Family family) {
  const auto both = addresses(packet, family);
  const std::uint8_t protocol = packet[family == Family::kV4 ? 9 : 6];
  return esp::sum16(both.data(), both.size()) + protocol + packet.size() - ip_header(family);
}

bool checksum_right(std::span<const std::uint8_t> packet, Family family) {
  const auto l4 = packet.subspan(ip_header(family));
  return esp::fold16(pseudo_header(packet, family) + sum_of(l4.data(), l4.size())) == 0xffff;
}

/// Everything of the IP header that segmentation repeats; lengths, ids and checksum apart.
bool same_ip(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, Family family) {
  if (family == Family::kV6) return same(a, b, 0, 4) && same(a, b, 6, 34);
  return same(a, b, 0, 2) && same(a, b, 6, 4) && same(a, b, 12, 8);
}

/// The id that segmentation gives to packet number `n` of a superpacket, or one that means nothing.
bool id_follows(std::span<const std::uint8_t> first, std::span<const std::uint8_t> packet, std::uint32_t n) {
  const auto start = load_be<std::uint16_t>(&first[4]);
  const auto id = load_be<std::uint16_t>(&packet[4]);
  if (id == static_cast<std::uint16_t>(start + n)) return true;
  return id == start && (load_be<std::uint16_t>(&packet[6]) & kDontFragment) != 0;
}

std::uint32_t hash_of(std::span<const std::uint8_t> packet, Family family) {
  // Spread over 128 buckets of one burst; a collision costs one comparison.
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  std::uint64_t h = load_be<std::uint32_t>(&packet[ip_header(family)]);  // ports
  const auto both = addresses(packet, family);
  for (std::size_t i = 0; i < both.size(); i += 8) h = (h ^ load_be<std::uint64_t>(&both[i])) * kOdd;
  return static_cast<std::uint32_t>(h >> 32);
}

}  // namespace

void Coalescer::begin() {
  count_ = 0;
  flows_count_ = 0;
  buckets_.fill(kNone);
}

/// What the packet is; of which flow, if it has ports.
Coalescer::Kind Coalescer::inspect(std::span<const std::uint8_t> packet, Segment& s) const {
  s.family = family_of(packet);
  std::uint8_t protocol = packet[6];
  if (s.family == Family::kV4) {
    constexpr std::uint16_t kFragment = 0x3fff;  // more fragments, or an offset
    if (packet[0] != 0x45 || (load_be<std::uint16_t>(&packet[6]) & kFragment) != 0) return Kind::kPortless;
    protocol = packet[9];
  }
  const auto l4 = packet.subspan(ip_header(s.family));
  s.tcp = protocol == kProtocolTcp;
  if (l4.size() < kUdpHeader || (!s.tcp && protocol != kProtocolUdp)) return Kind::kPortless;
  s.hash = hash_of(packet, s.family);
  return s.tcp ? inspect_tcp(l4, s) : inspect_udp(l4, s);
}

Coalescer::Kind Coalescer::inspect_udp(std::span<const std::uint8_t> l4, Segment& s) const {
  if (udp_ == UdpMerging::kNo || l4.size() == kUdpHeader) return Kind::kAlone;
  if (load_be<std::uint16_t>(&l4[4]) != l4.size() || load_be<std::uint16_t>(&l4[kUdpChecksum]) == 0)
    return Kind::kAlone;
  s.header_length = static_cast<std::uint8_t>(ip_header(s.family) + kUdpHeader);
  s.payload = static_cast<std::uint16_t>(l4.size() - kUdpHeader);
  return Kind::kMergeable;
}

Coalescer::Kind Coalescer::inspect_tcp(std::span<const std::uint8_t> l4, Segment& s) const {
  if (l4.size() < kTcpHeader) return Kind::kAlone;
  const std::size_t header = (l4[12] >> 4) * std::size_t{4};
  if (header < kTcpHeader || header >= l4.size()) return Kind::kAlone;  // no payload: nothing to merge
  const std::uint8_t flags = l4[13];
  if ((flags & ~kPsh) != kAck || (l4[12] & 0x0f) != 0) return Kind::kAlone;
  s.last = (flags & kPsh) != 0;
  s.header_length = static_cast<std::uint8_t>(ip_header(s.family) + header);
  s.payload = static_cast<std::uint16_t>(l4.size() - header);
  return Kind::kMergeable;
}

/// The place in the table where the packet's flow is, or would be.
std::uint8_t* Coalescer::bucket_of(std::span<const std::uint8_t> packet, const Segment& s) {
  const std::size_t ip = ip_header(s.family);
  for (std::size_t i = s.hash % kBuckets;; i = (i + 1) % kBuckets) {
    std::uint8_t& bucket = buckets_[i];
    if (bucket == kNone) return &bucket;
    const Superflow& flow = flows_[bucket];
    const auto other = packets_[flow.first].bytes;
    if (flow.segment.hash == s.hash && flow.segment.family == s.family && flow.segment.tcp == s.tcp &&
        same_bytes(addresses(packet, s.family), addresses(other, s.family)) && same(packet, other, ip, 4))
      return &bucket;
  }
}

void Coalescer::open(std::uint8_t packet, const Segment& s, State state) {
  Superflow& flow = flows_[flows_count_++];
  const auto bytes = packets_[packet].bytes;
  flow = {.state = state, .first = packet, .last = packet, .segment = s};
  flow.bytes = static_cast<std::uint32_t>(bytes.size());
  if (state == State::kOpen && s.tcp)
    flow.next_sequence = load_be<std::uint32_t>(&bytes[ip_header(s.family) + 4]) + s.payload;
}

void Coalescer::append(Superflow& flow, std::uint8_t packet, const Segment& s) {
  packets_[flow.last].next = packet;
  flow.last = packet;
  ++flow.packets;
  flow.bytes += s.payload;
  flow.next_sequence += s.payload;
  const bool full = flow.packets == kMaxSegments || flow.bytes + flow.segment.payload > kMaxBytes;
  if (full || s.last || s.payload < flow.segment.payload) flow.state = State::kClosed;
}

/// By the headers alone. Checksums are another matter.
bool Coalescer::continues(const Superflow& flow, const Packet& packet, const Segment& s) const {
  const auto first = packets_[flow.first].bytes;
  const std::size_t ip = ip_header(s.family);
  if (s.header_length != flow.segment.header_length || s.payload > flow.segment.payload) return false;
  if (!same_ip(first, packet.bytes, s.family)) return false;
  if (s.family == Family::kV4) {
    // One way or the other for all: the second packet decides.
    const auto start = load_be<std::uint16_t>(&first[4]);
    const auto last = load_be<std::uint16_t>(&packets_[flow.last].bytes[4]);
    const auto id = load_be<std::uint16_t>(&packet.bytes[4]);
    const bool constant = flow.packets > 1 && last == start;
    if (!id_follows(first, packet.bytes, flow.packets) || (flow.packets > 1 && constant != (id == start))) return false;
  }
  if (!s.tcp) return true;
  // Ports are the flow's. Acknowledgement; data offset and flags but for PSH; window; urgent pointer, options.
  return load_be<std::uint32_t>(&packet.bytes[ip + 4]) == flow.next_sequence && same(first, packet.bytes, ip + 8, 5) &&
         same(first, packet.bytes, ip + 14, 2) && same(first, packet.bytes, ip + 18, s.header_length - ip - 18);
}

/// A fragment, or what else has no ports, may belong to any flow between its addresses: none overtakes it.
void Coalescer::close_between_addresses_of(std::span<const std::uint8_t> packet) {
  const Family family = family_of(packet);
  for (std::size_t i = 0; i < flows_count_; ++i) {
    Superflow& flow = flows_[i];
    if (flow.state == State::kOpen && flow.segment.family == family &&
        same_bytes(addresses(packet, family), addresses(packets_[flow.first].bytes, family)))
      flow.state = State::kClosed;
  }
}

/// Checksums are looked at only here: a packet that stays alone needs no look at its bytes.
bool Coalescer::join(Superflow& flow, std::uint8_t number, const Segment& s) {
  const Packet& packet = packets_[number];
  if (flow.bytes + s.payload > kMaxBytes || !continues(flow, packet, s)) return false;
  if (flow.first_checksum == Checksum::kUnknown) {
    if (!checksum_right(packets_[flow.first].bytes, s.family)) return false;
    flow.first_checksum = Checksum::kRight;
  }
  if (!checksum_right(packet.bytes, s.family)) return false;
  append(flow, number, s);
  return true;
}

void Coalescer::add(std::span<std::uint8_t> bytes) {
  const auto number = static_cast<std::uint8_t>(count_++);
  packets_[number] = {.bytes = bytes};
  Segment s;
  const Kind kind = inspect(bytes, s);
  if (kind == Kind::kPortless) {
    close_between_addresses_of(bytes);
    return open(number, s, State::kClosed);
  }
  packets_[number].header_length = s.header_length;
  std::uint8_t& bucket = *bucket_of(bytes, s);
  if (bucket != kNone) {
    Superflow& flow = flows_[bucket];
    if (kind == Kind::kMergeable && flow.state == State::kOpen && join(flow, number, s)) return;
    flow.state = State::kClosed;
  }
  bucket = static_cast<std::uint8_t>(flows_count_);
  open(number, s, kind == Kind::kMergeable && !s.last ? State::kOpen : State::kClosed);
}

/// The first packet's header becomes the superpacket's: length, PSH of the last, checksums for the kernel.
void Coalescer::finish_headers(const Superflow& flow, VnetHeader& header) {
  const Segment& s = flow.segment;
  const auto first = packets_[flow.first].bytes;
  const std::size_t ip = ip_header(s.family);
  const std::uint32_t l4_length = flow.bytes - static_cast<std::uint32_t>(ip);
  if (s.family == Family::kV4) {
    store_be(&first[2], static_cast<std::uint16_t>(flow.bytes));
    store_be(&first[10], std::uint16_t{0});
    store_be(&first[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(first.data(), kIpv4Header))));
  } else {
    store_be(&first[4], static_cast<std::uint16_t>(l4_length));
  }
  const auto both = addresses(first, s.family);
  const std::uint64_t pseudo = esp::sum16(both.data(), both.size()) + (s.tcp ? kProtocolTcp : kProtocolUdp) + l4_length;
  const std::uint16_t at = s.tcp ? kTcpChecksum : kUdpChecksum;
  store_be(&first[ip + at], esp::fold16(pseudo));
  if (s.tcp)
    first[ip + 13] |= static_cast<std::uint8_t>(packets_[flow.last].bytes[ip + 13] & kPsh);
  else
    store_be(&first[ip + 4], static_cast<std::uint16_t>(l4_length));

  header.flags = kVnetNeedsChecksum;
  header.gso_type = kVnetUdp;
  if (s.tcp) header.gso_type = s.family == Family::kV4 ? kVnetTcp4 : kVnetTcp6;
  header.hdr_len = s.header_length;
  header.gso_size = s.payload;
  header.csum_start = static_cast<std::uint16_t>(ip);
  header.csum_offset = at;
}

std::span<const Coalescer::Write> Coalescer::finish() {
  std::size_t part = 0;
  std::size_t packet = 0;
  for (std::size_t i = 0; i < flows_count_; ++i) {
    const Superflow& flow = flows_[i];
    const std::size_t first_part = part;
    const std::size_t first_packet = packet;
    headers_[i] = {};
    if (flow.packets > 1) finish_headers(flow, headers_[i]);
    parts_[part++] = {&headers_[i], sizeof headers_[i]};
    for (std::uint8_t n = flow.first; n != kNone; n = packets_[n].next) {
      const Packet& p = packets_[n];
      const std::size_t skip = n == flow.first ? 0 : p.header_length;
      parts_[part++] = {p.bytes.data() + skip, p.bytes.size() - skip};
      which_[packet++] = n;
    }
    writes_[i] = {std::span(parts_).subspan(first_part, part - first_part),
                  std::span(which_).subspan(first_packet, packet - first_packet), flow.bytes};
  }
  return std::span(writes_).first(flows_count_);
}

}  // namespace gw::gso
