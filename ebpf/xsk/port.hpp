// A port over AF_XDP: this worker's sockets on one interface, one a receive queue. Everything is sent by the
// first one's transmit ring. Worker thread.
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

 protected:
  void send(std::span<worker::Outgoing> packets) override;

 private:
  bool own(worker::Outgoing& packet);

  std::vector<std::unique_ptr<Socket>> sockets_;
  worker::FramePool& frames_;
  std::vector<int> fds_;
  std::size_t next_ = 0;  // the socket that is asked first
};

}  // namespace gw::xsk
