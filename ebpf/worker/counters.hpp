// Counters with one writer (the worker) and any number of readers: a plain add for the writer.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

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
  Counter slow_path;   // through the TUN device, either way
  Counter last_in_ms;  // Unix time
  Counter last_out_ms;
  DropCounters in_drops;  // of packets from the tunnel
  DropCounters out_drops;

  /// A slot that gets another tunnel starts from zero.
  void clear() {
    for (Counter* c : {&in_packets, &in_bytes, &out_packets, &out_bytes, &slow_path, &last_in_ms, &last_out_ms})
      c->set(0);
    for (DropCounters* drops : {&in_drops, &out_drops})
      for (Counter& c : *drops) c.set(0);
  }
};

struct WorkerCounters {
  Counter bursts;
  Counter packets;
  Counter wakeups;
  Counter notices_lost;  // the queue to the control thread was full
  DropCounters drops;    // of packets without a tunnel
};

}  // namespace gw::worker
