// `gwctl upgrade` on the appliance itself: install, status, rollback, and the gate that runs after every start.
// Decisions are judge.hpp's and machine.hpp's; this is the order of things: RAUC, gwd, the notes, the restart. Owner:
// one run of gwctl, as root.
#pragma once

#include <chrono>
#include <functional>
#include <ostream>

#include "base/clock.hpp"
#include "cli/client.hpp"
#include "cli/commands.hpp"
#include "cli/run_program.hpp"
#include "cli/upgrade/files.hpp"
#include "cli/upgrade/judge.hpp"
#include "cli/upgrade/machine.hpp"

namespace gw::cli::upgrade {

/// What the commands work with; tests bring their own.
struct Tools {
  std::ostream& out;
  std::ostream& err;
  std::function<Result<Reply>(const Request&)> ask;  // gwd
  std::function<Ran(const Command&)> run;
  std::function<std::chrono::milliseconds()> uptime;  // never goes back
  std::function<WallTime()> now;
  std::function<bool(std::chrono::seconds)> pause;
  std::string notes = kNotes;
  std::string state = "/var/lib/gw";
};

inline constexpr std::chrono::minutes kDefaultWait{5};

enum class Restart : std::uint8_t { kLater, kNow };
/// --alone: with two instances, although the other one could not take over.
enum class Partner : std::uint8_t { kNeeded, kNotNeeded };

struct InstallOptions {
  std::string file;
  std::chrono::seconds wait = kDefaultWait;
  Restart restart = Restart::kLater;
  Partner partner = Partner::kNeeded;
  OlderState older = OlderState::kRefuse;
};

/// Each has reported what failed; the exit code is gwctl's (commands.hpp).
int install(const Tools& tools, const InstallOptions& options);
/// The slot of before, without an install.
int rollback(const Tools& tools, const InstallOptions& options);
Result<api::UpgradeStatus> status(const Tools& tools);
std::string render(const api::UpgradeStatus& status);

/// After every start of the machine. kGateBroken: it could not even find out where it is.
inline constexpr int kGateBroken = 5;
int gate(const Tools& tools);

Observation observe(const Tools& tools);

/// The boot loader tries a slot once, and one that was found good three times: a power cut while it starts is no fault
/// of it.
enum class Known : std::uint8_t { kNew, kGood };
Status tell_boot_loader(const Tools& tools, const std::string& slot, Known known);

}  // namespace gw::cli::upgrade
