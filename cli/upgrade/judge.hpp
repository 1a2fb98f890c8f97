// When is a gateway as healthy as before its update? Pure: what gwd says before and after, in; what is missing, out.
// The rule (ADR 21): every tunnel that was up is up again and has its BGP session, if it had one; so are the sessions
// of circuits and of the other instance; endpoints that belong here are back. Any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "gw/api/v1/api.pb.h"
#include "gw/api/v1/ha.pb.h"
#include "gw/api/v1/upgrade.pb.h"

namespace gw::cli::upgrade {

namespace api = gw::api::v1;

/// What gwd says of one moment.
struct Observation {
  std::string unreachable;  // why gwd did not answer; the rest is empty then
  api::StatusReply status;
  api::TunnelsReply tunnels;
  api::BgpPeersReply sessions;
  std::optional<api::HaReply> ha;  // not set: there is no other instance
};

/// The health to come back to; slots and versions are the caller's.
api::UpgradeBefore write_down(const Observation& now);

struct Judgement {
  std::vector<std::string> missing;   // in words; empty: as healthy as before
  std::vector<std::string> to_fetch;  // endpoints that may be asked back from the other instance now
  bool healthy() const { return missing.empty(); }
};
Judgement judge(const api::UpgradeBefore& before, const Observation& now);

/// The gate's clock. Healthy has to last: a daemon that comes and goes is no good start.
inline constexpr std::chrono::seconds kSettled{10};
enum class Step : std::uint8_t { kWait, kGood, kTakeBack };

class Gate {
 public:
  explicit Gate(std::chrono::seconds wait) : wait_(wait) {}
  /// `since_start` never goes back.
  Step next(const Judgement& judgement, std::chrono::milliseconds since_start);

 private:
  std::chrono::milliseconds wait_;
  std::optional<std::chrono::milliseconds> healthy_since_;
};

/// What a start of the machine is, by what was written down (if anything) and the slot that runs.
enum class Start : std::uint8_t {
  kOrdinary,
  kNewSlot,    // the first start of what an update has written: the gate decides
  kTakenBack,  // an update was written, but this is the slot of before: the new one did not come up
};
Start classify(const std::optional<api::UpgradeBefore>& before, const std::string& booted_slot);

}  // namespace gw::cli::upgrade
