// `gwctl upgrade` with a scripted RAUC, gwd and ssh: what is done, in which order, and where it stops.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/session.hpp"
#include "cli/upgrade/pair.hpp"

namespace gw::cli::upgrade {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const char* const kInfo =
    R"({"update": {"version": "2.0", "compatible": "gw-appliance"}, "images": [], "meta": {"gw": {"state-format": "2"}}})";

constexpr const char* kBIsNew = "grub-editenv /boot/efi/grub/grubenv set B_KNOWN=0";
constexpr const char* kAIsGood = "grub-editenv /boot/efi/grub/grubenv set A_KNOWN=1";
constexpr const char* kBIsGood = "grub-editenv /boot/efi/grub/grubenv set B_KNOWN=1";

std::string slots(const std::string& booted, const std::string& b_status = "bad") {
  return std::format(R"({{"compatible": "gw-appliance", "booted": "{}", "boot_primary": "rootfs.0", "slots": [
    {{"rootfs.0": {{"class": "rootfs", "bootname": "A", "boot_status": "good"}}}},
    {{"rootfs.1": {{"class": "rootfs", "bootname": "B", "boot_status": "{}"}}}}]}})",
                     booted, b_status);
}

class Upgrade : public testing::Test {
 protected:
  Upgrade() {
    std::string name = (std::filesystem::temp_directory_path() / "gw-upgrade-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
    said_["rauc status --output-format=json"] = {.status = 0, .out = slots("A"), .err = ""};
    said_["rauc info"] = {.status = 0, .out = kInfo, .err = ""};
    said_["gwd --state-format"] = {.status = 0, .out = "2\n", .err = ""};
    said_["cat /usr/lib/gw/version"] = {.status = 0, .out = "1.0\n", .err = ""};
    gwd_["/v1/status"] =
        R"({"instance": "gw-a", "revision": 7, "components": [{"name": "charon", "connected": true}]})";
    gwd_["/v1/tunnels"] =
        R"({"tunnels": [{"name": "paris/gw-a", "state": "up", "bgp_state": "Established", "local_address": "203.0.113.10"}]})";
    gwd_["/v1/bgp/peers"] = "{}";
  }
  ~Upgrade() override { std::filesystem::remove_all(folder_); }

  Tools tools() {
    return {.out = out_,
            .err = err_,
            .ask = [this](const Request& request) -> Result<Reply> {
              if (request.method == Method::kPost) did_.push_back("POST " + request.target);
              if (!gwd_up_) return fail(Errc::kRefused, "connection refused");
              const auto found = gwd_.find(request.target);
              if (found == gwd_.end()) return Reply{404, "{}"};
              return Reply{200, found->second};
            },
            .run = [this](const Command& command) { return answer(command); },
            .uptime = [this] { return uptime_; },
            .now = [this] { return WallTime(1'700'000'000s + uptime_); },
            .pause =
                [this](std::chrono::seconds time) {
                  uptime_ += time;
                  if (on_pause_) on_pause_();
                  return true;
                },
            .notes = folder_ + "/notes",
            .state = folder_};
  }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ + "/" + name) << text; }

  // The longest beginning that there is an answer for; what changes something is remembered.
  Ran answer(const Command& command) {
    std::string line;
    for (const std::string& word : command.argv) line += (line.empty() ? "" : " ") + word;
    const Ran* best = nullptr;
    std::size_t length = 0;
    for (const auto& [words, ran] : said_)
      if (line.starts_with(words) && words.size() >= length) best = &ran, length = words.size();
    const bool reads = line.starts_with("rauc info") || line.starts_with("rauc status --") ||
                       line.starts_with("cat ") || line.starts_with("gwd ") || line.starts_with("blockdev");
    if (!reads) did_.push_back(line);
    return best == nullptr ? Ran{} : *best;
  }

  void note_update(const std::string& to) {
    api::UpgradeBefore before = write_down(observe(tools()));
    before.set_from_slot("A");
    before.set_to_slot(to);
    before.set_to_version("2.0");
    before.set_wait_seconds(60);
    before.set_taken_unix_ms(1'700'000'000'000);
    ASSERT_TRUE(Notes(folder_ + "/notes").write(before));
  }
  std::optional<api::UpgradeBefore> note() const { return Notes(folder_ + "/notes").before().value(); }
  api::UpgradeOutcome last() const { return Notes(folder_ + "/notes").last().value_or(api::UpgradeOutcome()); }

  std::string folder_;
  std::map<std::string, Ran> said_;
  std::map<std::string, std::string> gwd_;
  bool gwd_up_ = true;
  std::vector<std::string> did_;
  std::function<void()> on_pause_;
  std::chrono::milliseconds uptime_{1000};
  std::ostringstream out_, err_;
};

// --- install -------------------------------------------------------------------------------------------

TEST_F(Upgrade, InstallWritesDownWhatIsUpBeforeAnythingElse) {
  EXPECT_EQ(install(tools(), {.file = "/b.raucb"}), kOk) << err_.str();
  EXPECT_THAT(did_, ElementsAre(kBIsNew, "rauc install /b.raucb"));
  ASSERT_TRUE(note());
  EXPECT_EQ(note()->to_slot(), "B");
  EXPECT_EQ(note()->from_version(), "1.0");
  EXPECT_EQ(note()->to_version(), "2.0");
  EXPECT_EQ(note()->wait_seconds(), 300U);
  EXPECT_EQ(note()->tunnels_size(), 1);
  EXPECT_THAT(out_.str(), HasSubstr("systemctl reboot"));
}

TEST_F(Upgrade, InstallRestartsWhenToldTo) {
  EXPECT_EQ(install(tools(), {.file = "/b.raucb", .restart = Restart::kNow}), kOk);
  EXPECT_THAT(did_, ElementsAre(kBIsNew, "rauc install /b.raucb", "systemctl reboot"));
}

TEST_F(Upgrade, ARefusedBundleChangesNothing) {
  said_["rauc info"] = {
      .status = 1, .out = "", .err = "signature verification failed: Verify error: self-signed certificate\n"};
  EXPECT_EQ(install(tools(), {.file = "/b.raucb"}), kNo);
  EXPECT_THAT(err_.str(), StartsWith("gwctl: /b.raucb: it is not signed by an authority that this appliance trusts"));
  EXPECT_TRUE(did_.empty());
  EXPECT_FALSE(note());
}

TEST_F(Upgrade, AnInstallThatFailsLeavesNoNote) {
  said_["rauc install"] = {.status = 1, .out = "", .err = "LastError: Installation error: damaged\n"};
  EXPECT_EQ(install(tools(), {.file = "/b.raucb", .restart = Restart::kNow}), kNo);
  EXPECT_THAT(did_, ElementsAre(kBIsNew, "rauc install /b.raucb"));
  EXPECT_FALSE(note());
}

TEST_F(Upgrade, AnInstallBesideAnotherOneLeavesThatOnesNote) {
  said_["rauc install"] = {.status = 1, .out = "", .err = "Failed: Already processing a different method\n"};
  EXPECT_EQ(install(tools(), {.file = "/b.raucb", .restart = Restart::kNow}), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("another update is being written just now"));
  EXPECT_TRUE(note());
  EXPECT_THAT(did_, Not(Contains("systemctl reboot")));
  // The usual case: rauc does not even say which slots there are.
  said_["rauc status --output-format=json"] = {
      .status = 1, .out = "", .err = "error retrieving slot status via D-Bus: already processing a different method\n"};
  did_.clear();
  EXPECT_EQ(install(tools(), {.file = "/b.raucb"}), kNo);
  EXPECT_TRUE(did_.empty());
  EXPECT_EQ(status(tools()).error().message, "an update is being written just now: wait for it");
}

TEST_F(Upgrade, OfAPairOneMayRestartOnlyIfTheOtherCanTakeOver) {
  gwd_["/v1/ha"] =
      R"({"instance": "gw-a", "peers": [{"instance": "gw-b", "sync": true, "data": true, "unfit": "wan has no carrier"}]})";
  EXPECT_EQ(install(tools(), {.file = "/b.raucb", .restart = Restart::kNow}), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("gw-b could not take over while this instance restarts: wan has no carrier"));
  EXPECT_TRUE(did_.empty());
  EXPECT_EQ(install(tools(), {.file = "/b.raucb", .restart = Restart::kNow, .partner = Partner::kNotNeeded}), kOk);
}

TEST_F(Upgrade, WithoutRaucItSaysWhatElse) {
  said_["rauc status --output-format=json"] = {
      .status = 127, .out = "", .err = "cannot run rauc: No such file or directory\n"};
  EXPECT_EQ(install(tools(), {.file = "/b.raucb"}), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("elsewhere apt installs newer packages"));
}

TEST_F(Upgrade, RollbackNeedsAVersionThatWasGood) {
  EXPECT_EQ(rollback(tools(), {}), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("there is nothing to go back to"));
  EXPECT_EQ(install(tools(), {.file = "/b.raucb"}), kOk);
  said_["rauc status --output-format=json"].out = slots("A", "good");
  did_.clear();
  EXPECT_EQ(rollback(tools(), {.restart = Restart::kNow}), kOk) << err_.str();
  EXPECT_THAT(did_, ElementsAre(kBIsNew, "rauc status mark-active other", "systemctl reboot"));
}

// --- the gate ------------------------------------------------------------------------------------------

TEST_F(Upgrade, AnOrdinaryStartIsGoodWhenGwdAnswers) {
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_THAT(did_, ElementsAre("rauc status mark-good booted", kAIsGood));
  gwd_up_ = false;
  did_.clear();
  EXPECT_EQ(gate(tools()), kNo);
  EXPECT_TRUE(did_.empty());  // neither good nor a restart: an operator may be at work
}

TEST_F(Upgrade, ANewSlotIsGoodOnceEverythingIsUpForAWhile) {
  note_update("B");
  said_["rauc status --output-format=json"].out = slots("B");
  gwd_up_ = false;
  on_pause_ = [this] { gwd_up_ = uptime_ > 30s; };
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_THAT(did_, ElementsAre("rauc status mark-good booted", kBIsGood));
  EXPECT_GE(uptime_, 40s);
  EXPECT_EQ(last().result(), "good");
  EXPECT_FALSE(note());
}

TEST_F(Upgrade, ANewSlotWithoutItsTunnelIsTakenBack) {
  note_update("B");
  said_["rauc status --output-format=json"].out = slots("B");
  gwd_["/v1/tunnels"] = R"({"tunnels": [{"name": "paris/gw-a", "state": "connecting", "reason": "no answer"}]})";
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_THAT(did_, ElementsAre("rauc status mark-bad booted", "systemctl reboot"));
  EXPECT_EQ(last().result(), "taken back");
  EXPECT_EQ(last().reason(), "not up again after 1m00s: tunnel paris/gw-a is connecting: no answer");
  EXPECT_TRUE(note());  // the slot of before has the last word

  did_.clear();
  said_["rauc status --output-format=json"].out = slots("A");
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_THAT(did_, ElementsAre("rauc status mark-bad other", "rauc status mark-good booted", kAIsGood));
  EXPECT_THAT(last().reason(), HasSubstr("paris/gw-a"));  // the gate's own words are kept
  EXPECT_FALSE(note());
}

TEST_F(Upgrade, ASlotThatNeverCameUpIsNamedByTheOneOfBefore) {
  note_update("B");
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_EQ(last().result(), "taken back");
  EXPECT_THAT(last().reason(), HasSubstr("slot B did not come up"));
  EXPECT_THAT(did_, Contains("rauc status mark-bad other"));
}

TEST_F(Upgrade, TheGateAsksItsEndpointsBack) {
  const char* const kOwned =
      R"({"instance": "gw-a", "peers": [{"instance": "gw-b", "sync": true, "data": true, "we_have_all_of_its": true}],
    "endpoints": [{"address": "203.0.113.10", "home": "gw-a", "owner": "gw-a", "state": "owned"}]})";
  gwd_["/v1/ha"] = kOwned;
  note_update("B");
  said_["rauc status --output-format=json"].out = slots("B");
  std::string away = kOwned;
  away.replace(away.find(R"("owner": "gw-a")"), 15, R"("owner": "gw-b")");
  gwd_["/v1/ha"] = away;
  on_pause_ = [&] {
    if (!did_.empty()) gwd_["/v1/ha"] = kOwned;
  };
  gwd_["/v1/ha/move"] = "{}";
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_THAT(did_, ElementsAre("POST /v1/ha/move", "rauc status mark-good booted", kBIsGood));
}

TEST_F(Upgrade, AGoodUpdateTakesItsBundleAway) {
  note_update("B");
  write("notes/gw-2.0.raucb", "large");
  write("notes/other", "small");
  said_["rauc status --output-format=json"].out = slots("B");
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/notes/gw-2.0.raucb"));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/notes/other"));
}

TEST_F(Upgrade, AGateThatCannotMarkItsSlotSaysSo) {
  said_["rauc status mark-good"] = {.status = 1, .out = "", .err = "no grubenv\n"};
  EXPECT_EQ(gate(tools()), kGateBroken);
  EXPECT_THAT(out_.str(), HasSubstr("no grubenv"));
}

TEST_F(Upgrade, StatusTellsSlotsAndTheLastUpdate) {
  EXPECT_EQ(gate(tools()), kOk);
  note_update("B");
  const std::string text = render(status(tools()).value());
  EXPECT_THAT(text, AllOf(StartsWith("1.0 runs, slot A\n"), HasSubstr("2.0 waits in slot B for a restart")));
  EXPECT_EQ(gate(tools()), kOk);
  EXPECT_THAT(render(status(tools()).value()), HasSubstr("last update: 2.0 was taken back, "));
}

// --- two instances -------------------------------------------------------------------------------------

class UpgradePair : public Upgrade {
 protected:
  UpgradePair() {
    for (const char* host : {"a", "b"}) {
      said_[ssh(host, "'gwctl' '--json' 'ha' 'show'")] = {.status = 0, .out = ha(host), .err = ""};
      said_[ssh(host, "'gwctl' '--json' 'upgrade' 'status'")] = {.status = 0, .out = "{}", .err = ""};
    }
    write("b.raucb", "a bundle");
  }
  static std::string ssh(const std::string& host, const std::string& words) {
    return std::format(
        "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 -o "
        "LogLevel=ERROR "
        "-- root@gw-{} {}",
        host, words);
  }
  static std::string ha(const std::string& host) {
    return std::format(R"({{"instance": "gw-{}", "ike": {{"charon": true}},
      "peers": [{{"instance": "gw-{}", "sync": true, "data": true, "has_all_of_ours": true, "we_have_all_of_its": true}}],
      "endpoints": [{{"address": "203.0.113.10", "home": "gw-{}", "owner": "gw-{}", "state": "owned"}}]}})",
                       host, host == "a" ? "b" : "a", host, host);
  }
  /// Its gate's verdict, from the first pause on.
  void verdict(const std::string& host, const std::string& result, const std::string& reason = "") {
    said_[ssh(host, "'systemctl' 'reboot'")] = {.status = 255, .out = "", .err = "connection closed\n"};
    const std::string line = std::format(
        R"({{"version": "2.0", "last": {{"version": "2.0", "result": "{}", "reason": "{}", "at_unix_ms": "5"}}}})",
        result, reason);
    verdicts_[host] = line;
    on_pause_ = [this] {
      for (const auto& [name, text] : verdicts_)
        if (std::ranges::find(did_, ssh(name, "'systemctl' 'reboot'")) != did_.end())
          said_[ssh(name, "'gwctl' '--json' 'upgrade' 'status'")].out = text;
    };
  }
  int upgrade() { return upgrade_pair(tools(), {.file = folder_ + "/b.raucb", .hosts = {"root@gw-a", "root@gw-b"}}); }
  std::vector<std::string> changes(const std::string& host) const {
    std::vector<std::string> out;
    const std::string begin = ssh(host, "");
    for (const std::string& line : did_)
      if (line.starts_with(begin) && !line.contains("--json") && !line.contains("'cat' "))
        out.push_back(line.substr(begin.size()));
    return out;
  }
  std::map<std::string, std::string> verdicts_;
};

TEST_F(UpgradePair, OneAfterTheOther) {
  verdict("a", "good");
  verdict("b", "good");
  EXPECT_EQ(upgrade(), kOk) << err_.str();
  EXPECT_THAT(changes("a"),
              ElementsAre(HasSubstr("cat >/var/lib/gw-update/bundle.raucb"), StartsWith("'gwctl' 'upgrade' 'install'"),
                          "'rm' '-f' '/var/lib/gw-update/bundle.raucb'", "'gwctl' 'ha' 'drain' '--wait' '60s'",
                          "'systemctl' 'reboot'"));
  EXPECT_EQ(changes("b").size(), 5U);
  const auto index = [&](const std::string& line) { return std::ranges::find(did_, line) - did_.begin(); };
  EXPECT_LT(index(ssh("a", "'systemctl' 'reboot'")), index(ssh("b", "'gwctl' 'ha' 'drain' '--wait' '60s'")));
  EXPECT_THAT(out_.str(), HasSubstr("root@gw-a: 2.0 is good, its endpoints are back\n"));
}

TEST_F(UpgradePair, OfAnActiveStandbyPairTheStandbyHasNothingToGetBack) {
  verdict("a", "good");
  verdict("b", "good");
  for (auto& [words, answer] : said_)
    if (const auto at = answer.out.find(R"("home": "gw-b", "owner": "gw-b")"); at != std::string::npos)
      answer.out.replace(at, 31, R"("home": "gw-b", "preferred": "gw-a", "owner": "gw-a")");
  EXPECT_EQ(upgrade(), kOk) << err_.str();
}

TEST_F(UpgradePair, OneThatIsTakenBackLeavesTheOtherAlone) {
  verdict("a", "taken back", "tunnel paris/gw-a is down");
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(),
              AllOf(HasSubstr("root@gw-a (root@gw-b was left alone)"), HasSubstr("tunnel paris/gw-a is down")));
  EXPECT_TRUE(changes("b").empty());
}

TEST_F(UpgradePair, OneThatDoesNotComeBackLeavesTheOtherAlone) {
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("no good end within 15m00s"));
  EXPECT_TRUE(changes("b").empty());
}

TEST_F(UpgradePair, OneThatCannotBeDrainedIsNotRestarted) {
  said_[ssh("a", "'gwctl' 'ha' 'drain'")] = {
      .status = 1, .out = "", .err = "gwctl: endpoint 203.0.113.10 is still here after 60s\n"};
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(changes("a"), AllOf(Contains("'gwctl' 'ha' 'undrain'"), Not(Contains("'systemctl' 'reboot'"))));
  EXPECT_TRUE(changes("b").empty());
}

TEST_F(UpgradePair, NothingIsTouchedWhileSomethingIsWrong) {
  const struct {
    const char* what;
    const char* spoil;
    const char* with;
  } rows[] = {
      {"silent", R"("data": true)", R"("data": false)"},
      {"state is missing", R"("has_all_of_ours": true)", R"("has_all_of_ours": false)"},
      {"drained", R"("ike": )", R"("drained": true, "ike": )"},
      {"the same instance", R"("instance": "gw-b")", R"("instance": "gw-a")"},
      {"another gateway's", R"("instance": "gw-b")", R"("instance": "gw-c")"},
      {"its endpoint is elsewhere", R"("owner": "gw-b")", R"("owner": "gw-a")"},
  };
  for (const auto& row : rows) {
    std::string reply = ha("b");
    reply.replace(reply.find(row.spoil), std::string(row.spoil).size(), row.with);
    said_[ssh("b", "'gwctl' '--json' 'ha' 'show'")].out = reply;
    EXPECT_EQ(upgrade(), kNo) << row.what;
    EXPECT_TRUE(changes("a").empty()) << row.what;
    EXPECT_TRUE(changes("b").empty()) << row.what;
  }
}

TEST_F(UpgradePair, ThisMachineIsNotReachedBySsh) {
  said_["cat /etc/machine-id"] = said_[ssh("a", "'cat' '/etc/machine-id'")] = {.status = 0, .out = "1234\n", .err = ""};
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("root@gw-a is this machine, whose restart ends this command: name the other one "
                                    "alone, --host root@gw-b"));
  EXPECT_TRUE(changes("a").empty());
}

TEST_F(UpgradePair, AFileThatIsNotThereIsNamedFirst) {
  EXPECT_EQ(upgrade_pair(tools(), {.file = folder_ + "/none", .hosts = {"root@gw-a", "root@gw-b"}}), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("/none: there is no such file"));
  EXPECT_TRUE(did_.empty());
}

TEST_F(UpgradePair, HalfABundleIsTakenAwayAgain) {
  said_[ssh("a", "'sh' '-c'")] = {.status = 1, .out = "", .err = "cat: write error: No space left on device\n"};
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("the bundle cannot be copied: cat: write error: No space left on device"));
  EXPECT_THAT(changes("a"), ElementsAre(StartsWith("'sh' '-c'"), "'rm' '-f' '/var/lib/gw-update/bundle.raucb'"));
}

TEST_F(UpgradePair, AConnectionThatIsLostIsNoRefusal) {
  said_[ssh("a", "'gwctl' 'upgrade' 'install'")] = {
      .status = 255, .out = "", .err = "Timeout, server gw-a not responding.\n"};
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("the connection was lost, the install may go on there"));
  EXPECT_THAT(changes("a"), Not(Contains("'systemctl' 'reboot'")));
}

TEST_F(UpgradePair, OneThatRefusesToRestartIsUndrained) {
  said_[ssh("a", "'systemctl' 'reboot'")] = {.status = 1, .out = "", .err = "Operation inhibited by x\n"};
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("it cannot be restarted: Operation inhibited by x; undrained again"));
  EXPECT_EQ(changes("a").back(), "'gwctl' 'ha' 'undrain'");
  EXPECT_TRUE(changes("b").empty());
}

TEST_F(UpgradePair, OneThatNeverHeardOfItsRestartIsUndrained) {
  said_[ssh("a", "'systemctl' 'reboot'")] = {.status = 255, .out = "", .err = "connection timed out\n"};
  on_pause_ = [this] {
    said_[ssh("a", "'gwctl' '--json' 'upgrade' 'status'")].out = R"({"booted": "A", "waiting": {"to_slot": "B"}})";
  };
  EXPECT_EQ(upgrade(), kNo);
  EXPECT_THAT(err_.str(), HasSubstr("no good end within 15m00s: it has not restarted; undrained again"));
  EXPECT_EQ(changes("a").back(), "'gwctl' 'ha' 'undrain'");
  EXPECT_TRUE(changes("b").empty());
}

TEST_F(UpgradePair, FromOneOfThemItsOwnTurnIsLast) {
  verdict("b", "good");
  said_["gwctl --json ha show"] = {.status = 0, .out = ha("a"), .err = ""};
  said_["gwctl --json upgrade status"] = {.status = 0, .out = "{}", .err = ""};
  EXPECT_EQ(upgrade_pair(tools(), {.file = folder_ + "/b.raucb", .hosts = {"root@gw-b"}}), kOk) << err_.str();
  ASSERT_FALSE(did_.empty());
  EXPECT_EQ(did_.back(), "systemctl reboot");
  EXPECT_THAT(did_, Contains(std::format("gwctl upgrade install {}/b.raucb --wait 300s", folder_)));
}

}  // namespace
}  // namespace gw::cli::upgrade
