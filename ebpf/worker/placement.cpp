#include "ebpf/worker/placement.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <format>

#include "ebpf/worker/frame_pool.hpp"

namespace gw::worker {

Machine this_machine() {
  Machine machine;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) machine.allowed.push_back(cpu);
  machine.online = static_cast<std::size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  return machine;
}

Placement place(std::optional<std::size_t> asked, const Machine& machine, const std::vector<QueueLimit>& limits) {
  const std::size_t cpus = std::max<std::size_t>(machine.allowed.size(), 1);
  Placement p;
  p.workers = std::clamp<std::size_t>(asked.value_or(std::max<std::size_t>(cpus - 1, 1)), 1, kMaxWorkers);
  p.reason = asked ? std::format("{} asked for", p.workers) : std::format("{} CPU(s)", cpus);
  for (const QueueLimit& limit : limits) {
    if (limit.queues >= p.workers) continue;
    p.workers = std::max<std::size_t>(limit.queues, 1);
    p.reason += std::format(", {} has {} receive queue(s)", limit.interface, limit.queues);
  }
  p.cpus.resize(p.workers);
  if (machine.allowed.size() >= machine.online || machine.allowed.size() < p.workers) return p;
  // One worker has nobody to keep out of its way; two gateways on the same two CPUs have, and do not know it.
  if (p.workers == 1) return p;
  // The first CPU is left to the control thread while there are enough.
  const std::size_t first = machine.allowed.size() > p.workers ? 1 : 0;
  for (std::size_t i = 0; i < p.workers; ++i) p.cpus[i] = machine.allowed[first + i];
  p.reason += "; a CPU each";
  return p;
}

}  // namespace gw::worker
