#include "ebpf/xsk/port.hpp"

#include <algorithm>

namespace gw::xsk {
using worker::Burst;
using worker::Outgoing;

XskPort::XskPort(std::vector<std::unique_ptr<Socket>> sockets, worker::FramePool& frames)
    : Port(Framing::kEthernet), sockets_(std::move(sockets)), frames_(frames) {
  for (const auto& socket : sockets_) fds_.push_back(socket->fd());
}

void XskPort::receive(Burst& burst) {
  std::array<Descriptor, worker::kBurst> received;
  const worker::FrameMemory& memory = frames_.memory();
  for (std::size_t tries = 0; tries < sockets_.size() && !burst.full(); ++tries) {
    const std::size_t n = sockets_[next_]->receive(std::span(received).first(worker::kBurst - burst.count));
    next_ = next_ + 1 == sockets_.size() ? 0 : next_ + 1;
    for (const Descriptor& d : std::span(received).first(n)) {
      const worker::FrameAddress frame = memory.frame_of(d.address);
      const std::size_t i = burst.add();
      esp::Packet& p = burst.packets[i];
      p.base = memory.at(frame);
      p.capacity = memory.frame_bytes();
      p.offset = static_cast<std::uint32_t>(d.address - frame);
      p.length = d.length;
      burst.meta[i].frame = frame;
    }
  }
  rx_packets.add(burst.count);
}

/// The kernel sends from frames only. False: there is none.
bool XskPort::own(Outgoing& packet) {
  if (packet.frame != worker::kBorrowed) return true;
  if (packet.length > frames_.memory().frame_bytes() || !frames_.take(packet.frame)) return false;
  packet.data = std::ranges::copy_n(packet.data, packet.length, frames_.at(packet.frame)).out - packet.length;
  return true;
}

void XskPort::send(std::span<Outgoing> packets) {
  std::array<Descriptor, kQueue> descriptors;
  std::array<Outgoing*, kQueue> of;
  std::size_t n = 0;
  for (Outgoing& packet : packets) {
    if (!own(packet)) {
      packet.lost = GW_DROP_NO_FRAME;
      continue;
    }
    of[n] = &packet;
    descriptors[n++] = {frames_.memory().address_of(packet.data), packet.length};
  }
  Socket& socket = *sockets_.front();
  const std::size_t sent = socket.transmit(std::span(descriptors).first(n));
  (void)socket.flush();
  for (Outgoing* packet : std::span(of).first(n).subspan(sent)) packet->lost = GW_DROP_TX_FULL;
}

bool XskPort::maintain() {
  bool again = false;
  for (const auto& socket : sockets_) {
    socket->reap();
    socket->refill();
    again |= socket->flush();
  }
  return again;
}

worker::Losses XskPort::losses() const {
  worker::Losses all;
  for (const auto& socket : sockets_) {
    const worker::Losses one = socket->losses();
    all.no_frame += one.no_frame;
    all.ring_full += one.ring_full;
  }
  return all;
}

}  // namespace gw::xsk
