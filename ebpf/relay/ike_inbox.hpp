// IKE datagrams from the workers that read the NAT-T sockets (gso ports) to the relay. Every worker has a door: the
// steering program gives IKE to worker 0, but what sits behind ESP in a train comes to that ESP's owner. Bounded,
// nothing is allocated after the start: what does not fit is dropped and counted; IKE retransmits. One worker pushes
// at each door, the control thread pops.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/relay/ike_datagram.hpp"
#include "ebpf/worker/counters.hpp"

namespace gw::relay {

class IkeInbox {
 public:
  /// A few hundred IKE_AUTHs with certificates: all sites at once, while charon is busy.
  static constexpr std::size_t kDoorBytes = std::size_t{1} << 20;

  /// Of one worker: a ring of bytes with datagrams of any length.
  class Door {
   public:
    explicit Door(int event) : event_(event) {}
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;

    /// Copies the payload, with its non-ESP marker. Seen by the control thread at once, which may sleep until ring().
    void push(const IkeFlow& flow, std::span<const std::uint8_t> payload);
    /// Once a burst: wakes the control thread if something was pushed.
    void ring();

   private:
    friend class IkeInbox;
    struct Head {
      IkeFlow flow;
      std::uint32_t length = 0;
    };
    static constexpr std::size_t kLine = 64;  // pushing and popping side must not share a cache line
    void copy_in(std::size_t at, std::span<const std::uint8_t> bytes);
    void copy_out(std::size_t at, std::span<std::uint8_t> bytes) const;
    std::optional<IkeMessage> pop(std::span<std::uint8_t> buffer);

    const int event_;
    const std::unique_ptr<std::uint8_t[]> bytes_ = std::make_unique_for_overwrite<std::uint8_t[]>(kDoorBytes);
    worker::Counter dropped_;
    bool pushed_ = false;
    alignas(kLine) std::atomic<std::size_t> head_{0};
    alignas(kLine) std::atomic<std::size_t> tail_{0};
  };

  static Result<std::unique_ptr<IkeInbox>> make(std::size_t workers);

  Door& door(std::size_t worker) { return *doors_[worker]; }

  // --- control thread ---
  /// Readable when datagrams wait.
  int fd() const { return event_.get(); }
  void clear_event();
  /// Datagrams stay for later: fd() is readable again.
  void leave_rest();
  /// The next one, of the doors in turn. `buffer`: GW_IKE_RELAY_MAX_PAYLOAD bytes; the payload is in it.
  std::optional<IkeMessage> pop(std::span<std::uint8_t> buffer);

  /// Any thread: datagrams that did not fit.
  std::uint64_t dropped() const;

 private:
  explicit IkeInbox(Fd event) : event_(std::move(event)) {}

  Fd event_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::size_t next_ = 0;  // the door that is asked first
};

}  // namespace gw::relay
