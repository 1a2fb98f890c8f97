// Outer fragments on an xsk port: collected until the packet is whole, then worked on as if it had come so. Other UDP
// than ESP gets here, too (XDP cannot tell later fragments apart), and goes to the kernel in one piece.
#include <cstring>
#include <span>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/outer.hpp"
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {
namespace {

constexpr std::uint32_t kMarkerBytes = 4;

IpAddress source_of(const esp::Packet& p) {
  if (p.data()[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(p.data() + 12));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(p.data() + 8, 16));
}

/// UDP to another port than 4500, or IKE there: the non-ESP marker (RFC 3948 2.2).
bool is_for_kernel(std::span<const std::uint8_t> packet) {
  const std::uint8_t* h = packet.data();
  const bool v4 = h[0] >> 4 == 4;
  const std::uint32_t udp = v4 ? (h[0] & 0xfu) * 4 : 40;
  if (h[v4 ? 9 : 6] != kProtocolUdp) return false;
  if (packet.size() < udp + kUdpHeader + kMarkerBytes) return true;
  return load_be<std::uint16_t>(h + udp + 2) != esp::kNatTraversalPort ||
         load_be<std::uint32_t>(h + udp + kUdpHeader) == 0;
}

}  // namespace

/// True: `p` is a whole packet now, in its own frame. Otherwise it is done with: kept as a piece, counted, or given to
/// the kernel. strip_outer() has read its IP header.
bool DataPath::rejoin(esp::Packet& p, PacketMeta& meta) {
  if (meta.frame == kBorrowed) {  // the kernel reassembles what a socket gets
    drop(GW_DROP_OUTER_FRAGMENT, {.frame = meta.frame});
    return false;
  }
  const auto standing = parts_.shared.peers.find(source_of(p)) ? ip::Standing::kPeer : ip::Standing::kStranger;
  const auto outcome = reassembler_.add(p.bytes(), standing, parts_.clock.now());
  count_fragment_drops();
  if (outcome != ip::Reassembler::Outcome::kWhole) {
    parts_.frames.give(meta.frame);
    return false;
  }
  parts_.counters.rejoined.add();
  const auto whole = reassembler_.packet();
  if (is_for_kernel(whole)) {
    if (parts_.raw.deliver(whole))
      parts_.frames.give(meta.frame);
    else
      drop(GW_DROP_REDIRECT_FAILED, {.frame = meta.frame});
    return false;
  }
  if (whole.size() > parts_.frames.memory().capacity(meta.frame) - kHeadroom) {
    drop(GW_DROP_TOO_BIG, {.frame = meta.frame});
    return false;
  }
  p.offset = kHeadroom;
  p.length = static_cast<std::uint32_t>(whole.size());
  std::memcpy(p.data(), whole.data(), whole.size());
  meta.layer = Layer::kIp;
  return true;
}

void DataPath::count_fragment_drops() {
  const ip::FragmentDrops drops = reassembler_.take_drops();
  for (std::size_t i = 0; i < drops.size(); ++i)
    if (drops[i] != 0) parts_.counters.drops[i].add(drops[i]);
}

}  // namespace gw::worker
