// The commands against a transport that remembers what it was asked: requests, output and exit codes.
#include "cli/commands.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <map>
#include <sstream>

namespace gw::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class Commands : public testing::Test {
 protected:
  struct Fake final : Transport {
    explicit Fake(Commands& t) : test(t) {}
    Result<Reply> send(const Request& request) override {
      test.requests_.push_back((request.method == Method::kGet ? "GET " : "POST ") + request.target +
                               (request.body.empty() ? "" : " " + request.body));
      if (test.failure_) return std::unexpected(*test.failure_);
      const auto found = test.replies_.find(request.target);
      return found == test.replies_.end() ? Reply{404, R"({"error": {"code": "not_found", "message": "no such path"}})"}
                                          : found->second;
    }
    Commands& test;
  };

  int run(const std::vector<std::string>& words) {
    out_.str("");
    err_.str("");
    requests_.clear();
    const Surroundings surroundings{.out = out_,
                                    .err = err_,
                                    .style = Style::kPlain,
                                    .default_socket = "/run/gw/gwd.sock",
                                    .now = [] { return WallTime(std::chrono::seconds(1'700'000'000)); },
                                    .pause =
                                        [this](std::chrono::seconds time) {
                                          pauses_.push_back(time);
                                          if (on_pause_) on_pause_();
                                          return pauses_.size() < 3;
                                        },
                                    .uptime = [this] { return std::chrono::seconds(pauses_.size()); },
                                    .connect =
                                        [this](const std::string& socket, std::chrono::milliseconds timeout) {
                                          socket_ = socket;
                                          timeout_ = timeout;
                                          return std::make_unique<Fake>(*this);
                                        }};
    return cli::run(words, surroundings);
  }
  std::string file(const std::string& text) {
    const auto path = std::filesystem::temp_directory_path() / std::format("gwctl-test-{}.yaml", ::getpid());
    std::ofstream(path) << text;
    return path.string();
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

  std::map<std::string, Reply> replies_;
  std::optional<Error> failure_;
  std::vector<std::string> requests_;
  std::vector<std::chrono::seconds> pauses_;
  std::function<void()> on_pause_;
  std::string socket_;
  std::chrono::milliseconds timeout_{};

 private:
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(Commands, EachViewAsksItsPath) {
  const std::map<std::vector<std::string>, std::string> paths{
      {{"status"}, "GET /v1/status"},
      {{"show", "tunnels"}, "GET /v1/tunnels"},
      {{"show", "sas"}, "GET /v1/sas"},
      {{"show", "bgp"}, "GET /v1/bgp/peers"},
      {{"show", "bgp", "peers"}, "GET /v1/bgp/peers"},
      {{"show", "bgp", "learned"}, "GET /v1/bgp/learned"},
      {{"show", "bgp", "learned", "--peer", "fd00::2"}, "GET /v1/bgp/learned?peer=fd00%3A%3A2"},
      {{"show", "bgp", "advertised", "169.254.21.2"}, "GET /v1/bgp/advertised?peer=169.254.21.2"},
      {{"show", "routes"}, "GET /v1/routes"},
      {{"show", "routes", "10.20.0.0/16"}, "GET /v1/routes?prefix=10.20.0.0%2F16"},
      {{"show", "counters"}, "GET /v1/counters"},
      {{"show", "interfaces"}, "GET /v1/interfaces"},
      {{"show", "memory"}, "GET /v1/memory"},
      {{"show", "config"}, "GET /v1/config"},
      {{"show", "revisions"}, "GET /v1/config/revisions"},
      {{"diff", "3"}, "GET /v1/config/diff?from=3"},
      {{"diff", "3", "5"}, "GET /v1/config/diff?from=3&to=5"},
  };
  for (const auto& [words, request] : paths) {
    replies_[request.substr(4)] = {200, "{}"};
    EXPECT_EQ(run(words), kOk) << request << err();
    EXPECT_THAT(requests_, ElementsAre(request));
  }
}

TEST_F(Commands, JsonIsTheApisMessageWithDefaults) {
  replies_["/v1/tunnels"] = {200, R"({"tunnels": [{"name": "a/b", "state": "up", "field_of_a_newer_gwd": 1}]})"};
  EXPECT_EQ(run({"--json", "show", "tunnels"}), kOk);
  EXPECT_THAT(out(), HasSubstr(R"("name": "a/b")"));
  EXPECT_THAT(out(), HasSubstr(R"("routes_received": 0)"));
  EXPECT_EQ(run({"show", "tunnels", "--json"}), kOk);
}

TEST_F(Commands, CheckTurnsDownIntoAnExitCode) {
  replies_["/v1/tunnels"] = {200, R"({"tunnels": [{"name": "a", "state": "down", "reason": "no answer"}]})"};
  EXPECT_EQ(run({"show", "tunnels"}), kOk);
  EXPECT_EQ(run({"show", "tunnels", "--check"}), kNotUp);
  EXPECT_THAT(out(), HasSubstr("\n    no answer\n"));
  replies_["/v1/bgp/peers"] = {200, R"({"peers": [{"state": "Active"}]})"};
  EXPECT_EQ(run({"show", "bgp", "--check"}), kNotUp);
  EXPECT_EQ(run({"show", "bgp", "peers", "--check"}), kNotUp);
  replies_["/v1/status"] = {200, R"({"components": [{"name": "charon", "connected": true}]})"};
  EXPECT_EQ(run({"status", "--check"}), kOk);
}

TEST_F(Commands, WatchAsksAgain) {
  replies_["/v1/counters"] = {200, "{}"};
  EXPECT_EQ(run({"show", "counters", "--watch", "2"}), kOk);
  EXPECT_EQ(requests_.size(), 3U);
  EXPECT_THAT(pauses_, testing::Each(std::chrono::seconds(2)));
}

TEST_F(Commands, WorkersOfAnIntervalAreAskedForTwice) {
  replies_["/v1/workers"] = {200, R"({"window_ms": 5000, "workers": [{"packets": 7}]})"};
  on_pause_ = [this] { replies_["/v1/workers"] = {200, R"({"window_ms": 7000, "workers": [{"packets": 9}]})"}; };
  EXPECT_EQ(run({"show", "workers"}), kOk);
  EXPECT_THAT(out(), HasSubstr("since the start, 5.0 s"));
  EXPECT_EQ(requests_.size(), 1U);
  EXPECT_EQ(run({"show", "workers", "--interval", "2s", "--json"}), kOk);
  EXPECT_EQ(requests_.size(), 2U);
  EXPECT_THAT(pauses_, ElementsAre(std::chrono::seconds(2)));
  EXPECT_THAT(out(), HasSubstr("\"packets\": \"2\"")) << "one answer, of the interval";
  EXPECT_THAT(out(), HasSubstr("\"interval\": true"));
}

TEST_F(Commands, WatchedWorkersAreOfTheTimeBetween) {
  replies_["/v1/workers"] = {200, R"({"window_ms": 5000, "workers": [{"packets": 7}]})"};
  on_pause_ = [this] { replies_["/v1/workers"] = {200, R"({"window_ms": 6500, "workers": [{"packets": 9}]})"}; };
  EXPECT_EQ(run({"show", "workers", "--watch", "1"}), kOk);
  EXPECT_THAT(out(), HasSubstr("since the start, 5.0 s"));
  EXPECT_THAT(out(), HasSubstr("in 1.5 s"));
}

TEST_F(Commands, AnIntervalIsWholeSeconds) {
  for (const std::string word : {"0s", "300ms", "2", "soon"}) {
    EXPECT_EQ(run({"show", "workers", "--interval", word}), kUsage) << word;
    EXPECT_THAT(err(), HasSubstr("--interval")) << word;
    EXPECT_TRUE(requests_.empty());
  }
}

TEST_F(Commands, TraceAsksAboutThePacket) {
  replies_["/v1/trace"] = {
      200, R"({"verdict": "dropped", "reason": "too_big", "advice": "cut it", "summary": "dropped: too_big",
    "steps": [{"check": "route", "result": "pass", "detail": "into tunnel paris-ce1/gw-a"},
              {"check": "size", "result": "fail", "detail": "too_big: does not fit"}]})"};
  EXPECT_EQ(run({"trace", "--from", "tunnel:paris-ce1", "10.1.0.10", "10.20.0.5", "--proto", "tcp", "--sport", "4000",
                 "--dport", "443", "--size", "1500"}),
            kOk)
      << err();
  ASSERT_EQ(requests_.size(), 1U);
  EXPECT_EQ(requests_[0],
            R"(POST /v1/trace {"from":"tunnel:paris-ce1","source":"10.1.0.10","destination":"10.20.0.5","protocol":6,)"
            R"("source_port":4000,"destination_port":443,"size":1500,"may_be_cut":false})");
  EXPECT_EQ(out(),
            "Check        Detail\n"
            "route  ok    into tunnel paris-ce1/gw-a\n"
            "size   FAIL  too_big: does not fit\n"
            "\ndropped: too_big; cut it\n");
  EXPECT_EQ(run({"trace", "--from", "vnet", "fd00::1", "fd00::2", "--proto", "icmp", "--check"}), kNotUp);
  EXPECT_THAT(requests_[0], HasSubstr(R"("protocol":58)")) << "ICMPv6 over IPv6";
  EXPECT_EQ(run({"trace", "--from", "vnet", "10.1.0.1", "10.2.0.1", "--json"}), kOk);
  EXPECT_THAT(out(), HasSubstr("\"reason\": \"too_big\""));
}

TEST_F(Commands, TraceNamesWhatIsWrong) {
  const auto refused = [this](std::vector<std::string> words, const std::string& what) {
    words.insert(words.begin(), "trace");
    EXPECT_EQ(run(words), kUsage) << what;
    EXPECT_THAT(err(), HasSubstr(what));
    EXPECT_TRUE(requests_.empty()) << what;
  };
  refused({"--from", "vnet", "10.1.0", "10.2.0.1"}, "SRC");
  refused({"--from", "vnet", "10.1.0.1", "paris"}, "DST");
  refused({"--from", "vnet", "10.1.0.1", "fd00::1"}, "different families");
  refused({"--from", "lan", "10.1.0.1", "10.2.0.1"}, "--from");
  refused({"--from", "tunnel:", "10.1.0.1", "10.2.0.1"}, "--from");
  refused({"--from", "vnet", "10.1.0.1", "10.2.0.1", "--proto", "smtp"}, "--proto");
  refused({"--from", "vnet", "10.1.0.1", "10.2.0.1", "--proto", "256"}, "--proto");
  refused({"--from", "vnet", "10.1.0.1", "10.2.0.1", "--size", "9000"}, "--size");
  refused({"--from", "vnet", "10.1.0.1", "10.2.0.1", "--sport", "65536"}, "--sport");
  refused({"--from", "vnet", "10.1.0.1"}, "DST");
  refused({"10.1.0.1", "10.2.0.1"}, "--from");
  replies_["/v1/trace"] = {
      404, R"({"error": {"code": "not_found", "message": "from: no tunnel is named 'rome' here; there is none"}})"};
  EXPECT_EQ(run({"trace", "--from", "tunnel:rome", "10.1.0.1", "10.2.0.1"}), kNo);
  EXPECT_THAT(err(), HasSubstr("no tunnel is named 'rome'"));
}

TEST_F(Commands, WhatIfTakesADocumentAndWhatIsDown) {
  const std::string path = file("version: 1\n");
  replies_["/v1/routes/what-if"] = {200,
                                    R"({"prefixes": 3, "moved": 1, "moves": [{"prefix": "10.20.0.0/16", "kind": "moves",
    "from": ["er1-primary/gw-a"], "to": ["paris-ce1/gw-a"]}], "sessions_gone": ["er1-primary/gw-a"],
    "sessions_new": ["rome-ce1/gw-a"], "warnings": [{"file": "g.yaml", "message": "m", "severity": "warning"}]})"};
  EXPECT_EQ(run({"routes", "what-if", "-f", path, "--peer-down", "a/gw-a", "--peer-down", "b/gw-a", "--circuit-down"}),
            kOk)
      << err();
  ASSERT_EQ(requests_.size(), 1U);
  EXPECT_THAT(requests_[0], StartsWith("POST /v1/routes/what-if "));
  EXPECT_THAT(requests_[0], HasSubstr(R"("document":"version: 1\n")"));
  EXPECT_THAT(requests_[0], HasSubstr(R"("peers_down":["a/gw-a","b/gw-a"],"circuit_down":true)"));
  EXPECT_THAT(out(), HasSubstr("sessions that would end: er1-primary/gw-a\n"));
  EXPECT_THAT(out(), HasSubstr("new sessions (nobody knows what they will bring): rome-ce1/gw-a\n"));
  EXPECT_THAT(out(), HasSubstr("10.20.0.0/16"));
  EXPECT_THAT(err(), HasSubstr("warning: m"));
  EXPECT_EQ(run({"routes", "what-if", "-f", "/no/such.yaml"}), kUsage);
}

TEST_F(Commands, ApplySendsTheTextAndItsPath) {
  const std::string path = file("version: 1\n");
  replies_["/v1/config/apply"] = {200, R"({"revision": 7, "changes": ["+ sites[lyon]"], "confirm_seconds": 300,
    "warnings": [{"file": "g.yaml", "line": 1, "column": 2, "field": "f", "message": "m", "severity": "warning"}]})"};
  EXPECT_EQ(run({"apply", "-f", path, "--confirm", "5m", "--comment", "paris"}), kOk);
  ASSERT_EQ(requests_.size(), 1U);
  EXPECT_THAT(requests_[0], HasSubstr(R"("document":"version: 1\n")"));
  EXPECT_THAT(requests_[0], HasSubstr(std::format(R"("file":"{}")", path)));
  EXPECT_THAT(requests_[0], HasSubstr(R"("confirm_seconds":300)"));
  EXPECT_THAT(requests_[0], HasSubstr(R"("comment":"paris")"));
  EXPECT_EQ(out(), "+ sites[lyon]\nrevision 7 applied\ngwd goes back in 5m00s unless you say: gwctl confirm\n");
  EXPECT_EQ(err(), "g.yaml:1:2: warning: f: m\n");
  EXPECT_EQ(run({"apply", path}), kOk);
}

TEST_F(Commands, ARelativeFileIsSentWithItsAbsolutePath) {
  replies_["/v1/config/validate"] = {200, "{}"};
  EXPECT_EQ(run({"validate", "-f", "docs/examples/../examples/gateway.yaml"}), kOk) << err();
  EXPECT_THAT(requests_.at(0),
              HasSubstr(std::format(R"("file":"{}")",
                                    (std::filesystem::current_path() / "docs/examples/gateway.yaml").string())));
  EXPECT_THAT(out(), HasSubstr("docs/examples/gateway.yaml is valid; it changes nothing\n"));
}

TEST_F(Commands, ARefusalIsExit1WithEveryFinding) {
  const std::string path = file("version: 2\n");
  replies_["/v1/config/validate"] = {400, R"({"error": {"code": "invalid_argument", "message": "1 error", "findings": [
    {"file": "g.yaml", "line": 1, "column": 10, "field": "version", "message": "2 is not known", "expected": "1", "severity": "error"}]}})"};
  EXPECT_EQ(run({"validate", path}), kNo);
  EXPECT_EQ(err(), "g.yaml:1:10: version: 2 is not known (expected 1)\n1 error\n");
  EXPECT_EQ(run({"--json", "validate", path}), kNo);
  EXPECT_THAT(out(), HasSubstr(R"("code": "invalid_argument")"));
}

TEST_F(Commands, ConfirmAndRollback) {
  replies_["/v1/config/confirm"] = {200, R"({"revision": 7})"};
  EXPECT_EQ(run({"confirm"}), kOk);
  EXPECT_EQ(out(), "revision 7 confirmed\n");
  replies_["/v1/config/rollback"] = {200, R"({"revision": 8, "changes": ["- sites[lyon]"]})"};
  EXPECT_EQ(run({"rollback"}), kOk);
  EXPECT_THAT(requests_.at(0), HasSubstr(R"("revision":0)"));
  EXPECT_EQ(out(), "- sites[lyon]\nrevision 8 applied\n");
  EXPECT_EQ(run({"rollback", "12"}), kOk);
  EXPECT_THAT(requests_.at(0), HasSubstr(R"("revision":12)"));
  EXPECT_THAT(requests_.at(0), HasSubstr(R"("alone":false)"));
  EXPECT_EQ(run({"rollback", "12", "--alone"}), kOk);
  EXPECT_THAT(requests_.at(0), HasSubstr(R"("alone":true)"));
}

TEST_F(Commands, DrainWaitsUntilNothingIsHere) {
  const char* const kOurs =
      R"({"instance": "gw-a", "drained": true, "endpoints": [{"address": "203.0.113.10", "owner": "gw-a", "cause": "sites move"}]})";
  replies_["/v1/ha/drain"] = {200, kOurs};
  replies_["/v1/ha"] = {200, kOurs};
  on_pause_ = [this] {
    if (pauses_.size() == 2)
      replies_["/v1/ha"] = {200,
                            R"({"instance": "gw-a", "endpoints": [{"address": "203.0.113.10", "owner": "gw-b"}]})"};
  };
  EXPECT_EQ(run({"ha", "drain", "--wait", "30s"}), kOk) << err();
  EXPECT_EQ(pauses_.size(), 2U);

  pauses_.clear();
  on_pause_ = nullptr;
  replies_["/v1/ha"] = {200, kOurs};
  EXPECT_EQ(run({"ha", "drain", "--wait", "5s"}), kNo);
  EXPECT_EQ(pauses_.size(), 5U);
  EXPECT_THAT(err(), HasSubstr("endpoint 203.0.113.10 is still here after 5s: sites move"));

  EXPECT_EQ(run({"ha", "drain"}), kOk);
  EXPECT_THAT(requests_, ElementsAre(StartsWith("POST /v1/ha/drain")));
  EXPECT_EQ(run({"ha", "drain", "--wait", "soon"}), kUsage);
}

TEST_F(Commands, UpgradeNamesWhatIsMissing) {
  EXPECT_EQ(run({"upgrade"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("install, status, rollback, or --pair FILE"));
  EXPECT_EQ(run({"upgrade", "--pair", "gw.raucb"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("--host"));
  EXPECT_EQ(run({"upgrade", "--pair", "gw.raucb", "--host", "", "--host", "root@gw-b"}), kUsage);
  EXPECT_EQ(run({"upgrade", "install", "gw.raucb", "--wait", "5s"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("expected 30s to 1h"));
  EXPECT_EQ(run({"upgrade", "install"}), kUsage);
}

TEST_F(Commands, DiffAloneIsAboutTheLastApply) {
  replies_["/v1/config/revisions"] = {200, R"({"revisions": [{"number": 9, "running": true}, {"number": 7}]})"};
  replies_["/v1/config/diff?from=7"] = {200, R"({"changes": ["~ a: 1 -> 2"]})"};
  EXPECT_EQ(run({"diff"}), kOk);
  EXPECT_EQ(out(), "~ a: 1 -> 2\n");
  replies_["/v1/config/revisions"] = {200, R"({"revisions": [{"number": 9, "running": true}]})"};
  EXPECT_EQ(run({"diff"}), kUsage);
}

TEST_F(Commands, DiffOfAFileAsksWhatItWouldChange) {
  const std::string path = file("version: 1\n");
  replies_["/v1/config/validate"] = {200, "{}"};
  for (const std::vector<std::string>& words : {std::vector<std::string>{"diff", "-f", path}, {"diff", path}}) {
    EXPECT_EQ(run(words), kOk) << err();
    EXPECT_THAT(requests_.at(0), StartsWith("POST /v1/config/validate"));
    EXPECT_EQ(out(), "no changes\n");
  }
}

TEST_F(Commands, UnreachableNamesTheSocketAndWhatToCheck) {
  failure_ = Error{Errc::kNotFound, "connecting: No such file or directory", {}, {}};
  EXPECT_EQ(run({"--socket", "/run/x.sock", "show", "tunnels"}), kUnreachable);
  EXPECT_EQ(socket_, "/run/x.sock");
  EXPECT_EQ(err(),
            "gwctl: cannot reach gwd on /run/x.sock: connecting: No such file or directory\n"
            "Is gwd running (systemctl status gwd), and is this its socket (--socket, $GWD_SOCKET)?\n");
  failure_->code = Errc::kPermission;
  EXPECT_EQ(run({"status"}), kUnreachable);
  EXPECT_THAT(err(), HasSubstr("try sudo, or become a member of group gw-admin"));
}

TEST_F(Commands, ASocketThatCannotBeIsWrongUsage) {
  failure_ = Error{Errc::kInvalidArgument, "the path has 120 characters (expected at most 107)", "--socket", {}};
  EXPECT_EQ(run({"status"}), kUsage);
  EXPECT_EQ(err(), "gwctl: --socket: the path has 120 characters (expected at most 107)\n");
}

TEST_F(Commands, WhatIsNoRevisionIsNamedWithTheFix) {
  EXPECT_EQ(run({"diff", "1", "x"}), kUsage);
  EXPECT_EQ(
      err(),
      "gwctl: 'x' is not the number of a revision (expected one or two that `gwctl show revisions` lists, or a file "
      "alone: gwctl diff -f FILE)\n");
}

TEST_F(Commands, AnswersThatAreNotGwdsAreSaidSo) {
  replies_["/v1/status"] = {200, "<html>"};
  EXPECT_EQ(run({"status"}), kUnreachable);
  EXPECT_THAT(err(), HasSubstr("answered something else than expected (HTTP 200)"));
  replies_["/v1/status"] = {502, "<html>"};
  EXPECT_EQ(run({"status"}), kUnreachable);
}

TEST_F(Commands, UsageIsExit2AndNothingIsSent) {
  const std::vector<std::vector<std::string>> wrong{{},
                                                    {"frob"},
                                                    {"show"},
                                                    {"show", "tunels"},
                                                    {"show", "tunnels", "--watch", "0"},
                                                    {"apply", "--confirm", "5", "docs/examples/gateway.yaml"},
                                                    {"apply", "--confirm", "0s", "docs/examples/gateway.yaml"},
                                                    {"apply", "-f", "/nonexistent"},
                                                    {"validate", "docs"},
                                                    {"rollback", "x"},
                                                    {"diff", "1", "x"},
                                                    {"status", "--timeout", "0s"}};
  for (const auto& words : wrong) {
    EXPECT_EQ(run(words), kUsage);
    EXPECT_TRUE(requests_.empty());
    EXPECT_THAT(err(), StartsWith("gwctl: "));
  }
}

TEST_F(Commands, WhatIsMissingIsNamed) {
  run({"show"});
  EXPECT_THAT(err(), StartsWith("gwctl: 'gwctl show' needs one of tunnels, sas, bgp, "));
  run({"apply", "-f"});
  EXPECT_EQ(err(), "gwctl: --file needs a value (see gwctl apply --help)\n");
  EXPECT_EQ(run({"apply", "-f",
                 file("version: 1 # h\xfc"
                      "b\n")}),
            kUsage);
  EXPECT_THAT(err(), HasSubstr("it is not text in UTF-8"));
}

TEST_F(Commands, EveryHelpHasExamples) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"status"},
                                                {"show"},
                                                {"show", "tunnels"},
                                                {"show", "sas"},
                                                {"show", "bgp"},
                                                {"show", "bgp", "peers"},
                                                {"show", "bgp", "learned"},
                                                {"show", "bgp", "advertised"},
                                                {"show", "routes"},
                                                {"show", "counters"},
                                                {"show", "interfaces"},
                                                {"show", "memory"},
                                                {"show", "config"},
                                                {"show", "revisions"},
                                                {"validate"},
                                                {"apply"},
                                                {"confirm"},
                                                {"rollback"},
                                                {"diff"},
                                                {"completion"},
                                                {"completion", "bash"}}) {
    std::vector<std::string> asked = words;
    asked.push_back("--help");
    EXPECT_EQ(run(asked), kOk);
    EXPECT_THAT(out(), HasSubstr("Examples:\n  ")) << testing::PrintToString(words);
  }
}

}  // namespace
}  // namespace gw::cli
