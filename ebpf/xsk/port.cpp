#include "ebpf/xsk/port.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace gw::xsk {
using worker::Burst;
using worker::FrameAddress;
using worker::FrameMemory;
using worker::kBorrowed;
using worker::Outgoing;

XskPort::XskPort(std::vector<std::unique_ptr<Socket>> sockets, worker::FramePool& frames)
    : Port(Framing::kEthernet), frames_(frames) {
  for (auto& socket : sockets) {
    fds_.push_back(socket->fd());
    queues_.push_back({std::move(socket), {}});
  }
  descriptors_.reserve(kQueue * (worker::kLargeFrameBytes / worker::kFrameBytes));
  sending_.reserve(kQueue);
}

void XskPort::receive(Burst& burst) {
  std::array<Descriptor, worker::kBurst> received;
  if (!reading()) return;
  for (std::size_t tries = 0; tries < queues_.size() && !burst.full(); ++tries) {
    Queue& queue = queues_[next_];
    next_ = next_ + 1 == queues_.size() ? 0 : next_ + 1;
    const std::size_t n = queue.socket->receive(std::span(received).first(worker::kBurst - burst.count));
    for (const Descriptor& d : std::span(received).first(n)) {
      if (!d.more && !queue.partial.begun) [[likely]]
        take_whole(d, burst);
      else
        take_piece(d, queue.partial, burst);
    }
  }
  rx_packets.add(burst.count);
}

void XskPort::take_whole(const Descriptor& d, Burst& burst) {
  const FrameMemory& memory = frames_.memory();
  const FrameAddress frame = memory.frame_of(d.address);
  const std::size_t i = burst.add();
  esp::Packet& p = burst.packets[i];
  p.base = memory.at(frame);
  p.capacity = memory.frame_bytes();
  p.offset = static_cast<std::uint32_t>(d.address - frame);
  p.length = d.length;
  burst.meta[i].frame = frame;
}

void XskPort::take_piece(const Descriptor& d, Partial& partial, Burst& burst) {
  const FrameMemory& memory = frames_.memory();
  constexpr std::uint32_t kRoom = worker::kLargeFrameBytes - worker::kHeadroom - esp::kMaxTailroom;
  if (!partial.begun) {
    partial = {.begun = true};
    (void)frames_.take_for(kRoom, partial.frame);
  }
  if (partial.length + d.length > kRoom) {
    frames_.give(partial.frame);
    partial.frame = kBorrowed;
  }
  if (partial.frame != kBorrowed) {
    std::memcpy(memory.at(partial.frame) + worker::kHeadroom + partial.length, memory.at(d.address), d.length);
    partial.length += d.length;
  }
  frames_.give(memory.frame_of(d.address));
  if (d.more) return;
  const Partial whole = std::exchange(partial, {});
  if (whole.frame == kBorrowed) return unassembled_.add();
  const std::size_t i = burst.add();
  burst.packets[i].base = memory.at(whole.frame);
  burst.packets[i].capacity = worker::kLargeFrameBytes;
  burst.packets[i].offset = worker::kHeadroom;
  burst.packets[i].length = whole.length;
  burst.meta[i].frame = whole.frame;
}

/// The packet's descriptors: itself, or copies in frames that the kernel can send from. False: there are none.
bool XskPort::describe(Outgoing& packet) {
  FrameMemory& memory = frames_.memory();
  if (packet.frame != kBorrowed && !memory.is_large(packet.frame)) {
    descriptors_.push_back({memory.address_of(packet.data), packet.length, false});
    sending_.push_back({&packet, 1, false});
    return true;
  }
  const std::size_t first = descriptors_.size();
  for (std::uint32_t at = 0; at < packet.length;) {
    const std::uint32_t length = std::min(packet.length - at, memory.frame_bytes());
    FrameAddress frame = 0;
    if (!frames_.take(frame)) {
      for (const Descriptor& piece : std::span(descriptors_).subspan(first)) frames_.give(piece.address);
      descriptors_.resize(first);
      return false;
    }
    std::memcpy(memory.at(frame), packet.data + at, length);
    at += length;
    descriptors_.push_back({frame, length, at < packet.length});
  }
  sending_.push_back({&packet, static_cast<std::uint32_t>(descriptors_.size() - first), true});
  copies_ = true;
  return true;
}

void XskPort::send(std::span<Outgoing> packets) {
  descriptors_.clear();
  sending_.clear();
  copies_ = false;
  for (Outgoing& packet : packets)
    if (!describe(packet)) packet.lost = GW_DROP_NO_FRAME;
  const std::size_t sent = queues_.front().socket->transmit(descriptors_);
  std::size_t at = 0;
  for (const Sending& sending : sending_) {
    at += sending.pieces;
    sending.packet->lost = at <= sent ? GW_DROP_NONE : GW_DROP_TX_FULL;
  }
}

/// The kernel is told only now: while it is, frames that it is done with come back.
void XskPort::settle(std::span<const Outgoing>) {
  (void)queues_.front().socket->flush();
  if (copies_) give_copied();
}

/// Of a copied packet the frame if it was sent, the copy's frames if it was not.
void XskPort::give_copied() {
  std::size_t at = 0;
  for (const Sending& sending : sending_) {
    const auto pieces = std::span(descriptors_).subspan(at, sending.pieces);
    at += sending.pieces;
    if (!sending.copied) continue;
    if (sending.packet->lost == GW_DROP_NONE)
      frames_.give(sending.packet->frame);
    else
      for (const Descriptor& piece : pieces) frames_.give(piece.address);
  }
}

bool XskPort::maintain() {
  bool again = false;
  for (const Queue& queue : queues_) {
    queue.socket->reap();
    queue.socket->refill();
    again |= queue.socket->flush();
  }
  return again;
}

worker::Losses XskPort::losses() const {
  worker::Losses all{.no_frame = unassembled_.get()};
  for (const Queue& queue : queues_) {
    const worker::Losses one = queue.socket->losses();
    all.no_frame += one.no_frame;
    all.ring_full += one.ring_full;
  }
  return all;
}

}  // namespace gw::xsk
