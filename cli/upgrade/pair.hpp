// `gwctl upgrade --pair FILE`: two instances, one after the other: look, copy, install, drain, restart, wait for the
// gate's verdict and for the endpoints to be home, then the other one. Stops at the first thing that is not as it
// should be, says what and where, and leaves the other instance alone. Each instance is a host that gwctl runs on: by
// ssh, or this machine. Owner: one run of gwctl.
#pragma once

#include "cli/upgrade/local.hpp"

namespace gw::cli::upgrade {

struct PairOptions {
  std::string file;
  /// ssh's destinations. One: the other instance; this machine is the second, and restarts last.
  std::vector<std::string> hosts;
  std::chrono::seconds wait = kDefaultWait;
  OlderState older = OlderState::kRefuse;
};

/// A restart, the start of the machine, and the return of its endpoints, on top of the gate's time.
inline constexpr std::chrono::minutes kStartAllowance{10};
inline constexpr std::chrono::seconds kDrainWait{60};

int upgrade_pair(const Tools& tools, const PairOptions& options);

}  // namespace gw::cli::upgrade
