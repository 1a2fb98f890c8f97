// Outer fragments on an xsk port. Of native ESP: collected here until the packet is whole, then worked on as if it had
// come so. Of UDP: the kernel's, all of them (xdp/guard.bpf.h), so that its filters see them and IKE of any size
// reaches its socket. ESP in UDP that the kernel put together comes to the relay's socket, and from there to
// from_kernel(): a way of some 10,000 packets/s through the control thread, for a path that a peer should not keep its
// packets too big for.
#include <cstring>

#include "base/wire.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/martians.hpp"

namespace gw::worker {
namespace {

IpAddress source_of(const esp::Packet& p) {
  if (p.data()[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(p.data() + 12));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(p.data() + 8, 16));
}

}  // namespace

/// True: `p` is a whole packet now, in its own frame. Otherwise it is done with: kept as a piece, or counted.
/// strip_outer() has read its IP header.
bool DataPath::rejoin(esp::Packet& p, PacketMeta& meta) {
  if (meta.frame == kBorrowed) {  // the kernel reassembles what a socket gets
    drop(GW_DROP_OUTER_FRAGMENT, {.frame = meta.frame}, p);
    return false;
  }
  const IpAddress source = source_of(p);
  if (is_nobodys(source) || parts_.fib.next_hops[fib::lookup(parts_.fib, source)].kind == GW_NEXT_HOP_LOCAL) {
    drop(GW_DROP_SPOOFED_SOURCE, {.frame = meta.frame}, p);
    return false;
  }
  const auto standing = parts_.shared.peers.find(source) ? ip::Standing::kPeer : ip::Standing::kStranger;
  const auto outcome = reassembler_.add(p.bytes(), standing, parts_.clock.now());
  count_fragment_drops();
  if (outcome != ip::Reassembler::Outcome::kWhole) {
    parts_.frames.give(meta.frame);
    return false;
  }
  parts_.counters.rejoined.add();
  const auto whole = reassembler_.packet();
  if (whole.size() > p.capacity - kHeadroom) {
    drop(GW_DROP_TOO_BIG, {.frame = meta.frame}, p);
    return false;
  }
  p.offset = kHeadroom;
  p.length = static_cast<std::uint32_t>(whole.size());
  std::memcpy(p.data(), whole.data(), whole.size());
  meta.layer = Layer::kIp;
  return true;
}

void DataPath::from_kernel(const RejoinedEsp& packet) {
  const auto length = static_cast<std::uint32_t>(packet.bytes.size());
  FrameAddress frame = 0;
  if (packet.bytes.size() > kLargeFrameBytes || !parts_.frames.take_for(length, frame))
    return parts_.counters.drops[GW_DROP_NO_FRAME].add();
  parts_.counters.rejoined.add();
  const FrameMemory& memory = parts_.frames.memory();
  std::uint8_t* const base = memory.at(frame);
  const auto source = packet.source.bytes();
  std::memcpy(base, source.data(), source.size());
  std::memcpy(base + kHeadroom, packet.bytes.data(), length);
  scratch_.count = 0;
  const std::size_t i = scratch_.add();
  scratch_.packets[i] = {.base = base,
                         .capacity = memory.capacity(frame),
                         .offset = kHeadroom,
                         .length = length,
                         .source = base,
                         .source_port = packet.source_port,
                         .traffic_class = packet.traffic_class};
  scratch_.meta[i] = {.frame = frame, .layer = Layer::kEsp, .key = packet.key};
  from_wan(scratch_);
}

void DataPath::count_fragment_drops() {
  const ip::FragmentDrops drops = reassembler_.take_drops();
  for (std::size_t i = 0; i < drops.size(); ++i)
    if (drops[i] != 0) parts_.counters.drops[i].add(drops[i]);
}

}  // namespace gw::worker
