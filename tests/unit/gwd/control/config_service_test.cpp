// The configuration service over the real loader, validator and SQLite store: revisions, confirmation,
// and that a faulty document changes nothing.
#include "gwd/control/config_service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "gwd/config/allocate.hpp"

namespace gw::gwd {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class ConfigServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / std::format("gw-cs-{}", ::getpid());
    fs::remove_all(dir);
    fs::create_directories(dir);
    write_psk("swordfish");
    open();
  }
  void TearDown() override { fs::remove_all(dir); }

  void write_psk(const std::string& text) const {
    std::ofstream(dir / "paris.psk") << text << '\n';
    ::chmod((dir / "paris.psk").c_str(), 0600);
  }
  void open() {
    service.reset();
    activated.clear();
    service = std::make_unique<ConfigService>(io, clock, config::RevisionStore::open((dir / "gwd.db").string()).value(),
                                              "gw-a");
    service->on_activate([this](ModelPtr model) { activated.push_back(std::move(model)); });
  }
  std::string file() const { return (dir / "gateway.yaml").string(); }
  static std::string document(int mtu) {
    return std::format(R"(version: 1
gateway:
  name: hub
  instances:
    - name: gw-a
      wan: {{ interface: eth0, endpoints: [ {{ address: 203.0.113.10 }} ] }}
      vnet: {{ interface: eth1 }}
vnet:
  prefixes: [ 10.0.0.0/16 ]
sites:
  - name: paris
    asn: 65021
    devices: [ {{ name: ce1, address: 198.51.100.1 }} ]
connections:
  - name: paris-ce1
    device: paris/ce1
    secret: {{ psk_file: paris.psk }}
    mtu: {}
)",
                       mtu);
  }
  ConfigResult<ConfigOutcome> apply(int mtu, ApplyOptions options = {}) {
    return service->apply({document(mtu), file()}, options);
  }
  ConfigResult<ConfigOutcome> wait(boost::asio::awaitable<ConfigResult<ConfigOutcome>> command) {
    auto done = boost::asio::co_spawn(io, std::move(command), boost::asio::use_future);
    io.restart();
    while (done.wait_for(seconds(0)) != std::future_status::ready) io.run_one_for(seconds(5));
    return done.get();
  }
  std::uint32_t running_mtu() const { return activated.back()->tunnels.at(0).mtu; }
  void run(std::chrono::milliseconds time) {
    io.restart();
    io.run_for(time);
  }

  fs::path dir;
  boost::asio::io_context io;
  SystemClock clock;
  std::unique_ptr<ConfigService> service;
  std::vector<ModelPtr> activated;
};

TEST_F(ConfigServiceTest, TheFirstStartTakesTheFileLaterOnesTheRunningRevision) {
  std::ofstream(file()) << document(1400);
  const auto first = service->start(file());
  ASSERT_TRUE(first) << first.error().error.describe();
  EXPECT_EQ(first->revision, 1U);
  ASSERT_TRUE(apply(1300));
  open();
  const auto again = service->start(file());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->revision, 2U);
  EXPECT_EQ(running_mtu(), 1300U);
  ASSERT_TRUE(wait(service->reload(file())));  // SIGHUP
  EXPECT_EQ(running_mtu(), 1400U);
}

TEST_F(ConfigServiceTest, ALostKeyFileTakesOnlyItsTunnelDown) {
  ASSERT_TRUE(apply(1400));
  fs::remove(dir / "paris.psk");
  EXPECT_FALSE(apply(1300)) << "a new document is refused";
  open();
  ASSERT_TRUE(service->start(file())) << "what was running goes on";
  EXPECT_NE(activated.back()->tunnels.at(0).fault.find("paris.psk"), std::string::npos);
  write_psk("swordfish");
  ASSERT_TRUE(apply(1400));
  EXPECT_EQ(activated.back()->tunnels.at(0).fault, "");
}

TEST_F(ConfigServiceTest, AFaultyFirstDocumentIsToldAndCanBeReplaced) {
  std::ofstream(file()) << "version: 1\ngateway: 7\n";
  EXPECT_FALSE(service->start(file()));
  EXPECT_NE(service->start_error(), "");
  EXPECT_TRUE(activated.empty());
  ASSERT_TRUE(apply(1400));
  EXPECT_EQ(service->start_error(), "");
}

TEST_F(ConfigServiceTest, WhyAFirstBootLeftNoDocumentIsToldUntilThereIsOne) {
  service->set_first_boot_error("the seed was refused: unknown key 'encrpytion'");
  EXPECT_FALSE(service->start(file()));
  EXPECT_EQ(service->start_error(), "the seed was refused: unknown key 'encrpytion'");
  ASSERT_TRUE(apply(1400));
  EXPECT_EQ(service->start_error(), "");
}

TEST_F(ConfigServiceTest, AFaultyDocumentIsToldRatherThanTheFirstBoot) {
  std::ofstream(file()) << "version: 1\ngateway: 7\n";
  service->set_first_boot_error("the seed was refused");
  EXPECT_FALSE(service->start(file()));
  EXPECT_EQ(service->start_error().find("the seed was refused"), std::string::npos);
}

TEST_F(ConfigServiceTest, OneFaultChangesNothing) {
  ASSERT_TRUE(apply(1400));
  const auto bad = service->apply({document(1300) + "    dpdd: {}\n", file()}, {});
  ASSERT_FALSE(bad);
  EXPECT_FALSE(bad.error().findings.empty());
  EXPECT_EQ(service->running_revision(), 1U);
  EXPECT_EQ(activated.size(), 1U);
}

TEST_F(ConfigServiceTest, WhatBgpdCouldNotTellApartIsRefused) {
  std::string text = document(1400) +
                     "    bgp: { addresses: { gw-a: { local: 192.168.30.17, peer: 192.168.30.18 } } }\n"
                     "circuits:\n"
                     "  - { name: er1, peers: [ { name: primary, address: 192.168.30.18, local: { gw-a: { address: "
                     "192.168.30.17/29 } } } ] }\n";
  text.insert(text.find("vnet:\n  prefixes"), "      circuit: { interface: eth2 }\n");
  const auto result = service->validate({text, file()});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().error.describe(), testing::HasSubstr("192.168.30.18 is the peer of two sessions"));
}

TEST_F(ConfigServiceTest, TheSameDocumentIsNoNewRevisionButANewSecretIs) {
  ASSERT_TRUE(apply(1400));
  EXPECT_EQ(apply(1400)->revision, 1U);
  EXPECT_EQ(activated.size(), 1U);
  write_psk("marlin");
  const auto changed = apply(1400);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->revision, 2U);
  ASSERT_EQ(changed->changes.size(), 1U);
  EXPECT_NE(changed->changes[0].find("connections[paris-ce1].secret"), std::string::npos);
  EXPECT_EQ(changed->changes[0].find("marlin"), std::string::npos) << "a secret in a diff";
}

TEST_F(ConfigServiceTest, AnInterfaceThatIsNotThereIsRefusedAndAMissingAddressAWarning) {
  bool interface = false;
  bool address = false;
  service->check_against({.has_interface = [&](const std::string&) { return interface; },
                          .has_address = [&](const IpAddress&) { return address; }});
  const auto refused = service->apply({document(1400), file()}, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(
      refused.error().findings.front().describe(),
      ::testing::ContainsRegex(":[0-9]+:[0-9]+: gateway.instances.0..wan.interface: this machine has no interface '"));
  EXPECT_FALSE(service->validate({document(1400), file()}));
  EXPECT_TRUE(activated.empty());
  EXPECT_TRUE(service->apply({document(1400), file()}, {.origin = config::Origin::kStart})) << "a start has to work";
  interface = true;
  const auto warned = service->apply({document(1300), file()}, {});
  ASSERT_TRUE(warned);
  ASSERT_FALSE(warned->warnings.empty());
  EXPECT_THAT(warned->warnings.back().message, ::testing::HasSubstr("this machine does not have address"));
  const auto before = warned->warnings.size();
  address = true;
  EXPECT_EQ(service->validate({document(1400), file()})->warnings.size(), before - 1);
}

// Two names that want the same inner addresses: the later one has others, until the earlier one goes.
TEST_F(ConfigServiceTest, InnerAddressesThatMoveAreWarnedOf) {
  const auto pair_of = [](const std::string& name) { return config::allocate_inner_pairs({name}, {}, 0).at(name); };
  std::string other = "c0";
  for (int i = 1; pair_of(other + "/gw-a") != pair_of("paris-ce1/gw-a"); ++i) other = std::format("c{}", i);
  std::string both = document(1400);
  both.replace(both.find("ce1, address: 198.51.100.1 }"), 28,
               "ce1, address: 198.51.100.1 }, { name: ce2, address: 198.51.100.2 }");
  both += std::format("  - name: {}\n    device: paris/ce2\n    secret: {{ psk_file: paris.psk }}\n", other);
  ASSERT_TRUE(service->apply({both, file()}, {}));
  const auto peer = activated.back()->find_tunnel(other + "/gw-a")->bgp->peer;
  std::string without = both;
  without.erase(without.find("  - name: paris-ce1"),
                without.find(std::format("  - name: {}", other)) - without.find("  - name: paris-ce1"));
  const auto told = [](const config::Findings& findings) {
    return std::ranges::count_if(findings, [](const auto& f) { return f.message.contains("the inner addresses of"); });
  };
  const auto checked = service->validate({without, file()});
  ASSERT_TRUE(checked) << checked.error().error.describe();
  ASSERT_EQ(told(checked->warnings), 1);
  const auto finding =
      std::ranges::find_if(checked->warnings, [](const auto& f) { return f.message.contains("inner"); });
  EXPECT_EQ(finding->field, "connections[0].bgp.addresses");
  EXPECT_THAT(finding->expected, ::testing::HasSubstr(std::format("peer: {} ", peer)));
  // As it says.
  const auto kept =
      service->validate({without + std::format("    bgp: {{ addresses: {{ gw-a: {{ local: {}, peer: {} }} }} }}\n",
                                               activated.back()->find_tunnel(other + "/gw-a")->bgp->local, peer),
                         file()});
  ASSERT_TRUE(kept) << kept.error().error.describe();
  EXPECT_EQ(told(kept->warnings), 0);
}

TEST_F(ConfigServiceTest, UnconfirmedGoesBackByItself) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300, {.confirm_within = seconds(1)}));
  EXPECT_GT(service->confirm_left().count(), 0);
  run(std::chrono::milliseconds(1300));
  EXPECT_EQ(running_mtu(), 1400U);
  EXPECT_EQ(service->running_revision(), 3U);
  EXPECT_EQ(service->revisions()->front().origin, config::Origin::kAutoRollback);
}

TEST_F(ConfigServiceTest, ConfirmedStays) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300, {.confirm_within = seconds(1)}));
  ASSERT_TRUE(service->confirm());
  run(std::chrono::milliseconds(1300));
  EXPECT_EQ(running_mtu(), 1300U);
  EXPECT_FALSE(service->confirm()) << "nothing is pending any more";
}

TEST_F(ConfigServiceTest, TheDeadlineSurvivesARestart) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300, {.confirm_within = seconds(1)}));
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // gwd is down meanwhile
  open();
  ASSERT_TRUE(service->start(file()));
  run(std::chrono::milliseconds(100));
  EXPECT_EQ(running_mtu(), 1400U);
}

// It is due, and the other one's RPC came first.
TEST_F(ConfigServiceTest, ADeadlineThatIsOverWhileAnotherIsAppliedLeavesThatOneAlone) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300, {.confirm_within = seconds(1)}));
  boost::asio::post(io, [this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    boost::asio::post(io, [this] { ASSERT_TRUE(apply(1200, {.confirm_within = seconds(60)})); });
  });
  run(std::chrono::milliseconds(1500));
  EXPECT_EQ(running_mtu(), 1200U);
  EXPECT_GT(service->confirm_left(), seconds(50));
}

TEST_F(ConfigServiceTest, AKeyFileThatIsGoneTakesNotTheWayBack) {
  ASSERT_TRUE(apply(1400));
  std::ofstream(dir / "new.psk") << "marlin\n";
  ::chmod((dir / "new.psk").c_str(), 0600);
  std::string text = document(1300);
  text.replace(text.find("paris.psk"), 9, "new.psk");
  ASSERT_TRUE(service->apply({text, file()}, {.confirm_within = seconds(1)}));
  fs::remove(dir / "paris.psk");
  run(std::chrono::milliseconds(1300));
  EXPECT_EQ(running_mtu(), 1400U);
  EXPECT_THAT(activated.back()->tunnels.at(0).fault, ::testing::HasSubstr("paris.psk"));
}

// No file grows: what SQLite writes is refused, as by a full disk.
class FullDisk {
 public:
  FullDisk() {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit none{1, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(ConfigServiceTest, AFullDiskTakesNotTheWayBack) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300, {.confirm_within = seconds(1)}));
  {
    const FullDisk full;
    EXPECT_FALSE(apply(1200)) << "nobody can commit";
    run(std::chrono::milliseconds(1300));
    EXPECT_EQ(running_mtu(), 1400U);
    EXPECT_EQ(service->running_revision(), 1U);
    const auto late = service->confirm();
    ASSERT_FALSE(late);
    EXPECT_THAT(late.error().error.describe(), ::testing::HasSubstr("was not confirmed in time"));
  }
  open();
  ASSERT_TRUE(service->start(file()));
  run(std::chrono::milliseconds(100));
  EXPECT_EQ(running_mtu(), 1400U) << "a restart does not bring it back";
  EXPECT_EQ(service->revisions()->front().origin, config::Origin::kAutoRollback);
}

TEST_F(ConfigServiceTest, RollbackGoesBackOneOrToANumber) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300));
  ASSERT_TRUE(apply(1200));
  ASSERT_TRUE(service->rollback(0));
  EXPECT_EQ(running_mtu(), 1300U);
  ASSERT_TRUE(service->rollback(1));
  EXPECT_EQ(running_mtu(), 1400U);
  const auto absent = service->rollback(99);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().error.code, Errc::kNotFound);
}

TEST_F(ConfigServiceTest, DiffIsBetweenRevisions) {
  ASSERT_TRUE(apply(1400));
  ASSERT_TRUE(apply(1300));
  const auto diff = service->diff({.from = 1});
  ASSERT_TRUE(diff);
  ASSERT_EQ(diff->changes.size(), 1U);
  EXPECT_NE(diff->changes[0].find("1400 -> 1300"), std::string::npos);
}

}  // namespace
}  // namespace gw::gwd
