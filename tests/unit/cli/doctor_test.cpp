// `gwctl doctor` and `support-bundle` against a gwd that answers from a table: what is shown, what the exit code is,
// and that a bundle says elsewhere what gwd said here.
#include "cli/doctor.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <format>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/archive.hpp"

namespace gw::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class DoctorCommand : public testing::Test {
 protected:
  struct Fake final : Transport {
    explicit Fake(DoctorCommand& t) : test(t) {}
    Result<Reply> send(const Request& request) override {
      ++test.asked_;
      return Reply{200, test.replies_[request.target]};
    }
    DoctorCommand& test;
  };

  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  int run(const std::vector<std::string>& words) {
    out_.str("");
    err_.str("");
    asked_ = 0;
    const Surroundings surroundings{
        .out = out_,
        .err = err_,
        .now = [] { return WallTime(std::chrono::seconds(1'700'000'000)); },
        .run_command = [](const std::string& command) { return "output of " + command + "\n"; },
        .connect = [this](const std::string&, std::chrono::milliseconds) { return std::make_unique<Fake>(*this); }};
    return cli::run(words, surroundings);
  }
  static std::string slurp(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  // A gateway whose pairs have lost each other.
  static constexpr const char* kSnapshot = R"({"version": 1, "taken_unix_ms": "1700000000000",
    "status": {"gateway": "hub", "instance": "gw-a", "components": [{"name": "bgpd", "connected": true}]},
    "sessions": [{"name": "partner:10.0.0.6", "kind": "partner", "peer": {"neighbor": "10.0.0.6", "state": "Active"}}],
    "field_of_a_newer_gwd": 1})";

  const std::string folder_ = std::filesystem::temp_directory_path() / std::format("doctor-test-{}", ::getpid());
  std::map<std::string, std::string> replies_;
  std::ostringstream out_;
  std::ostringstream err_;
  int asked_ = 0;
};

TEST_F(DoctorCommand, AHealthyGatewayIsZero) {
  replies_["/v1/doctor"] = R"({"gateway": "hub", "instance": "gw-a", "rules": ["A", "B"]})";
  EXPECT_EQ(run({"doctor"}), kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("no findings (2 rules)"));
}

TEST_F(DoctorCommand, AFindingIsShownWholeAndIsOne) {
  replies_["/v1/doctor"] = R"({"gateway": "hub", "findings": [{"name": "MtuBlackHole", "severity": "error",
    "subject": "paris-ce1/gw-a", "evidence": ["0 of 5", "no ICMP"], "consequence": "hangs", "remedy": ["mtu: 1280"]}],
    "blind": ["charon is away"]})";
  EXPECT_EQ(run({"doctor"}), kNo);
  EXPECT_THAT(out_.str(), HasSubstr("error MtuBlackHole: paris-ce1/gw-a\n"
                                    "  evidence   0 of 5\n"
                                    "             no ICMP\n"
                                    "  leads to   hangs\n"
                                    "  do         mtu: 1280\n"));
  EXPECT_THAT(out_.str(), HasSubstr("not examined: charon is away"));
  EXPECT_EQ(run({"doctor", "--json"}), kNo);
  EXPECT_THAT(out_.str(), HasSubstr(R"("name": "MtuBlackHole")"));
}

TEST_F(DoctorCommand, WhatIsOnlyToBeKnownIsShownAndIsZero) {
  replies_["/v1/doctor"] = R"({"gateway": "hub", "findings": [{"name": "AsymmetricInstances", "severity": "info",
    "subject": "site paris", "evidence": ["5000 in"], "consequence": "none", "remedy": ["none"]}]})";
  EXPECT_EQ(run({"doctor"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("info AsymmetricInstances: site paris\n"));
}

TEST_F(DoctorCommand, ABundleSaysTheSameElsewhere) {
  replies_["/v1/support"] =
      std::format(R"({{"snapshot": {}, "files": [{{"name": "gwd.log", "content": "started"}}]}})", kSnapshot);
  const std::string path = folder_ + "/b.tar.gz";
  ASSERT_EQ(run({"support-bundle", path}), kOk) << err_.str();
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);

  const auto files = unpack(slurp(path));
  ASSERT_TRUE(files);
  std::map<std::string, std::string> by_name;
  for (const auto& f : *files) by_name[std::filesystem::path(f.name).filename()] = f.content;
  EXPECT_EQ(by_name["gwd.log"], "started");
  EXPECT_THAT(by_name["ip-link.txt"], HasSubstr("output of ip -d -s link"));
  EXPECT_THAT(by_name["doctor.txt"], HasSubstr("VpnErSessionDown: partner:10.0.0.6"));

  EXPECT_EQ(run({"doctor", "--bundle", path}), kNo) << err_.str();
  EXPECT_EQ(asked_, 0);
  EXPECT_EQ(out_.str(), by_name["doctor.txt"]);
}

TEST_F(DoctorCommand, ASnapshotAloneWillDo) {
  const std::string path = folder_ + "/snapshot.json";
  std::ofstream(path) << kSnapshot;
  EXPECT_EQ(run({"doctor", "--bundle", path}), kNo) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("VpnErSessionDown"));
}

TEST_F(DoctorCommand, WhatIsNoBundleIsRefused) {
  EXPECT_EQ(run({"doctor", "--bundle", folder_ + "/nothing"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("No such file"));
  for (const std::string text : {"", "{}", "hello", "\x1f\x8b\x08garbage"}) {
    const std::string path = folder_ + "/bad";
    std::ofstream(path, std::ios::binary) << text;
    EXPECT_EQ(run({"doctor", "--bundle", path}), kUsage) << text;
    EXPECT_THAT(err_.str(), Not(HasSubstr("cannot reach gwd")));
  }
  EXPECT_EQ(asked_, 0);
}

TEST_F(DoctorCommand, ATargetThatCannotBeWrittenIsReported) {
  replies_["/v1/support"] = std::format(R"({{"snapshot": {}}})", kSnapshot);
  EXPECT_EQ(run({"support-bundle", folder_ + "/no/such/folder.tar.gz"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("cannot write"));
}

}  // namespace
}  // namespace gw::cli
