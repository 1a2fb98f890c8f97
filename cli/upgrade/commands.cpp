#include "cli/upgrade/commands.hpp"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <format>

#include "base/duration.hpp"
#include "cli/session.hpp"

namespace gw::cli::upgrade {
namespace {

using std::chrono::seconds;

constexpr seconds kShortestWait{30};
constexpr seconds kLongestWait = std::chrono::hours(1);

void takes_wait(CLI::App& sub, Words& words) {
  sub.add_option("--wait", words.wait, "so long may the new version take until everything is up again [5m]")
      ->type_name("DURATION");
}
void takes_older(CLI::App& sub, Words& words) {
  sub.add_flag("--older-state", words.older,
               "a version that goes back to the revisions of before gwd's format changed");
}
void takes_restart(CLI::App& sub, Words& words) {
  sub.add_flag("--reboot", words.restart, "restart into it at once; with another instance endpoints are drained first");
  sub.add_flag("--alone", words.alone, "with --reboot: although the other instance could not take over");
}

/// kOk, or what usage() returned.
int read_wait(const Words& words, const Wiring& wiring, seconds& into) {
  if (words.wait.empty()) return kOk;
  const auto wait = parse_duration(words.wait);
  if (!wait || *wait < kShortestWait || *wait > kLongestWait)
    return wiring.usage(std::format("--wait: {} (expected 30s to 1h, e.g. 5m)",
                                    wait ? std::format("{} is out of range", words.wait) : wait.error().message));
  into = std::chrono::ceil<seconds>(*wait);
  return kOk;
}

InstallOptions options_of(const Words& words) {
  return {.file = words.file,
          .restart = words.restart ? Restart::kNow : Restart::kLater,
          .partner = words.alone ? Partner::kNotNeeded : Partner::kNeeded,
          .older = words.older ? OlderState::kAccept : OlderState::kRefuse};
}

int run_pair(const Words& words, const Wiring& wiring) {
  if (words.pair.empty())
    return wiring.usage(
        "'gwctl upgrade' needs one of install, status, rollback, or --pair FILE (see gwctl upgrade --help)");
  if (words.hosts.empty() || words.hosts.size() > 2 || std::ranges::contains(words.hosts, std::string()))
    return wiring.usage(
        "--pair needs --host DESTINATION of ssh: the other instance, or both from any machine (see gwctl upgrade "
        "--help)");
  PairOptions options{
      .file = words.pair, .hosts = words.hosts, .older = words.older ? OlderState::kAccept : OlderState::kRefuse};
  if (const int read = read_wait(words, wiring, options.wait); read != kOk) return read;
  return upgrade_pair(wiring.tools(), options);
}

int show_status(const Wiring& wiring) {
  const Tools tools = wiring.tools();
  const auto found = status(tools);
  if (!found) return tools.err << std::format("gwctl: {}\n", found.error().message), kNo;
  tools.out << (wiring.json() ? to_json(*found, Layout::kIndented) : render(*found));
  return kOk;
}

using Change = int (*)(const Tools&, const InstallOptions&);

int change(Change what, const Words& words, const Wiring& wiring) {
  InstallOptions options = options_of(words);
  if (const int read = read_wait(words, wiring, options.wait); read != kOk) return read;
  return what(wiring.tools(), options);
}

}  // namespace

void add_commands(CLI::App& root, Words& words, const Wiring& wiring) {
  CLI::App& upgrade = *root.add_subcommand("upgrade", "Another version of the appliance, and back");
  upgrade.footer(
      "Examples:\n  gwctl upgrade install gw.raucb --reboot\n  gwctl upgrade status\n  gwctl upgrade rollback "
      "--reboot\n"
      "  gwctl upgrade --pair gw.raucb --host root@gw-a --host root@gw-b     both instances, from any machine with "
      "ssh\n"
      "  gwctl upgrade --pair gw.raucb --host root@gw-b                      on gw-a: the other one, then this one");
  upgrade.require_subcommand(0, 1);
  upgrade.add_option("--pair", words.pair, "both instances, one after the other; stops if one does not come up")
      ->type_name("FILE");
  upgrade.add_option("--host", words.hosts, "with --pair: how ssh reaches an instance")->type_name("DESTINATION");
  takes_wait(upgrade, words);
  takes_older(upgrade, words);
  upgrade.callback([&upgrade, &words, wiring] {
    if (upgrade.get_subcommands().empty()) wiring.chosen([&words, wiring] { return run_pair(words, wiring); });
  });

  const auto add = [&](const char* name, const char* what, const char* examples,
                       std::function<int()> action) -> CLI::App& {
    CLI::App& sub = *upgrade.add_subcommand(name, what);
    sub.footer(std::string("Examples:\n") + examples);
    sub.callback([wiring, action = std::move(action)] { wiring.chosen(action); });
    return sub;
  };
  CLI::App& installs = add("install", "Write a bundle into the other slot; it starts with the next restart",
                           "  gwctl upgrade install gw.raucb\n  gwctl upgrade install gw.raucb --reboot --wait 10m",
                           [&words, wiring] { return change(install, words, wiring); });
  installs.add_option("FILE", words.file, "the update, signed (.raucb)")->type_name("FILE")->required();
  CLI::App& back = add("rollback", "The version of before, in the other slot", "  gwctl upgrade rollback --reboot",
                       [&words, wiring] { return change(rollback, words, wiring); });
  for (CLI::App* sub : {&installs, &back}) {
    takes_wait(*sub, words);
    takes_older(*sub, words);
    takes_restart(*sub, words);
  }
  add("status", "Which version runs, which is in the other slot, how the last update went",
      "  gwctl upgrade status\n  gwctl upgrade status --json", [wiring] { return show_status(wiring); });
  add("gate", "What runs after each start: finds this slot good, or goes back (gw-good.service)",
      "  journalctl -u gw-good", [wiring] { return gate(wiring.tools()); });
}

}  // namespace gw::cli::upgrade
