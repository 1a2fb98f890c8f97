// A port over AF_XDP: this worker's sockets on one interface, one a receive queue. Everything is sent by the
// first one's transmit ring. What the kernel gives in several frames (jumbo) is put together in a large one, and
// cut again to be sent. Worker thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ebpf/worker/port.hpp"
#include "ebpf/xsk/socket.hpp"

namespace gw::xsk {

class XskPort final : public worker::Port {
 public:
  /// At least one socket; all with frames of `frames`.
  XskPort(std::vector<std::unique_ptr<Socket>> sockets, worker::FramePool& frames);

  void receive(worker::Burst& burst) override;
  bool maintain() override;
  std::span<const int> fds() const override { return fds_; }
  worker::Losses losses() const override;
  /// Of the i-th socket, in the order of their queues.
  std::size_t sockets() const { return queues_.size(); }
  Socket& socket(std::size_t i) const { return *queues_[i].socket; }

 protected:
  void send(std::span<worker::Outgoing> packets) override;
  void settle(std::span<const worker::Outgoing> packets) override;

 private:
  /// A packet of which pieces have come; the rest may come with the next burst.
  struct Partial {
    worker::FrameAddress frame = worker::kBorrowed;  // kBorrowed: no place, the rest is thrown away
    std::uint32_t length = 0;
    bool begun = false;
  };
  struct Queue {
    std::unique_ptr<Socket> socket;
    Partial partial;
  };
  /// A queued packet's descriptors: the next `pieces` of them.
  struct Sending {
    worker::Outgoing* packet;
    std::uint32_t pieces;
    bool copied;  // into frames of its own
  };
  void take_whole(const Descriptor& d, worker::Burst& burst);
  void take_piece(const Descriptor& d, Partial& partial, worker::Burst& burst);
  bool describe(worker::Outgoing& packet);
  void give_copied();

  std::vector<Queue> queues_;
  worker::FramePool& frames_;
  std::vector<int> fds_;
  std::size_t next_ = 0;  // the queue that is asked first
  std::vector<Descriptor> descriptors_;
  std::vector<Sending> sending_;
  bool copies_ = false;          // among sending_
  worker::Counter unassembled_;  // packets in pieces without a place
};

}  // namespace gw::xsk
