// workers-2, workers-2-handover: packets/s from vnet to wan through two workers against one, in memory: parse,
// forwarding lookup, encapsulation, ready to transmit. Ports make packets and forget them. In the first each worker
// receives packets of the tunnels that it owns, as a gso port's steering gives them; in the second half of them
// belong to the other one, as receive-side scaling of a card gives them. workers-2-machine: two loops of raw ipsec-mb
// on the same CPUs against one, which is what the machine has to give.
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <thread>

#include "tests/bench/bench.hpp"
#include "tests/bench/raw_side.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::bench {
namespace {

using test::Bytes;
using test::WorkerRig;
using worker::Burst;
using worker::FramePool;

constexpr std::size_t kTunnels = 64;
constexpr std::size_t kInnerBytes = 1408;
constexpr std::size_t kHeaderBytes = 32;  // what encryption scrambles and a new packet has to bring
constexpr std::chrono::milliseconds kCall{20};

/// Both sides of one worker: an endless source of packets while it is open, and a sink.
class Source final : public worker::Port {
 public:
  explicit Source(FramePool& frames) : Port(Framing::kIp), frames_(frames), event_(::eventfd(0, EFD_NONBLOCK)) {
    fd_ = event_.get();
    set_link({.ifindex = 1, .name = "memory", .mac = {}, .mtu = 1500, .up = true});
  }
  void open(std::vector<Bytes> packets) { packets_ = std::move(packets); }
  void start() {
    running_.store(true, std::memory_order_release);
    (void)::eventfd_write(fd_, 1);
  }
  void stop() {
    running_.store(false, std::memory_order_release);
    eventfd_t value = 0;
    (void)::eventfd_read(fd_, &value);
  }

  void receive(Burst& burst) override {
    if (!running_.load(std::memory_order_acquire) || packets_.empty()) return;
    worker::FrameAddress frame = 0;
    while (!burst.full() && frames_.take(frame)) {
      const Bytes& packet = packets_[next_ = next_ + 1 == packets_.size() ? 0 : next_ + 1];
      const std::size_t i = burst.add();
      std::uint8_t* const base = frames_.at(frame);
      std::copy_n(packet.data(), kHeaderBytes, base + worker::kHeadroom);
      burst.packets[i].base = base;
      burst.packets[i].capacity = frames_.memory().frame_bytes();
      burst.packets[i].offset = worker::kHeadroom;
      burst.packets[i].length = static_cast<std::uint32_t>(packet.size());
      burst.meta[i].frame = frame;
      burst.meta[i].layer = worker::Layer::kIp;
    }
  }
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {&fd_, 1}; }
  worker::Losses losses() const override { return {}; }

 protected:
  void send(std::span<worker::Outgoing>) override {}
  void settle(std::span<const worker::Outgoing> packets) override {
    for (const worker::Outgoing& packet : packets) frames_.give(packet.frame);
  }

 private:
  FramePool& frames_;
  Fd event_;
  int fd_ = -1;
  std::atomic<bool> running_{false};
  std::vector<Bytes> packets_;
  std::size_t next_ = 0;
};

enum class Queues : std::uint8_t { kSteered, kMixed };

/// The last ones: the first serves most interrupts. Empty if none were left for the rest of the machine.
std::vector<int> last_cpus(std::size_t count) {
  const std::size_t all = std::thread::hardware_concurrency();
  if (all <= count) return {};
  std::vector<int> cpus;
  cpus.reserve(count);
  for (std::size_t i = 0; i < count; ++i) cpus.push_back(static_cast<int>(all - 1 - i));
  return cpus;
}

class Line {
 public:
  Line(std::size_t workers, Queues queues) {
    WorkerRig::Options options{.workers = workers, .tunnels = kTunnels};
    options.cpus = last_cpus(workers);
    options.make_wan = [](FramePool& frames, worker::WorkerIndex) { return std::make_unique<Source>(frames); };
    options.make_vnet = [this](FramePool& frames, worker::WorkerIndex) {
      auto source = std::make_unique<Source>(frames);
      sources_.push_back(source.get());
      return source;
    };
    rig_ = std::make_unique<WorkerRig>(options);
    std::vector<std::vector<Bytes>> packets(workers);
    for (std::size_t tunnel = 0; tunnel < kTunnels; ++tunnel) {
      const std::size_t queue = queues == Queues::kSteered ? rig_->owner(tunnel) : tunnel / workers % workers;
      packets[queue].push_back(rig_->to_site(tunnel, 0, kInnerBytes));
    }
    for (std::size_t i = 0; i < workers; ++i) sources_[i]->open(std::move(packets[i]));
  }

  Sample run() {
    const std::uint64_t before = sent();
    const auto start = std::chrono::steady_clock::now();
    for (Source* source : sources_) source->start();
    std::this_thread::sleep_for(kCall);
    const std::uint64_t after = sent();
    const auto took = std::chrono::steady_clock::now() - start;
    for (Source* source : sources_) source->stop();
    return {after - before, took};
  }

 private:
  std::uint64_t sent() {
    std::uint64_t all = 0;
    for (const auto& worker : rig_->workers().all()) all += worker->wan().tx_packets.get();
    return all;
  }

  std::vector<Source*> sources_;
  std::unique_ptr<WorkerRig> rig_;
};

Benchmark two_workers(std::string name, std::string summary, Queues queues) {
  return {std::move(name), std::move(summary), [queues]() -> Result<Comparison> {
            auto two = std::make_shared<Line>(2, queues);
            auto one = std::make_shared<Line>(1, queues);
            return Comparison{"one worker", "packets/s", [two] { return two->run(); }, [one] { return one->run(); }};
          }};
}

/// Loops that share nothing but the machine.
class RawLoops {
 public:
  static Result<std::shared_ptr<RawLoops>> create(std::size_t count) {
    auto loops = std::make_shared<RawLoops>();
    for (std::size_t i = 0; i < count; ++i) {
      GW_TRY_ASSIGN(auto side, RawSide::create(kInnerBytes));
      loops->sides_.push_back(std::move(side));
    }
    return loops;
  }

  Sample run() {
    const std::vector<int> cpus = last_cpus(sides_.size());
    std::vector<Sample> samples(sides_.size());
    std::barrier begin(static_cast<std::ptrdiff_t>(sides_.size()));
    std::vector<std::jthread> threads;
    threads.reserve(sides_.size());
    for (std::size_t i = 0; i < sides_.size(); ++i)
      threads.emplace_back([&, i] {
        if (!cpus.empty()) pin_to(static_cast<std::size_t>(cpus[i]));
        begin.arrive_and_wait();
        while (samples[i].took < kCall) {
          const Sample s = sides_[i]->encrypt();
          samples[i].items += s.items;
          samples[i].took += s.took;
        }
      });
    threads.clear();
    Sample all;
    for (const Sample& s : samples) {
      all.items += s.items;
      all.took = std::max(all.took, s.took);
    }
    return all;
  }

 private:
  std::vector<std::shared_ptr<RawSide>> sides_;
};

Result<Comparison> two_loops() {
  GW_TRY_ASSIGN(auto two, RawLoops::create(2));
  GW_TRY_ASSIGN(auto one, RawLoops::create(1));
  return Comparison{"one loop", "packets/s", [two] { return two->run(); }, [one] { return one->run(); }};
}

}  // namespace

void add_workers(std::vector<Benchmark>& all) {
  all.push_back(two_workers("workers-2", "two workers in memory, 1408 B, each with packets of its tunnels, against one",
                            Queues::kSteered));
  all.push_back(two_workers("workers-2-handover", "the same, half of the packets handed over to the other worker",
                            Queues::kMixed));
  all.push_back(
      {"workers-2-machine", "two loops of raw ipsec-mb, 1408 B, against one: what the machine gives", &two_loops});
}

}  // namespace gw::bench
