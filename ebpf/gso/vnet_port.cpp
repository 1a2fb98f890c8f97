#include "ebpf/gso/vnet_port.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "ebpf/net/netlink.hpp"

namespace gw::gso {
using worker::Burst;
using worker::Outgoing;

namespace {

/// Multicast listener reports of the device itself (RFC 3810): there is nobody to hear them.
bool is_upkeep_of_link(std::span<const std::uint8_t> p) {
  return p.size() >= 40 && p[0] >> 4 == 6 && p[24] == 0xff && p[25] == 0x02;
}

}  // namespace

VnetPort::VnetPort(Parts parts)
    : Port(Framing::kIp),
      parts_(std::move(parts)),
      room_(room_of(parts_.slot_bytes)),
      fd_(parts_.queue.get()),
      slots_(worker::kBurst * parts_.slot_bytes),
      overflow_(room_ + kMostBytes),
      coalescer_(parts_.udp) {}

void VnetPort::receive(Burst& burst) {
  while (!burst.full()) {
    if (segmenter_)
      cut(burst);
    else if (!reading() || !ready_ || !(ready_ = read(burst)))
      break;
  }
  rx_packets.add(burst.count);
}

/// One read. What fits a slot is read into one; a superpacket's rest goes where its beginning can be put in front of
/// it. False: nothing waits.
bool VnetPort::read(Burst& burst) {
  VnetHeader header;
  std::uint8_t* const start = slot(burst.count) + worker::kHeadroom;
  std::uint8_t* const before = start - sizeof header;
  std::array<iovec, 2> parts{{{before, sizeof header + room_}, {overflow_.data() + room_, kMostBytes}}};
  const ssize_t n = ::readv(fd_, parts.data(), static_cast<int>(parts.size()));
  if (n <= 0) return false;
  std::memcpy(&header, before, sizeof header);
  const std::size_t length =
      static_cast<std::size_t>(n) - std::min<std::size_t>(static_cast<std::size_t>(n), sizeof header);
  std::uint8_t* bytes = start;
  if (length > room_ || header.gso_type != kVnetNone) {
    bytes = overflow_.data();
    std::memcpy(bytes, start, std::min<std::size_t>(length, room_));
  }
  take(burst, header, {bytes, length});
  return true;
}

void VnetPort::take(Burst& burst, VnetHeader& header, std::span<std::uint8_t> bytes) {
  if (is_upkeep_of_link(bytes)) return;
  const auto packet = parse_superpacket(header, bytes);
  if (!packet) return drops[packet.error()].add();
  // Nothing of such a size fits a tunnel: the tcx program leaves it to the kernel, which answers "too big".
  if (packet->longest() > room_) return drops[GW_DROP_TOO_BIG].add(packet->segments);
  if (packet->offload != Offload::kNone) {
    segmenter_.emplace(*packet);
    next_segment_ = 0;
    return;
  }
  complete_checksum(*packet);
  add(burst, static_cast<std::uint32_t>(packet->bytes.size()));
}

void VnetPort::cut(Burst& burst) {
  const std::uint32_t count = segmenter_->count();
  const std::size_t first = burst.count;
  for (; next_segment_ < count && !burst.full(); ++next_segment_) {
    segmenter_->write(next_segment_, slot(burst.count) + worker::kHeadroom);
    add(burst, segmenter_->length(next_segment_));
    burst.meta[burst.count - 1].same_flow = burst.count - 1 > first;
  }
  if (next_segment_ == count) segmenter_.reset();
}

/// The packet in the burst's next slot.
void VnetPort::add(Burst& burst, std::uint32_t length) {
  std::uint8_t* const base = slot(burst.count);
  const std::size_t i = burst.add();
  burst.packets[i].base = base;
  burst.packets[i].capacity = parts_.slot_bytes;
  burst.packets[i].offset = worker::kHeadroom;
  burst.packets[i].length = length;
  burst.meta[i].layer = worker::Layer::kIp;
}

/// What came while all queues were full. The kernel does not say from whom: there is one count for the device.
worker::Losses VnetPort::losses() const {
  if (parts_.device.empty()) return {};
  auto netlink = net::Netlink::open();
  if (!netlink) return {};
  const auto link = netlink->link(parts_.device);
  return {.ring_full = link ? link->tx_dropped : 0};
}

void VnetPort::send(std::span<Outgoing> packets) {
  for (std::size_t at = 0; at < packets.size(); at += Coalescer::kMaxPackets)
    write(packets.subspan(at, std::min(packets.size() - at, Coalescer::kMaxPackets)));
}

void VnetPort::write(std::span<Outgoing> packets) {
  coalescer_.begin();
  for (const Outgoing& p : packets) coalescer_.add({p.data, p.length});
  for (const Coalescer::Write& w : coalescer_.finish()) {
    const bool written = ::writev(fd_, w.parts.data(), static_cast<int>(w.parts.size())) >= 0;
    for (const std::size_t i : w.which) {
      if (!written) packets[i].lost = GW_DROP_TUN_FULL;
    }
  }
}

void VnetPort::settle(std::span<const Outgoing> packets) {
  for (const Outgoing& p : packets)
    if (p.lost == GW_DROP_NONE) parts_.frames.give(p.frame);
}

}  // namespace gw::gso
