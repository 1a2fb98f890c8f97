#include "ebpf/worker/port.hpp"

namespace gw::worker {

// All transmission goes through the first queue's socket: one worker, one ring.
Port::Flushed Port::flush() {
  if (count_ == 0) return {};
  std::array<xsk::Descriptor, kBurst> packets;
  for (std::size_t i = 0; i < count_; ++i) packets[i] = queued_[i].packet;
  xsk::Socket& socket = *sockets_.front();
  const std::size_t sent = socket.transmit(std::span(packets).first(count_));
  (void)socket.flush();
  tx_packets.add(sent);
  const auto all = std::span<const Outgoing>(queued_).first(std::exchange(count_, 0));
  return {all.first(sent), all.subspan(sent)};
}

bool Port::maintain() {
  bool again = false;
  for (const auto& socket : sockets_) {
    socket->reap();
    socket->refill();
    again |= socket->flush();
  }
  return again;
}

}  // namespace gw::worker
