// Workers without a network: ports in memory, tunnels to a peer that is a codec in the test's own thread. For
// tests and benchmarks of everything between two ports, hand-over between workers included.
//
//   10.1.0.0/16 --[vnet ports]-- workers --[wan ports]== ESP == peer 198.51.100.20, 10.9.<tunnel>.0/24
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/fib/table.hpp"
#include "ebpf/worker/workers.hpp"
#include "tests/unit/ebpf/fib/fib_memory.hpp"

namespace gw::test {

using Bytes = std::vector<std::uint8_t>;

/// What the test puts in is received, what is sent can be taken out. Packets begin at their IP header, or at the
/// ESP header as from a socket.
class MemoryPort final : public worker::Port {
 public:
  /// Where received packets are: in frames, or in memory of the port.
  enum class Lending : std::uint8_t { kFrames, kBorrowed };
  MemoryPort(worker::FramePool& frames, Lending lending);

  // --- the test's side; any thread ---
  void inject(std::span<const Bytes> packets);
  std::vector<Bytes> take_sent();
  std::size_t waiting() const;

  // --- the worker's ---
  void receive(worker::Burst& burst) override;
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {&event_fd_, 1}; }
  worker::Losses losses() const override { return {}; }

 protected:
  void send(std::span<worker::Outgoing> packets) override;
  void settle(std::span<const worker::Outgoing> packets) override;

 private:
  void put(worker::Burst& burst, const Bytes& packet);

  worker::FramePool& frames_;
  const Lending lending_;
  Fd event_;
  int event_fd_;
  mutable std::mutex mutex_;
  std::deque<Bytes> incoming_;
  std::vector<Bytes> sent_;
  std::vector<Bytes> lent_;  // this burst's
};

/// The peer's end of a tunnel.
struct Peer {
  esp::RuntimeRecord out_record{}, in_record{};
  std::unique_ptr<esp::OutboundSa> out;  // to the workers
  std::unique_ptr<esp::InboundSa> in;    // from them
};

class WorkerRig {
 public:
  struct Options {
    std::size_t workers = 2;
    std::size_t tunnels = 8;
    std::size_t frames_each = 4096;
    MemoryPort::Lending lending = MemoryPort::Lending::kFrames;
    /// Other ports than MemoryPort, for both sides; wan() and vnet() are null then.
    using PortMaker = std::function<std::unique_ptr<worker::Port>(worker::FramePool&, worker::WorkerIndex)>;
    PortMaker make_wan;
    PortMaker make_vnet;
    PortMaker make_circuit;  // empty: there is none
    /// Where the workers run, one each; empty: wherever the scheduler likes.
    std::vector<int> cpus;
    const Clock* clock = nullptr;  // outlives the rig; null: the machine's
  };
  explicit WorkerRig(const Options& options);
  ~WorkerRig();

  worker::Workers& workers() { return *workers_; }
  /// As the control side changes it; packets are already on their way.
  void route(const fib::Route& route);
  MemoryPort& wan(std::size_t worker) { return *wan_[worker]; }
  MemoryPort& vnet(std::size_t worker) { return *vnet_[worker]; }
  worker::WorkerIndex owner(std::size_t tunnel) { return workers_->shared().owner(slot(tunnel)); }
  static worker::TunnelSlot slot(std::size_t tunnel) { return static_cast<worker::TunnelSlot>(tunnel); }

  /// An inner packet to (or from) a host behind the tunnel; `number` is in its payload.
  Bytes to_site(std::size_t tunnel, std::uint32_t number, std::size_t size = 100) const;
  Bytes from_site(std::size_t tunnel, std::uint32_t number, std::size_t size = 100) const;
  static std::uint32_t number_of(std::span<const std::uint8_t> inner);
  /// Tunnel of a packet between 10.1/16 and 10.9.<tunnel>/24.
  static std::size_t tunnel_of(std::span<const std::uint8_t> inner);

  /// Encrypted by the peer; decrypted by it (empty: refused).
  Bytes seal(std::size_t tunnel, const Bytes& inner);
  Bytes open(const Bytes& wire);

  /// As the control side does.
  void install(std::size_t tunnel);
  void remove(std::size_t tunnel);

  /// All frames are at home and free, once nothing is on its way. Waits a moment for it.
  bool all_frames_are_free();

 private:
  struct Ours {
    esp::RuntimeRecord out_record{}, in_record{};
    std::unique_ptr<esp::OutboundSa> out;
  };
  worker::SaKey inbound_key(std::size_t tunnel) const;

  const Options options_;
  SystemClock clock_;
  fib::HeapMemory fib_;
  fib::Table table_;
  std::unique_ptr<worker::FrameMemory> memory_;
  std::vector<worker::FramePool*> pools_;
  std::vector<MemoryPort*> wan_, vnet_;
  std::unique_ptr<esp::CryptoBackend> crypto_;  // the peer's
  esp::Codec codec_;
  std::vector<Peer> peers_;
  std::vector<Ours> ours_;
  std::unique_ptr<worker::Workers> workers_;
};

}  // namespace gw::test
