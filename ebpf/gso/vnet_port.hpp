// The vnet side over a queue of the data TUN: superpackets are read and cut into packets, packets are merged and
// written as superpackets. One worker.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "ebpf/gso/coalescer.hpp"
#include "ebpf/gso/segmenter.hpp"
#include "ebpf/worker/port.hpp"

namespace gw::gso {

class VnetPort final : public worker::Port {
 public:
  struct Parts {
    Fd queue;  // of a DataTun
    worker::FramePool& frames;
    UdpMerging udp = UdpMerging::kNo;
    /// Of the one port that answers for the whole device's losses; else empty.
    std::string device = {};
    /// Of a packet with room around it for encapsulation; as large as the frame that it may have to be copied into.
    std::uint32_t slot_bytes = worker::kFrameBytes;
  };
  explicit VnetPort(Parts parts);
  /// The largest packet that a slot of this size takes.
  static constexpr std::uint32_t room_of(std::uint32_t slot_bytes) {
    return slot_bytes - worker::kHeadroom - esp::kMaxTailroom;
  }

  void ready(int /*fd*/) override { ready_ = true; }
  void receive(worker::Burst& burst) override;
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {&fd_, 1}; }
  worker::Losses losses() const override;

 protected:
  void send(std::span<worker::Outgoing> packets) override;
  void settle(std::span<const worker::Outgoing> packets) override;

 private:
  static constexpr std::size_t kMostBytes = 65536;

  bool read(worker::Burst& burst);
  void take(worker::Burst& burst, VnetHeader& header, std::span<std::uint8_t> bytes);
  void cut(worker::Burst& burst);
  void add(worker::Burst& burst, std::uint32_t length);
  std::uint8_t* slot(std::size_t i) { return slots_.data() + i * parts_.slot_bytes; }
  void write(std::span<worker::Outgoing> packets);

  Parts parts_;
  std::uint32_t room_;  // for a packet in a slot
  int fd_;
  bool ready_ = true;                   // the queue may have packets
  std::vector<std::uint8_t> slots_;     // one for each packet of a burst
  std::vector<std::uint8_t> overflow_;  // superpackets: room for what is in the slot, then what did not fit it
  std::optional<Segmenter> segmenter_;  // of the superpacket in overflow_
  std::uint32_t next_segment_ = 0;
  Coalescer coalescer_;
};

}  // namespace gw::gso
