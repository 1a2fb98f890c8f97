// The proof in a heartbeat that this instance forwards: packet threads are woken and go round. Liveness thread.
#pragma once

#include <cstdint>
#include <vector>

#include "ebpf/liveness/partner.hpp"
#include "ebpf/worker/workers.hpp"

namespace gw::liveness {

class WorkersAdvance {
 public:
  /// A worker that stood still for this many looks in a row is stuck.
  static constexpr unsigned kPatience = 3;

  explicit WorkersAdvance(const worker::Workers& workers) : workers_(workers), seen_(workers.count()) {}

  /// Once for each heartbeat: what they did since the last look; and wakes them for the next.
  Forwarding look() {
    bool all = true;
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      worker::Worker& w = workers_[static_cast<worker::WorkerIndex>(i)];
      const std::uint64_t rounds = w.counters().rounds.get();
      seen_[i].still = rounds == seen_[i].rounds ? seen_[i].still + 1 : 0;
      seen_[i].rounds = rounds;
      all = all && seen_[i].still < kPatience;
      w.nudge();
    }
    return all ? Forwarding::kYes : Forwarding::kNo;
  }

 private:
  struct Seen {
    std::uint64_t rounds = 0;
    unsigned still = 0;
  };
  const worker::Workers& workers_;
  std::vector<Seen> seen_;
};

}  // namespace gw::liveness
