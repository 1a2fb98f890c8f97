// How many workers, and on which CPUs. Pure but for allowed_cpus().
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace gw::worker {

struct Machine {
  std::vector<int> allowed;  // CPUs this process may use
  std::size_t online = 0;    // CPUs of the machine
};
Machine this_machine();

/// A port that cannot serve more workers.
struct QueueLimit {
  std::string interface;
  std::size_t queues = 0;
};

struct Placement {
  std::size_t workers = 1;
  std::vector<std::optional<int>> cpus;  // by worker; none: wherever the scheduler likes
  std::string reason;                    // for an operator
};

/// As many as asked for (none: one CPU fewer than there are, for control and kernel), but at least one and no more
/// than receive queues on any port. Several get a CPU each if the process was given CPUs of its own (taskset, systemd's
/// CPUAffinity=) and they suffice: on CPUs that everybody may use, the scheduler knows better who else is there.
Placement place(std::optional<std::size_t> asked, const Machine& machine, const std::vector<QueueLimit>& limits);

}  // namespace gw::worker
