#include "cli/upgrade/pair.hpp"

#include <algorithm>
#include <filesystem>
#include <format>

#include "cli/render_ha.hpp"
#include "cli/session.hpp"
#include "cli/text.hpp"

namespace gw::cli::upgrade {
namespace {

using std::chrono::seconds;

constexpr seconds kPoll{5};
constexpr int kConnectionLost = 255;  // ssh's own status; others are the command's
constexpr const char* kCopied = "/var/lib/gw-update/bundle.raucb";

// The shell at the other end of ssh splits words anew.
std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

class Host {
 public:
  Host(const Tools& tools, std::string destination) : tools_(tools), destination_(std::move(destination)) {}

  bool local() const { return destination_.empty(); }
  std::string name() const { return local() ? "this machine" : destination_; }

  Ran run(std::vector<std::string> argv, const std::string& input = {}, Output output = Output::kCaptured) const {
    if (local()) return tools_.run({std::move(argv), input, output});
    std::string line;
    for (const std::string& word : argv) line += (line.empty() ? "" : " ") + quoted(word);
    // A machine that is gone without a word (a watchdog, its plug) ends the command after 30 s, not with TCP's
    // patience.
    return tools_.run({{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10", "-o",
                        "ServerAliveCountMax=3", "-o", "LogLevel=ERROR", "--", destination_, line},
                       input,
                       output});
  }

  template <class Reply>
  Result<Reply> ask(std::vector<std::string> words) const {
    std::vector<std::string> argv{"gwctl", "--json"};
    argv.insert(argv.end(), words.begin(), words.end());
    const Ran ran = run(std::move(argv));
    Reply reply;
    if (ran.ok() && from_json(ran.out, reply)) return reply;
    return fail(Errc::kIo, std::format("{}: {}", name(), printable(first_line(ran.said()))));
  }

  static std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

 private:
  const Tools& tools_;
  std::string destination_;
};

class Pair {
 public:
  Pair(const Tools& tools, const PairOptions& options) : tools_(tools), options_(options) {
    for (const std::string& host : options.hosts) hosts_.emplace_back(tools, host);
    if (hosts_.size() == 1) hosts_.emplace_back(tools, std::string());
  }

  Status run() {
    GW_TRY(look());
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      const Host& host = hosts_[i];
      if (auto done = update(host); !done)
        return std::unexpected(std::move(done).error().with_context(
            i == 0 ? std::format("{} ({} was left alone)", host.name(), hosts_[1].name())
                   : std::format("{} ({} is updated)", host.name(), hosts_[0].name())));
      if (host.local()) return {};  // it restarts now
    }
    tools_.out << "both instances are updated, and have their endpoints\n";
    return {};
  }

 private:
  /// Nothing is touched before both are well.
  Status look() {
    std::error_code error;
    if (!std::filesystem::is_regular_file(options_.file, error))
      return fail(Errc::kNotFound, std::format("{}: there is no such file", options_.file));
    std::vector<api::HaReply> replies;
    for (const Host& host : hosts_) {
      GW_TRY_ASSIGN(const auto status, host.ask<api::UpgradeStatus>({"upgrade", "status"}));
      if (status.has_waiting() && status.waiting().to_slot() == status.booted())
        return fail(Errc::kRefused, std::format("{}: the update before is not decided yet", host.name()));
      GW_TRY_ASSIGN(const auto ha, host.ask<api::HaReply>({"ha", "show"}));
      GW_TRY(well(host, ha));
      if (!at_home(ha))
        return fail(
            Errc::kRefused,
            std::format("{}: an endpoint that belongs there is elsewhere (gwctl ha show, gwctl ha move)", host.name()));
      replies.push_back(ha);
    }
    return are_a_pair(replies[0], replies[1]);
  }

  Status are_a_pair(const api::HaReply& first, const api::HaReply& second) const {
    const auto refuse = [](std::string why) { return fail(Errc::kInvalidArgument, std::move(why)); };
    if (first.instance() == second.instance())
      return refuse(std::format("{} and {} are the same instance, {}", hosts_[0].name(), hosts_[1].name(),
                                printable(first.instance())));
    if (std::ranges::find(first.peers(), second.instance(), &api::HaPeer::instance) == first.peers().end())
      return refuse(std::format("{} is {}, which is not the other instance of {}", hosts_[1].name(),
                                printable(second.instance()), hosts_[0].name()));
    return this_machine_is_none_of_them();
  }

  Status this_machine_is_none_of_them() const {
    if (hosts_[1].local()) return {};
    const std::vector<std::string> id{"cat", "/etc/machine-id"};
    const std::string here = tools_.run({.argv = id}).out;
    for (std::size_t i = 0; i < hosts_.size() && !here.empty(); ++i)
      if (hosts_[i].run(id).out == here)
        return fail(
            Errc::kInvalidArgument,
            std::format("{} is this machine, whose restart ends this command: name the other one alone, --host {}",
                        hosts_[i].name(), hosts_[1 - i].name()));
    return {};
  }

  static Status well(const Host& host, const api::HaReply& ha) {
    const auto refuse = [&](std::string_view why) {
      return fail(Errc::kRefused, std::format("{}: {}; gwctl ha show there says more", host.name(), printable(why)));
    };
    if (ha.drained()) return refuse("it is drained (gwctl ha undrain)");
    if (!ha.unfit().empty()) return refuse(std::format("it cannot own endpoints: {}", ha.unfit()));
    if (!ha.alarms().empty()) return refuse(std::format("{}: {}", ha.alarms(0).kind(), ha.alarms(0).text()));
    for (const api::HaPeer& peer : ha.peers())
      if (!peer.has_all_of_ours() || !peer.we_have_all_of_its())
        return refuse("the instances do not have all of each other's state yet");
    if (!all_up(ha)) return refuse("something of the pair is down");
    return {};
  }

  Status update(const Host& host) {
    GW_TRY_ASSIGN(const auto status, host.ask<api::UpgradeStatus>({"upgrade", "status"}));
    tools_.out << std::format("{}: copying the bundle\n", host.name());
    tools_.out.flush();
    std::string file = options_.file;
    if (!host.local()) {
      file = kCopied;
      const Ran copied =
          host.run({"sh", "-c", std::format("mkdir -p /var/lib/gw-update && cat >{}", kCopied)}, options_.file);
      if (!copied.ok()) {
        host.run({"rm", "-f", kCopied});
        return fail(Errc::kIo,
                    std::format("the bundle cannot be copied: {}", printable(Host::first_line(copied.said()))));
      }
    }
    tools_.out << std::format("{}: installing\n", host.name());
    tools_.out.flush();
    std::vector<std::string> words{"gwctl", "upgrade", "install",
                                   file,    "--wait",  std::format("{}s", options_.wait.count())};
    if (options_.older == OlderState::kAccept) words.emplace_back("--older-state");
    const Ran installed = host.run(words);
    if (!host.local()) host.run({"rm", "-f", kCopied});
    if (!host.local() && installed.status == kConnectionLost)
      return fail(Errc::kIo,
                  std::format("the connection was lost, the install may go on there (gwctl upgrade status): {}",
                              printable(Host::first_line(installed.said()))));
    if (!installed.ok()) return fail(Errc::kRefused, printable(Host::first_line(installed.said())));
    GW_TRY(drain(host));
    tools_.out << std::format("{}: restarting\n", host.name());
    tools_.out.flush();
    // The connection goes with the machine.
    const Ran restarts = host.run({"systemctl", "reboot"});
    if (!restarts.ok() && (host.local() || restarts.status != kConnectionLost))
      return undrained(host, std::format("it cannot be restarted: {}", printable(Host::first_line(restarts.said()))));
    if (host.local()) {
      tools_.out << "this machine restarts; how it went: gwctl upgrade status\n";
      return {};
    }
    return wait_for_verdict(host, status.last().at_unix_ms());
  }

  Status drain(const Host& host) {
    tools_.out << std::format("{}: draining\n", host.name());
    tools_.out.flush();
    const Ran drained = host.run({"gwctl", "ha", "drain", "--wait", std::format("{}s", kDrainWait.count())});
    if (drained.ok()) return {};
    return undrained(host, std::format("it cannot be drained: {}", printable(Host::first_line(drained.said()))));
  }

  static Status undrained(const Host& host, const std::string& why) {
    const Ran ran = host.run({"gwctl", "ha", "undrain"});
    return fail(Errc::kRefused, std::format("{}; {}. What was installed starts with the next restart", why,
                                            ran.ok() ? "undrained again" : "it is still drained (gwctl ha undrain)"));
  }

  /// `before`: when the update before this one had its verdict, by that machine's clock.
  Status wait_for_verdict(const Host& host, std::uint64_t before) {
    const auto start = tools_.uptime();
    std::string last = "it does not answer since its restart";
    bool restarted = true;  // as far as one knows: it may be gone since it last answered
    while (tools_.uptime() - start < options_.wait + kStartAllowance) {
      tools_.pause(kPoll);
      const auto status = host.ask<api::UpgradeStatus>({"upgrade", "status"});
      if (!status) {
        last = status.error().message;
        restarted = true;
        continue;
      }
      restarted = !status->has_waiting() || status->waiting().to_slot() == status->booted();
      if (status->has_waiting()) {
        last = restarted ? "the gate has not decided yet" : "it has not restarted";
        continue;
      }
      if (!status->has_last() || status->last().at_unix_ms() == before) {
        last = "it knows of no verdict (journalctl -u gw-good)";
        continue;
      }
      if (status->last().result() != "good")
        return fail(Errc::kRefused, std::format("{} was taken back: {}", printable(status->last().version()),
                                                printable(status->last().reason())));
      const auto ha = host.ask<api::HaReply>({"ha", "show"});
      const Status is_well = ha ? well(host, *ha) : Status(std::unexpected(ha.error()));
      if (is_well && at_home(*ha)) {
        tools_.out << std::format("{}: {} is good, its endpoints are back\n", host.name(),
                                  printable(status->version()));
        tools_.out.flush();
        return {};
      }
      last = is_well ? "its endpoints are not back" : is_well.error().message;
    }
    const std::string why =
        std::format("no good end within {}: {}", human_duration(options_.wait + kStartAllowance), printable(last));
    return restarted ? Status(fail(Errc::kTimeout, why)) : undrained(host, why);
  }

  static bool at_home(const api::HaReply& ha) {
    return std::ranges::all_of(ha.endpoints(), [&](const api::HaEndpoint& e) {
      return belongs_to(e) != ha.instance() || (e.owner() == ha.instance() && e.state() == "owned");
    });
  }

  const Tools& tools_;
  const PairOptions& options_;
  std::vector<Host> hosts_;
};

}  // namespace

int upgrade_pair(const Tools& tools, const PairOptions& options) {
  const auto done = Pair(tools, options).run();
  if (done) return kOk;
  tools.err << std::format("gwctl: {}\n", done.error().message);
  return kNo;
}

}  // namespace gw::cli::upgrade
