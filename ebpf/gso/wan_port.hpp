// The wan side over the kernel's UDP and raw sockets: for interfaces without zero-copy AF_XDP. Trains of ESP in
// UDP come and go 64 KiB at once; native ESP works, packet by packet. What arrives on UDP 4500 is ESP, IKE (zero
// marker, RFC 3948 2.2), a keepalive or nothing. One worker.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "ebpf/gso/receiver.hpp"
#include "ebpf/gso/sender.hpp"
#include "ebpf/gso/sockets.hpp"
#include "ebpf/relay/ike_inbox.hpp"
#include "ebpf/worker/port.hpp"

namespace gw::gso {

class WanPort final : public worker::Port {
 public:
  struct Sockets {
    Fd udp4;
    Fd udp6;  // of a kernel without IPv6: none
    Fd raw4;
    Fd raw6;

    /// A worker's set; one worker receives native ESP.
    static Result<Sockets> open(EspReceiving receiving);
    /// Those of a process before this one, as its port's fds() had them.
    static Result<Sockets> adopt(std::vector<Fd> fds);
  };
  struct Parts {
    Sockets sockets;
    worker::FramePool& frames;
    int wan_ifindex = 0;
    relay::IkeInbox::Door& ike;     // this worker's
    bool tells_reassembly = false;  // the one port that answers for what the kernel counts
  };
  static Result<std::unique_ptr<WanPort>> make(Parts parts);

  /// For the SO_REUSEPORT program and for whoever answers IKE; -1: none.
  int nat_t_fd(Family family) const { return sources_[family == Family::kV4 ? 0 : 1].fd; }

  void ready(int fd) override;
  void receive(worker::Burst& burst) override;
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return fds_; }
  worker::Losses losses() const override;

 protected:
  void send(std::span<worker::Outgoing> packets) override;
  void settle(std::span<const worker::Outgoing> packets) override;

 private:
  struct Source {
    int fd = -1;
    Receiver::Kind kind = Receiver::Kind::kUdp;
    bool ready = true;  // it may have packets
  };
  WanPort(Parts parts, std::unique_ptr<Receiver> receiver);
  bool refill();
  void take(worker::Burst& burst);
  bool is_esp(std::span<std::uint8_t> bytes);

  Parts parts_;
  std::unique_ptr<Receiver> receiver_;
  Sender sender_;
  std::array<Source, 4> sources_;
  std::vector<int> fds_;
  std::uint64_t reassembly_before_ = 0;  // the kernel's count when the port was made
  std::size_t next_ = 0;                 // the source that is asked first
  // What was received and is not handed over yet.
  std::size_t messages_ = 0;
  std::size_t message_ = 0;
  Receiver::Kind kind_ = Receiver::Kind::kUdp;
  Train train_;
  std::size_t at_ = 0;  // in the train
};

}  // namespace gw::gso
