// An address that moves, as a neighbour on the link sees it, and the operator's program that is tried again.
#include "gwd/control/address_mover.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <set>
#include <thread>

#include "tests/support/sandbox.hpp"

namespace gw::gwd {
namespace {

using std::chrono::milliseconds;

constexpr ha::Epoch kClaim = 0x21;

/// A link "wan0" to a neighbour in a namespace of its own, who remembers another machine's MAC for our addresses.
class MoverTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces";
    test::enter_namespaces({});
    test::run(
        "ip netns add gw-site && ip link add wan0 type veth peer name site0 netns gw-site && ip link set wan0 up && "
        "ip -n gw-site link set site0 up && ip -n gw-site addr add 203.0.113.1/24 dev site0 && "
        "ip -n gw-site addr add 2001:db8:1::1/64 dev site0 nodad && ip addr add 203.0.113.10/24 dev wan0 && "
        "ip addr add 2001:db8:1::10/64 dev wan0 nodad");
  }
  static void TearDownTestSuite() { test::run("ip netns del gw-site 2>/dev/null || true"); }
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces";
    mover_.configure({.instance = "gw-a", .interface = "wan0", .hook_timeout = milliseconds(5000)});
  }

  static std::string neighbour(const std::string& address) {
    return test::run("ip -n gw-site neigh show " + address + " dev site0");
  }
  static void remember_another(const std::string& address) {
    test::run("ip -n gw-site neigh replace " + address + " lladdr 02:00:00:00:00:99 dev site0 nud stale");
  }
  bool run_until(const std::function<bool()>& condition, milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      io_.restart();
      io_.run_for(milliseconds(20));
    }
    return condition();
  }
  static config::HaEndpoint endpoint(const char* address, config::MoveBy by, std::string hook = {}) {
    return {.address = *IpAddress::parse(address), .move = by, .hook = std::move(hook)};
  }

  boost::asio::io_context io_;
  std::vector<std::string> failures_;
  std::vector<std::pair<IpAddress, std::optional<ha::Epoch>>> routes_;
  AddressMover mover_{
      io_,
      {.failed = [this](const IpAddress&, const std::string& what) { failures_.push_back(what); },
       .announce_route = [this](const IpAddress& address,
                                std::optional<ha::Epoch> claim) { routes_.emplace_back(address, claim); }}};
};

TEST_F(MoverTest, ANeighbourLearnsTheNewMac) {
  const std::string mac = test::read_file("/sys/class/net/wan0/address").substr(0, 17);
  for (const char* address : {"203.0.113.10", "2001:db8:1::10"}) {
    remember_another(address);
    ASSERT_NE(neighbour(address).find("02:00:00:00:00:99"), std::string::npos);
    mover_.attract(endpoint(address, config::MoveBy::kGarp), kClaim);
    EXPECT_TRUE(run_until([&] { return neighbour(address).find(mac) != std::string::npos; }, milliseconds(3000)))
        << neighbour(address);
  }
  EXPECT_TRUE(failures_.empty()) << failures_.front();
}

TEST_F(MoverTest, ALostAnnouncementIsFollowedByOthers) {
  const std::string mac = test::read_file("/sys/class/net/wan0/address").substr(0, 17);
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kGarp), kClaim);
  io_.run_for(milliseconds(30));
  for (int lost = 1; lost < 3; ++lost) {
    remember_another("203.0.113.10");
    EXPECT_TRUE(
        run_until([&] { return neighbour("203.0.113.10").find(mac) != std::string::npos; }, milliseconds(3000)));
  }
}

TEST_F(MoverTest, AnnouncementsEndWhenItMovesAway) {
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kGarp), kClaim);
  io_.run_for(milliseconds(10));
  mover_.repel(endpoint("203.0.113.10", config::MoveBy::kGarp));
  io_.restart();
  io_.run_for(milliseconds(50));
  remember_another("203.0.113.10");
  io_.restart();
  io_.run_for(milliseconds(1500));  // past the last announcement
  EXPECT_NE(neighbour("203.0.113.10").find("02:00:00:00:00:99"), std::string::npos) << neighbour("203.0.113.10");
}

// This process stood still when the second one was due: another instance may have the address by now, and the order to
// stop is among what it hears first.
TEST_F(MoverTest, ALateAnnouncementWaitsForNewsFirst) {
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kGarp), kClaim);
  io_.run_for(milliseconds(20));  // the first one
  std::this_thread::sleep_for(AddressMover::kAnnounceAfter[1] + AddressMover::kLate + milliseconds(50));
  remember_another("203.0.113.10");
  io_.restart();
  io_.run_for(AddressMover::kBreath / 2);
  EXPECT_NE(neighbour("203.0.113.10").find("02:00:00:00:00:99"), std::string::npos) << "it was announced at once";
  mover_.repel(endpoint("203.0.113.10", config::MoveBy::kGarp));
  io_.restart();
  io_.run_for(milliseconds(1500));  // past the last one
  EXPECT_NE(neighbour("203.0.113.10").find("02:00:00:00:00:99"), std::string::npos) << neighbour("203.0.113.10");
}

TEST_F(MoverTest, ALateAnnouncementIsMadeWhenNothingElseIsHeard) {
  const std::string mac = test::read_file("/sys/class/net/wan0/address").substr(0, 17);
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kGarp), kClaim);
  io_.run_for(milliseconds(20));
  std::this_thread::sleep_for(AddressMover::kAnnounceAfter[1] + AddressMover::kLate + milliseconds(50));
  remember_another("203.0.113.10");
  EXPECT_TRUE(run_until([&] { return neighbour("203.0.113.10").find(mac) != std::string::npos; }, milliseconds(3000)));
}

TEST_F(MoverTest, AnAddressThatIsNotHereIsAFailureWithItsName) {
  mover_.attract(endpoint("2001:db8:1::77", config::MoveBy::kGarp), kClaim);
  ASSERT_TRUE(run_until([&] { return !failures_.empty(); }, milliseconds(1000)));
  EXPECT_EQ(failures_.front(), "source 2001:db8:1::77: Cannot assign requested address");
}

TEST_F(MoverTest, AHostRouteIsOrderedAtOnceAndNothingIsSaidOnTheLink) {
  remember_another("203.0.113.10");
  const IpAddress address = *IpAddress::parse("203.0.113.10");
  const config::HaEndpoint by_bgp = endpoint("203.0.113.10", config::MoveBy::kBgp);
  mover_.attract(by_bgp, kClaim);
  EXPECT_EQ(routes_.size(), 1U) << "without a turn of the loop";
  mover_.repel(by_bgp);
  using Order = std::pair<IpAddress, std::optional<ha::Epoch>>;
  EXPECT_EQ(routes_, (std::vector<Order>{{address, kClaim}, {address, std::nullopt}}));
  io_.run_for(milliseconds(200));
  EXPECT_NE(neighbour("203.0.113.10").find("02:00:00:00:00:99"), std::string::npos) << neighbour("203.0.113.10");
}

TEST_F(MoverTest, AnotherWayEndsTheOneBefore) {
  const IpAddress address = *IpAddress::parse("203.0.113.10");
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kGarp), kClaim);
  io_.run_for(milliseconds(20));
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kBgp), kClaim);
  remember_another("203.0.113.10");
  io_.restart();
  io_.run_for(milliseconds(1500));  // past the last announcement
  EXPECT_NE(neighbour("203.0.113.10").find("02:00:00:00:00:99"), std::string::npos) << neighbour("203.0.113.10");
  ASSERT_EQ(routes_.size(), 1U);
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kGarp), kClaim);
  ASSERT_EQ(routes_.size(), 2U);
  EXPECT_EQ(routes_[1], std::pair(address, std::optional<ha::Epoch>())) << "its host route is withdrawn";
  mover_.repel(endpoint("203.0.113.10", config::MoveBy::kGarp));
  EXPECT_EQ(routes_.size(), 2U);
}

TEST_F(MoverTest, AProgramThatFailsIsTriedAgain) {
  const test::Scratch scratch;
  const std::string path = scratch.path() / "move.sh";
  const std::string log = scratch.path() / "log";
  test::write_file(path,
                   "#!/bin/sh\necho \"$1 $2 $3 $GW_INSTANCE\" >> " + log + "\n[ $(wc -l < " + log + ") -ge 2 ]\n");
  ::chmod(path.c_str(), 0755);
  const auto begin = std::chrono::steady_clock::now();
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kHook, path), kClaim);
  const std::string line = "take 203.0.113.10 wan0 gw-a\n";
  ASSERT_TRUE(run_until([&] { return test::read_file(log) == line + line; }, milliseconds(8000)));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, AddressMover::kFirstRetry);
  const std::vector<std::string> said{path + " ended with status 1", ""};
  EXPECT_TRUE(run_until([&] { return failures_ == said; }, milliseconds(5000))) << "and that it is over";
  mover_.repel(endpoint("203.0.113.10", config::MoveBy::kHook, path));
  EXPECT_TRUE(run_until([&] { return test::read_file(log) == line + line + "release 203.0.113.10 wan0 gw-a\n"; },
                        milliseconds(5000)));
  EXPECT_EQ(failures_, said);
}

// What failed is wanted no more: the program succeeds with something else, and nothing fails any longer.
TEST_F(MoverTest, AnotherOrderThatSucceedsEndsAFailure) {
  const test::Scratch scratch;
  const std::string path = scratch.path() / "move.sh";
  test::write_file(path, "#!/bin/sh\n[ $1 = release ]\n");
  ::chmod(path.c_str(), 0755);
  const std::vector<std::string> said{path + " ended with status 1", ""};
  mover_.attract(endpoint("203.0.113.10", config::MoveBy::kHook, path), kClaim);
  ASSERT_TRUE(run_until([&] { return failures_.size() == 1; }, milliseconds(5000)));
  mover_.repel(endpoint("203.0.113.10", config::MoveBy::kHook, path));
  EXPECT_TRUE(run_until([&] { return failures_ == said; }, milliseconds(5000)));
}

}  // namespace
}  // namespace gw::gwd
