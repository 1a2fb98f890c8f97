// Packets that cannot go into a tunnel as they are: their senders are told (ICMP), or they are cut. Before encryption
// if the tunnel's setting says so (RFC 4301 8.2), after it only where the path has no room for what every inner host
// may count on (RFC 8200 5; RFC 2473 7.1).
#include <algorithm>
#include <array>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/ip/fragment.hpp"
#include "ebpf/ip/icmp_error.hpp"
#include "ebpf/ip/path_mtu.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/limits.hpp"

namespace gw::worker {
namespace {

Family family_of(const esp::Packet& p) { return p.data()[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

std::optional<ip::IcmpError> error_for(gw_drop reason) {
  switch (reason) {
    case GW_DROP_TOO_BIG: return ip::IcmpError::kTooBig;
    case GW_DROP_TTL: return ip::IcmpError::kTimeExceeded;
    case GW_DROP_NO_ROUTE: return ip::IcmpError::kNoRoute;
    case GW_DROP_NO_TUNNEL:
    case GW_DROP_NO_OUTBOUND_SA: return ip::IcmpError::kUnreachable;
    case GW_DROP_TS_MISMATCH: return ip::IcmpError::kProhibited;  // RFC 4301 7.4
    default: return std::nullopt;
  }
}

/// A fragment of lengths that no sender makes.
bool is_malformed(const esp::Packet& p) {
  ip::Fragment itself;
  return ip::parse_fragment(p.bytes(), itself) == ip::FragmentFault::kMalformed;
}

}  // namespace

/// The end of a packet that was to be encapsulated; it begins at its IP header.
void DataPath::refuse(gw_drop reason, const esp::Packet& p, const Slot& s) {
  if (reason == GW_DROP_TOO_BIG && may_cut(p, s)) return cut_and_encapsulate(p, s);
  tell_sender(reason, p, s);
  drop(reason, s, p);
}

void DataPath::tell_sender(gw_drop reason, const esp::Packet& p, const Slot& s) {
  const auto error = error_for(reason);
  if (!error || !ip::may_be_answered(p.bytes(), *error)) return;
  const bool v4 = family_of(p) == Family::kV4;
  const IpAddress sender = v4 ? IpAddress::from_v4(load_be<std::uint32_t>(p.data() + 12))
                              : IpAddress::from_v6(std::span<const std::uint8_t, 16>(p.data() + 8, 16));
  if (!icmp_limit_.take(sender, parts_.clock.now())) return;
  ip::IcmpErrorContent content{.error = *error};
  if (*error == ip::IcmpError::kTooBig) content.mtu = inner_limit(tunnels_[s.tunnel].config, family_of(p));
  std::array<std::uint8_t, ip::kMaxIcmpError> packet;
  const std::uint32_t length = ip::write_icmp_error(packet, p.bytes(), content);
  // The kernel knows the way to the sender and which of our addresses it sees: it writes the IP header.
  const std::uint32_t header = v4 ? 20 : 40;
  if (parts_.raw.send_icmp(sender, std::span(packet).subspan(header, length - header))) parts_.counters.icmp_sent.add();
}

// --- cut before encryption -----------------------------------------------------------------------------

bool DataPath::may_cut(const esp::Packet& p, const Slot& s) const {
  return p.out != nullptr && family_of(p) == Family::kV4 &&
         tunnels_[s.tunnel].config.fragmentation == InnerFragmentation::kCut &&
         (load_be<std::uint16_t>(p.data() + 6) & kDontFragment) == 0;
}

/// Each piece gets a frame and goes its own way; a piece that finds none is a drop.
void DataPath::cut_and_encapsulate(const esp::Packet& p, const Slot& s) {
  const std::uint32_t room = parts_.frames.memory().frame_bytes() - kHeadroom - esp::kMaxTailroom;
  const std::uint32_t mtu = std::min(inner_limit(tunnels_[s.tunnel].config, Family::kV4), room);
  auto fragmenter = ip::FragmenterV4::make(p.bytes(), mtu);
  if (!fragmenter) return drop(is_malformed(p) ? GW_DROP_MALFORMED_INNER : GW_DROP_TOO_BIG, s, p);
  const FrameMemory& memory = parts_.frames.memory();
  constexpr std::size_t kTogether = 8;
  std::array<esp::Packet, kTogether> pieces;
  std::array<Slot, kTogether> slots;
  for (bool more = true; more;) {
    std::size_t n = 0;
    while (n < kTogether) {
      FrameAddress frame = 0;
      if (!parts_.frames.take_for(mtu, frame)) {
        parts_.tunnels[s.tunnel].out_drops[GW_DROP_NO_FRAME].add();
        more = false;
        break;
      }
      std::uint8_t* const base = memory.at(frame);
      const std::uint32_t length = fragmenter->next({base + kHeadroom, mtu});
      if (length == 0) {
        parts_.frames.give(frame);
        more = false;
        break;
      }
      pieces[n] = {
          .base = base, .capacity = memory.capacity(frame), .offset = kHeadroom, .length = length, .out = p.out};
      slots[n] = s;
      slots[n++].frame = frame;
    }
    encapsulate(std::span(pieces).first(n), slots);
  }
  parts_.frames.give(s.frame);
}

// --- cut after encryption ------------------------------------------------------------------------------

/// What the way to the peer has room for, as far as we know.
std::uint32_t DataPath::outer_mtu(const Slot& s) const {
  const std::uint32_t path = tunnels_[s.tunnel].config.path_mtu;
  return path == 0 ? parts_.wan.mtu() : std::min(path, parts_.wan.mtu());
}

/// A packet of ours over IPv4 that may be cut gets an id that no other one between its addresses has. What the codec
/// wrote is the SA's own, and a pair of addresses may have several.
void DataPath::number_for_fragments(esp::Packet& p) {
  std::uint8_t* const h = p.data();
  store_be(h + 4, parts_.shared.fragment_ids.next_v4({h + 12, 8}));
  store_be(h + 10, std::uint16_t{0});
  store_be(h + 10, static_cast<std::uint16_t>(~esp::fold16(esp::sum16(h, 20))));
}

/// The kernel sends the pieces: this is rare, and works on every kind of port. There is a way: transmit() has looked.
void DataPath::transmit_in_fragments(esp::Packet& p, const Slot& s) {
  if (!may_still_send(s)) return drop(GW_DROP_STANDBY, s, p);
  const int ifindex = kernels_way(s);
  std::array<std::uint8_t, kLargeFrameBytes> piece;
  // Never more than the buffer takes; smaller pieces are as good.
  const std::uint32_t mtu = std::min(outer_mtu(s), static_cast<std::uint32_t>(piece.size()));
  gw_drop lost = GW_DROP_NONE;
  const auto send_all = [&](auto fragmenter) {
    if (!fragmenter) {
      lost = GW_DROP_TOO_BIG;
      return;
    }
    // Without one of its pieces the packet is nothing: what follows need not be sent.
    for (std::uint32_t n = fragmenter->next(piece); n != 0 && lost == GW_DROP_NONE; n = fragmenter->next(piece))
      lost = parts_.raw.send(std::span(piece).first(n), {ifindex});
  };
  if (family_of(p) == Family::kV4) {
    store_be(p.data() + 6, std::uint16_t{0});  // routers may cut further
    number_for_fragments(p);
    send_all(ip::FragmenterV4::make(p.bytes(), mtu));
  } else {
    send_all(ip::FragmenterV6::make(p.bytes(), mtu, parts_.shared.fragment_ids.next(p.bytes().subspan(8, 32))));
  }
  if (lost != GW_DROP_NONE) return drop(lost, s, p);
  if (tap_.wants(capture::Point::kOuter)) [[unlikely]]
    tap_sent_by_kernel(p, s);
  count_out(s.tunnel, s.inner_bytes);
  parts_.frames.give(s.frame);
}

}  // namespace gw::worker
