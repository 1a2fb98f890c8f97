// The gate: the I/O around judge.hpp's decision.
#include <filesystem>
#include <format>

#include "cli/session.hpp"
#include "cli/text.hpp"
#include "cli/upgrade/local.hpp"
#include "gw/api/v1/ha.pb.h"

namespace gw::cli::upgrade {
namespace {

using std::chrono::seconds;

constexpr seconds kPoll{2};
constexpr seconds kSlotsWait{60};      // D-Bus and RAUC start with the machine
constexpr seconds kOrdinaryWait{120};  // for gwd, after a start without an update
constexpr seconds kFetchAgain{15};     // an endpoint is asked for again when it has not come

void say(const Tools& tools, const std::string& text) {
  tools.out << "gw-gate: " << printable(text) << "\n";
  tools.out.flush();
}

Result<Machine> find_slots(const Tools& tools) {
  const auto start = tools.uptime();
  while (true) {
    const Ran ran = tools.run({.argv = {"rauc", "status", "--output-format=json"}});
    if (ran.ok()) return parse_machine(ran.out);
    if (tools.uptime() - start >= kSlotsWait)
      return fail(Errc::kIo, std::format("rauc does not answer: {}", ran.said()));
    tools.pause(kPoll);
  }
}

Status mark(const Tools& tools, const char* as, const char* slot) {
  const Ran ran = tools.run({.argv = {"rauc", "status", as, slot}});
  if (ran.ok()) return {};
  return fail(Errc::kIo, std::format("rauc status {} {}: {}", as, slot, ran.said()));
}

api::UpgradeOutcome outcome(const Tools& tools, const api::UpgradeBefore& before, const char* result,
                            std::string reason) {
  api::UpgradeOutcome out;
  out.set_version(before.to_version());
  out.set_slot(before.to_slot());
  out.set_result(result);
  out.set_reason(std::move(reason));
  out.set_at_unix_ms(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(tools.now().time_since_epoch()).count()));
  return out;
}

// For `status` and `rollback`: what this slot has.
void note_this_slot(const Tools& tools, const std::string& slot) {
  const Notes notes(tools.notes);
  api::UpgradeSlots slots = notes.slots();
  api::UpgradeImage& image = (*slots.mutable_slots())[slot];
  const std::string version = tools.run({.argv = {"cat", "/usr/lib/gw/version"}}).out;
  const std::string format = tools.run({.argv = {"gwd", "--state-format"}}).out;
  image.set_version(version.substr(0, version.find('\n')));
  image.set_state_format(static_cast<std::uint32_t>(std::atoi(format.c_str())));
  if (const auto written = notes.write(slots); !written) say(tools, written.error().message);
}

Status mark_good(const Tools& tools, const std::string& slot) {
  GW_TRY(mark(tools, "mark-good", "booted"));
  return tell_boot_loader(tools, slot, Known::kGood);
}

int ordinary(const Tools& tools, const std::string& slot) {
  const auto start = tools.uptime();
  while (true) {
    const auto reply = tools.ask(get("/v1/status"));
    if (reply && reply->status == 200) break;
    if (tools.uptime() - start >= kOrdinaryWait) {
      say(tools,
          std::format("gwd does not answer: this start is not good, the next one is in the other slot if that is ({})",
                      reply ? std::format("HTTP {}", reply->status) : reply.error().message));
      return kNo;
    }
    tools.pause(kPoll);
  }
  const auto marked = mark_good(tools, slot);
  if (!marked) return say(tools, marked.error().message), kGateBroken;
  return kOk;
}

int taken_back(const Tools& tools, const api::UpgradeBefore& before) {
  const Notes notes(tools.notes);
  const auto last = notes.last();
  // The gate of the new slot may have said why already; a slot that hung or never got so far could not.
  if (!last || last->version() != before.to_version() || last->at_unix_ms() < before.taken_unix_ms()) {
    const std::string why =
        std::format("slot {} did not come up (a hang, a panic, a damaged slot, no data partition, or the power went)",
                    before.to_slot());
    if (const auto written = notes.write(outcome(tools, before, "taken back", why)); !written)
      say(tools, written.error().message);
  }
  say(tools, std::format("the update to {} was taken back: {}", before.to_version(),
                         notes.last() ? notes.last()->reason() : ""));
  if (const auto marked = mark(tools, "mark-bad", "other"); !marked) say(tools, marked.error().message);
  if (const auto dropped = notes.drop_before(); !dropped) say(tools, dropped.error().message);
  return ordinary(tools, before.from_slot());
}

std::string sum_up(const Judgement& judgement) {
  constexpr std::size_t kNamed = 5;
  std::string out;
  for (std::size_t i = 0; i < judgement.missing.size() && i < kNamed; ++i)
    out += (i == 0 ? "" : "; ") + judgement.missing[i];
  if (judgement.missing.size() > kNamed) out += std::format("; and {} more", judgement.missing.size() - kNamed);
  return out;
}

int take_back(const Tools& tools, const api::UpgradeBefore& before, const Judgement& judgement) {
  const std::string why =
      std::format("not up again after {}: {}", human_duration(seconds(before.wait_seconds())), sum_up(judgement));
  say(tools, std::format("{} is taken back: {}", before.to_version(), why));
  const Notes notes(tools.notes);
  if (const auto written = notes.write(outcome(tools, before, "taken back", why)); !written)
    say(tools, written.error().message);
  // Even if this fails the boot loader has counted the try.
  if (const auto marked = mark(tools, "mark-bad", "booted"); !marked) say(tools, marked.error().message);
  const Ran ran = tools.run({.argv = {"systemctl", "reboot"}});
  if (ran.ok()) return kOk;
  say(tools, std::format("cannot restart: {}", ran.said()));
  return kGateBroken;
}

// Those that operators copied there (images/README.md): each is as large as an image, and has done its work.
void drop_bundles(const Tools& tools) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(tools.notes, error), end; !error && at != end; at.increment(error))
    if (std::error_code ignored; at->path().extension() == ".raucb") std::filesystem::remove(at->path(), ignored);
}

int found_good(const Tools& tools, const api::UpgradeBefore& before) {
  if (const auto marked = mark_good(tools, before.to_slot()); !marked)
    return say(tools, marked.error().message), kGateBroken;
  const Notes notes(tools.notes);
  if (const auto written = notes.write(outcome(tools, before, "good", "")); !written)
    say(tools, written.error().message);
  if (const auto dropped = notes.drop_before(); !dropped) say(tools, dropped.error().message);
  drop_bundles(tools);
  say(tools, std::format("{} is good: everything that was up is up again", before.to_version()));
  return kOk;
}

void fetch(const Tools& tools, const std::string& address, const std::string& instance) {
  api::HaMoveRequest request;
  request.set_address(address);
  request.set_instance(instance);
  const auto reply = tools.ask(post("/v1/ha/move", request));
  say(tools, std::format("endpoint {} is asked back{}", address, reply && reply->status == 200 ? "" : ": refused"));
}

int new_slot(const Tools& tools, const api::UpgradeBefore& before) {
  const auto start = tools.uptime();
  Gate gate{seconds(before.wait_seconds())};
  std::string said;
  auto fetched = start - kFetchAgain;
  say(tools, std::format("{} runs for the first time; it has {} to bring up what was up", before.to_version(),
                         human_duration(seconds(before.wait_seconds()))));
  while (true) {
    const Judgement judgement = judge(before, observe(tools));
    const auto elapsed = tools.uptime() - start;
    const Step step = gate.next(judgement, elapsed);
    if (step == Step::kGood) return found_good(tools, before);
    if (step == Step::kTakeBack) return take_back(tools, before, judgement);
    if (const std::string now = judgement.healthy() ? "nothing; is it stable?" : sum_up(judgement); now != said)
      say(tools, std::format("waiting for: {}", said = now));
    if (!judgement.to_fetch.empty() && tools.uptime() - fetched >= kFetchAgain) {
      fetched = tools.uptime();
      for (const std::string& address : judgement.to_fetch) fetch(tools, address, before.instance());
    }
    tools.pause(kPoll);
  }
}

}  // namespace

int gate(const Tools& tools) {
  const auto machine = find_slots(tools);
  if (!machine) return say(tools, machine.error().message), kGateBroken;
  note_this_slot(tools, machine->booted);
  const auto before = Notes(tools.notes).before();
  if (!before) {
    // Written by nobody: without it an update cannot be judged, and this slot is no worse than any.
    say(tools, before.error().message);
    if (const auto dropped = Notes(tools.notes).drop_before(); !dropped) say(tools, dropped.error().message);
    return ordinary(tools, machine->booted);
  }
  switch (classify(*before, machine->booted)) {
    case Start::kNewSlot: return new_slot(tools, **before);
    case Start::kTakenBack: return taken_back(tools, **before);
    case Start::kOrdinary: break;
  }
  return ordinary(tools, machine->booted);
}

}  // namespace gw::cli::upgrade
