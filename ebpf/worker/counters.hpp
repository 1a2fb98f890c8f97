// Counters with one writer (the worker) and any number of readers: a plain add for the writer.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ebpf/abi/drop.h"

namespace gw::worker {

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void set(std::uint64_t v) { value_.store(v, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

using DropCounters = std::array<Counter, GW_DROP_COUNT>;

struct TunnelCounters {
  Counter in_packets;  // decapsulated and delivered
  Counter in_bytes;    // inner
  Counter out_packets;
  Counter out_bytes;
  Counter slow_path;     // through the TUN device, either way
  Counter slow_path_in;  // of those, from the tunnel
  Counter last_in_ms;    // Unix time
  Counter last_out_ms;
  DropCounters in_drops;  // of packets from the tunnel
  DropCounters out_drops;

  /// A slot that gets another tunnel starts from zero.
  void clear() {
    for (Counter* c :
         {&in_packets, &in_bytes, &out_packets, &out_bytes, &slow_path, &slow_path_in, &last_in_ms, &last_out_ms})
      c->set(0);
    for (DropCounters* drops : {&in_drops, &out_drops})
      for (Counter& c : *drops) c.set(0);
  }
};

/// Packets of a tunnel that its owner never saw: counted by the worker that received them.
struct HandoverDrops {
  Counter in_full;  // the ring to the owner
  Counter out_full;
  Counter in_no_frame;  // borrowed, and no frame to copy it into
  Counter out_no_frame;

  void clear() {
    for (Counter* c : {&in_full, &out_full, &in_no_frame, &out_no_frame}) c->set(0);
  }
};

/// Packets in a burst: 1, 2, 3-4, 5-8, ... 33-64.
inline constexpr std::size_t kBurstClasses = 7;
constexpr std::size_t burst_class(std::size_t packets) {
  return std::min(static_cast<std::size_t>(std::bit_width(packets - 1)), kBurstClasses - 1);
}

/// How long packets were in our hands: up to 0.5 us, 1 us, 2 us, ... 16.384 ms, longer.
inline constexpr std::size_t kLatencyClasses = 17;
inline constexpr std::uint64_t kShortestLatencyNs = 500;
constexpr std::size_t latency_class(std::uint64_t ns) {
  const std::uint64_t units = (ns + kShortestLatencyNs - 1) / kShortestLatencyNs;
  return units <= 1 ? 0 : std::min(static_cast<std::size_t>(std::bit_width(units - 1)), kLatencyClasses - 1);
}

struct LatencyCounters {
  std::array<Counter, kLatencyClasses> packets;
  Counter sum_ns;
  Counter max_ns;

  /// As long for each of them.
  void count(std::uint64_t ns, std::size_t n) {
    if (n == 0) return;
    packets[latency_class(ns)].add(n);
    sum_ns.add(ns * n);
    if (ns > max_ns.get()) max_ns.set(ns);
  }
};

struct WorkerCounters {
  explicit WorkerCounters(std::size_t tunnels) : handover_drops(tunnels) {}

  Counter bursts;
  Counter packets;
  std::array<Counter, kBurstClasses> burst_sizes;
  Counter wakeups;
  Counter rounds;                             // of its loop: a thread that is stuck makes none
  Counter handed_over;                        // to the tunnel's owner
  Counter taken_over;                         // from the worker that received them
  Counter moved;                              // BPF took them for a tunnel; their route led to a neighbour by then
  Counter waited;                             // for an endpoint that was being moved
  Counter notices_lost;                       // the queue to the control thread was full
  Counter rejoined;                           // outer packets put together from fragments
  Counter icmp_sent;                          // errors to senders of inner packets
  LatencyCounters latency;                    // of the packets of one burst in kLatencySample (worker.cpp)
  Counter busy_ns;                            // of one round in kRoundSample: those that had packets
  Counter polling_ns;                         // of the same: those that found none; sleep is in neither
  Counter cpu_ns_before;                      // of the thread before this one, in a process before this one
  DropCounters drops;                         // of packets without a tunnel
  std::vector<HandoverDrops> handover_drops;  // by slot

  void count_burst(std::size_t n) {
    bursts.add();
    packets.add(n);
    burst_sizes[burst_class(n)].add();
  }
};

}  // namespace gw::worker
