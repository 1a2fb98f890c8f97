// IKE datagrams from the worker that reads the NAT-T socket (gso ports) to the relay. Bounded: what does not
// fit is dropped and counted; IKE retransmits. One worker pushes, the control thread pops.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/spsc_queue.hpp"
#include "ebpf/relay/ike_datagram.hpp"
#include "ebpf/worker/counters.hpp"

namespace gw::relay {

class IkeInbox {
 public:
  static constexpr std::size_t kCapacity = 1024;

  static Result<std::unique_ptr<IkeInbox>> make();

  /// Worker. Copies the payload, with its non-ESP marker.
  void push(const IkeFlow& flow, std::span<const std::uint8_t> payload);

  /// Control thread. Readable when datagrams wait.
  int fd() const { return event_.get(); }
  void clear_event();
  std::optional<IkeDatagram> pop() { return queue_.pop(); }

  /// Any thread: datagrams that did not fit.
  std::uint64_t dropped() const { return dropped_.get(); }

 private:
  explicit IkeInbox(Fd event) : event_(std::move(event)) {}

  Fd event_;
  SpscQueue<IkeDatagram> queue_{kCapacity};
  worker::Counter dropped_;
};

}  // namespace gw::relay
