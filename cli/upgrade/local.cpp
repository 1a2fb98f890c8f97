#include "cli/upgrade/local.hpp"

#include <charconv>
#include <filesystem>
#include <format>

#include "cli/session.hpp"
#include "cli/text.hpp"

namespace gw::cli::upgrade {
namespace {

constexpr const char* kRaucIsBusy = "lready processing a different method";

std::uint64_t unix_ms(WallTime time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

int report(const Tools& tools, const Error& error) {
  tools.err << std::format("gwctl: {}\n", error.message);
  return error.code == Errc::kNotFound || error.code == Errc::kInvalidArgument ? kUsage : kNo;
}

Result<Machine> machine_of(const Tools& tools) {
  const Ran ran = tools.run({.argv = {"rauc", "status", "--output-format=json"}});
  if (ran.status == 127)
    return fail(
        Errc::kUnsupported,
        "this machine has no RAUC: updates are for the appliance's image; elsewhere apt installs newer packages");
  if (!ran.ok() && ran.said().contains(kRaucIsBusy))
    return fail(Errc::kRefused, "an update is being written just now: wait for it");
  if (!ran.ok()) return fail(Errc::kIo, std::format("rauc does not answer: {}", printable(ran.said())));
  return parse_machine(ran.out);
}

template <class Number>
Number number_of(const Tools& tools, std::vector<std::string> argv) {
  Number n = 0;
  const Ran ran = tools.run({.argv = std::move(argv)});
  std::from_chars(ran.out.data(), ran.out.data() + ran.out.size(), n);
  return n;
}

std::string version_of_this(const Tools& tools) {
  const std::string text = tools.run({.argv = {"cat", "/usr/lib/gw/version"}}).out;
  return text.substr(0, text.find('\n'));
}

Surrounds surrounds_of(const Tools& tools, const Bundle& bundle, const Machine& machine) {
  Surrounds out{.state_format = number_of<std::uint32_t>(tools, {"gwd", "--state-format"})};
  for (std::uint32_t format = 1; format < out.state_format; ++format) {
    std::error_code error;
    if (std::filesystem::exists(std::format("{}/gwd.db.format{}", tools.state, format), error))
      out.kept_formats.push_back(format);
  }
  for (const Bundle::Image& image : bundle.images)
    for (const Machine::Slot& slot : machine.slots)
      if (slot.slot_class == image.slot_class && slot.boot_name == machine.other())
        out.target_bytes.push_back(number_of<std::uint64_t>(tools, {"blockdev", "--getsize64", slot.device}));
  const auto before = Notes(tools.notes).before();
  out.undecided = before && *before && (*before)->to_slot() == machine.booted;
  return out;
}

// A restart takes this instance away: may it?
Status partner_takes_over(const Observation& now) {
  if (!now.ha) return {};
  const auto refuse = [](std::string_view peer, std::string_view why) {
    return fail(
        Errc::kRefused,
        std::format("{} could not take over while this instance restarts: {}. Mend that first (gwctl ha show), or "
                    "accept that traffic stops: --alone",
                    printable(peer), printable(why)));
  };
  for (const api::HaPeer& peer : now.ha->peers()) {
    if (!peer.sync() || !peer.data())
      return refuse(peer.instance(), peer.sync() ? "its data path is silent" : "it is not heard");
    if (!peer.unfit().empty()) return refuse(peer.instance(), peer.unfit());
    if (!peer.has_all_of_ours()) return refuse(peer.instance(), "it does not have all our state yet");
  }
  return {};
}

void describe(const Tools& tools, const api::UpgradeBefore& before) {
  tools.out << std::format(
      "what has to be up again, within {}: {} tunnels, {} other BGP sessions{}\n",
      human_duration(std::chrono::seconds(before.wait_seconds())), before.tunnels_size(), before.sessions_size(),
      before.endpoints().empty() ? "" : std::format(", {} endpoints of this instance", before.endpoints_size()));
}

struct Target {
  std::string slot;
  api::UpgradeImage image;
};

// What is up now, written down for the gate.
Result<api::UpgradeBefore> prepare(const Tools& tools, const Machine& machine, const Target& target,
                                   const InstallOptions& options) {
  const Observation now = observe(tools);
  if (!now.unreachable.empty())
    return fail(Errc::kRefused,
                std::format("gwd does not answer, so nobody knows what has to be up afterwards: {}", now.unreachable));
  if (options.partner == Partner::kNeeded && options.restart == Restart::kNow) GW_TRY(partner_takes_over(now));
  api::UpgradeBefore before = write_down(now);
  before.set_from_slot(machine.booted);
  before.set_to_slot(target.slot);
  before.set_from_version(version_of_this(tools));
  before.set_to_version(target.image.version());
  before.set_taken_unix_ms(unix_ms(tools.now()));
  before.set_wait_seconds(static_cast<std::uint32_t>(options.wait.count()));
  GW_TRY(tell_boot_loader(tools, target.slot, Known::kNew));
  const Notes notes(tools.notes);
  GW_TRY(notes.write(before));
  api::UpgradeSlots slots = notes.slots();
  (*slots.mutable_slots())[target.slot] = target.image;
  GW_TRY(notes.write(slots));
  return before;
}

int restart(const Tools& tools, const InstallOptions& options, const api::UpgradeBefore& before) {
  describe(tools, before);
  if (options.restart == Restart::kLater) {
    tools.out << std::format("{} starts in slot {} with the next restart: systemctl reboot\n", before.to_version(),
                             before.to_slot());
    return kOk;
  }
  tools.out << std::format("restarting into slot {}; how it went: gwctl upgrade status\n", before.to_slot());
  tools.out.flush();
  const Ran ran = tools.run({.argv = {"systemctl", "reboot"}});
  if (ran.ok()) return kOk;
  return report(tools, Error{Errc::kIo, std::format("cannot restart: {}", printable(ran.said())), {}, {}});
}

}  // namespace

Status tell_boot_loader(const Tools& tools, const std::string& slot, Known known) {
  const Ran ran = tools.run({.argv = {"grub-editenv", "/boot/efi/grub/grubenv", "set",
                                      std::format("{}_KNOWN={}", slot, known == Known::kGood ? 1 : 0)}});
  if (ran.ok()) return {};
  return fail(Errc::kIo, std::format("cannot write what the boot loader reads: {}", printable(ran.said())));
}

Observation observe(const Tools& tools) {
  Observation out;
  const auto fetch = [&](const char* target, google::protobuf::Message& into) -> unsigned {
    if (!out.unreachable.empty()) return 0;
    const auto reply = tools.ask(get(target));
    if (!reply)
      out.unreachable = reply.error().message;
    else if (reply->status != 404 && (reply->status != 200 || !from_json(reply->body, into)))
      out.unreachable = std::format("{} is answered with HTTP {}", target, reply->status);
    return reply ? reply->status : 0;
  };
  fetch("/v1/status", out.status);
  fetch("/v1/tunnels", out.tunnels);
  fetch("/v1/bgp/peers", out.sessions);
  api::HaReply ha;
  if (fetch("/v1/ha", ha) == 200) out.ha = std::move(ha);
  return out;
}

int install(const Tools& tools, const InstallOptions& options) {
  const auto machine = machine_of(tools);
  if (!machine) return report(tools, machine.error());
  const std::string file = std::filesystem::absolute(options.file).lexically_normal().string();
  const Ran info = tools.run({.argv = {"rauc", "info", "--output-format=json-2", file}});
  if (!info.ok()) return report(tools, explain_refusal(file, info.said()));
  const auto bundle = parse_bundle(info.out);
  if (!bundle) return report(tools, bundle.error());
  if (const auto admitted = admit(*bundle, *machine, surrounds_of(tools, *bundle, *machine), options.older); !admitted)
    return report(tools, admitted.error());

  api::UpgradeImage image;
  image.set_version(bundle->version);
  image.set_state_format(bundle->state_format);
  const auto before = prepare(tools, *machine, {machine->other(), image}, options);
  if (!before) return report(tools, before.error());
  tools.out << std::format("installing {} into slot {} ({} runs in slot {})\n", printable(bundle->version),
                           machine->other(), before->from_version(), machine->booted);
  tools.out.flush();
  const Ran ran = tools.run({.argv = {"rauc", "install", file}, .output = Output::kShown});
  if (!ran.ok()) {
    // The slot is marked bad before its first byte is written: this one goes on to be started. Another install, which
    // was faster, goes on and needs its note.
    if (ran.said().contains(kRaucIsBusy)) return report(tools, explain_refusal(file, ran.said()));
    if (const auto dropped = Notes(tools.notes).drop_before(); !dropped) report(tools, dropped.error());
    return report(tools, explain_refusal(file, ran.said()));
  }
  return restart(tools, options, *before);
}

int rollback(const Tools& tools, const InstallOptions& options) {
  const auto machine = machine_of(tools);
  if (!machine) return report(tools, machine.error());
  const std::string other = machine->other();
  const api::UpgradeSlots slots = Notes(tools.notes).slots();
  const auto image = slots.slots().find(other);
  if (image == slots.slots().end() || !machine->good(other))
    return report(
        tools,
        Error{Errc::kRefused,
              std::format("slot {} has no version that was found good: there is nothing to go back to; gwctl upgrade "
                          "install FILE installs one",
                          other),
              {},
              {}});
  const Bundle there{.compatible = machine->compatible,
                     .version = image->second.version(),
                     .state_format = image->second.state_format(),
                     .images = {}};
  if (const auto admitted = admit(there, *machine, surrounds_of(tools, there, *machine), options.older); !admitted)
    return report(tools, admitted.error());
  const auto before = prepare(tools, *machine, {other, image->second}, options);
  if (!before) return report(tools, before.error());
  const Ran ran = tools.run({.argv = {"rauc", "status", "mark-active", "other"}});
  if (!ran.ok()) {
    if (const auto dropped = Notes(tools.notes).drop_before(); !dropped) report(tools, dropped.error());
    return report(
        tools, Error{Errc::kIo, std::format("rauc cannot choose slot {}: {}", other, printable(ran.said())), {}, {}});
  }
  tools.out << std::format("going back to {} in slot {}\n", there.version, other);
  return restart(tools, options, *before);
}

Result<api::UpgradeStatus> status(const Tools& tools) {
  GW_TRY_ASSIGN(const Machine machine, machine_of(tools));
  const Notes notes(tools.notes);
  const api::UpgradeSlots images = notes.slots();
  api::UpgradeStatus out;
  out.set_booted(machine.booted);
  out.set_version(version_of_this(tools));
  out.set_next(machine.next);
  for (const Machine::Slot& slot : machine.slots) {
    if (slot.slot_class != "rootfs") continue;
    api::UpgradeSlot& row = *out.add_slots();
    row.set_slot(slot.boot_name);
    row.set_good(slot.good);
    if (const auto image = images.slots().find(slot.boot_name); image != images.slots().end()) {
      row.set_version(image->second.version());
      row.set_state_format(image->second.state_format());
    }
  }
  GW_TRY_ASSIGN(auto before, notes.before());
  if (before) *out.mutable_waiting() = std::move(*before);
  if (auto last = notes.last()) *out.mutable_last() = std::move(*last);
  return out;
}

std::string render(const api::UpgradeStatus& status) {
  std::string out = std::format("{} runs, slot {}\n\n", printable(status.version()), status.booted());
  Table table({{"Slot"}, {"Version"}, {"State"}, {"Next start"}});
  for (const api::UpgradeSlot& slot : status.slots())
    table.row({slot.slot(), printable(slot.version()), slot.good() ? "good" : "not started",
               slot.slot() == status.next() ? "yes" : ""});
  out += table.render(Style::kPlain);
  if (status.has_waiting()) {
    const api::UpgradeBefore& waiting = status.waiting();
    out +=
        waiting.to_slot() == status.booted()
            ? std::format("\n{} is being watched: is everything up again? (within {} of its start)\n",
                          printable(waiting.to_version()), human_duration(std::chrono::seconds(waiting.wait_seconds())))
            : std::format("\n{} waits in slot {} for a restart: systemctl reboot\n", printable(waiting.to_version()),
                          waiting.to_slot());
  }
  if (status.has_last())
    out += std::format("\nlast update: {} was {}, {}{}{}\n", printable(status.last().version()),
                       status.last().result() == "good" ? "found good" : "taken back",
                       human_time(status.last().at_unix_ms()), status.last().reason().empty() ? "" : ": ",
                       printable(status.last().reason()));
  return out;
}

}  // namespace gw::cli::upgrade
