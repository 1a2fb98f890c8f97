// The real packet path between two ports that are memory: packets come from a template and end when they are
// ready to transmit. Without I/O, with everything else: frames, parsing, lookup, ESP, link header, counters.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "ebpf/fib/table.hpp"
#include "ebpf/worker/workers.hpp"

namespace gw::bench {

/// What comes in on the vnet port: Ethernet, IPv4, UDP, to each destination in turn. The payload is whatever the frame
/// held: only the headers are written, as a card's DMA would have.
class SourcePort final : public worker::Port {
 public:
  /// Destinations: IPv4, host order.
  SourcePort(worker::FramePool& frames, std::uint32_t inner_bytes, std::span<const std::uint32_t> destinations);
  /// Before: nothing comes.
  void open(bool on) { open_.store(on, std::memory_order_relaxed); }
  void receive(worker::Burst& burst) override;
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {}; }
  worker::Losses losses() const override { return {}; }

 protected:
  void send(std::span<worker::Outgoing> packets) override;
  void settle(std::span<const worker::Outgoing> packets) override;

 private:
  struct alignas(64) Header {
    std::array<std::uint8_t, 42> bytes{};
  };
  worker::FramePool& frames_;
  std::uint32_t frame_length_;
  std::vector<Header> headers_;
  std::size_t next_ = 0;
  std::atomic<bool> open_{false};
};

/// The wan port: what is queued is ready to transmit, and gone.
class SinkPort final : public worker::Port {
 public:
  explicit SinkPort(worker::FramePool& frames) : Port(Framing::kEthernet), frames_(frames) {}
  void receive(worker::Burst&) override {}
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {}; }
  worker::Losses losses() const override { return {}; }

  std::uint64_t sent() const { return sent_.load(std::memory_order_relaxed); }
  /// The longest time between two bursts since the last call.
  std::chrono::nanoseconds take_longest_gap() { return std::chrono::nanoseconds(gap_ns_.exchange(0)); }

 protected:
  void send(std::span<worker::Outgoing> packets) override;
  void settle(std::span<const worker::Outgoing> packets) override;

 private:
  worker::FramePool& frames_;
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::int64_t> gap_ns_{0};
  std::chrono::steady_clock::time_point last_{};
};

inline constexpr std::uint16_t kInnerMtu = 1438;

/// What SA, neighbour and tunnel 0 need, on any worker.
struct TunnelEnd {
  esp::RuntimeRecord record;
  std::unique_ptr<esp::CryptoBackend> backend;
  std::unique_ptr<esp::OutboundSa> sa;
  static Result<std::unique_ptr<TunnelEnd>> create();
  void install(worker::DataPath& path, worker::Shared& shared) const;
};

/// The forwarding table's memory, of the product's default size, in pages of 4 KiB as BPF maps have.
class FibMemory {
 public:
  static Result<std::unique_ptr<FibMemory>> create();
  ~FibMemory();
  FibMemory(const FibMemory&) = delete;
  FibMemory& operator=(const FibMemory&) = delete;
  const fib::Memory& view() const { return view_; }

 private:
  FibMemory() = default;
  std::vector<std::span<std::uint8_t>> areas_;
  fib::Memory view_;
};

/// A next hop over tunnel 0 alone; those of different MTU are different records.
fib::NextHop to_tunnel(std::uint16_t mtu = kInnerMtu);

}  // namespace gw::bench
