// BgpController against a stock bgpd that refuses some of what it is asked. Root; a network namespace of its own.
#include "gwd/control/bgp_controller.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "gwd/control/bfd_controller.hpp"
#include "tests/support/await.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/unit/bgp/intent.hpp"

namespace gw::gwd {
namespace {

using namespace std::chrono_literals;
using bgp::test::berlin;
using bgp::test::ip;

class BgpControllerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { test::enter_namespaces({"/run/frr", "/var/tmp/frr"}); }
  void SetUp() override {
    test::run("chown frr:frr /run/frr");
    test::write_file(scratch.path() / "empty.conf", "");
    bgpd = test::Process({"/usr/lib/frr/bgpd", "-Z", "-P", "0", "-f", (scratch.path() / "empty.conf").string()},
                         scratch.path() / "bgpd.out");
    ASSERT_TRUE(test::eventually([] { return std::filesystem::exists("/run/frr/bgpd.vty"); }, 10s));
    controller.start();
  }
  void TearDown() override {
    controller.stop();
    wait([] { return false; }, 100ms);
    bgpd.end(SIGKILL);
  }
  bool wait(const std::function<bool()>& condition, std::chrono::milliseconds limit = 15s) {
    return test::run_until(io, condition, limit);
  }
  void want(bgp::BgpIntent intent) { controller.set_intent(std::make_shared<const bgp::BgpIntent>(std::move(intent))); }
  static bgp::BgpIntent gateway() {
    bgp::BgpIntent intent = bgp::test::gateway();
    intent.bmp_port = 0;
    return intent;
  }
  /// bgpd takes no hold time of two seconds.
  static bgp::BgpIntent with_refused_peer() {
    bgp::BgpIntent intent = gateway();
    intent.peers.push_back(berlin());
    intent.peers.back().keepalive = 1s;
    intent.peers.back().hold = 2s;
    return intent;
  }

  test::Scratch scratch;
  test::Process bgpd;
  boost::asio::io_context io{1};
  SystemClock clock;
  BfdController bfd{io, clock, "/run/frr"};
  BgpController controller{io, clock, {"/run/frr", (scratch.path() / "bgpd.conf").string()}, bfd};
};

TEST_F(BgpControllerTest, WhatIsRefusedIsSaidAndTheRestGoesOn) {
  want(gateway());
  ASSERT_TRUE(wait([&] { return controller.in_sync(); }));
  want(with_refused_peer());
  ASSERT_TRUE(wait([&] { return !controller.problem().empty(); }));
  EXPECT_TRUE(controller.problem().contains("timers 1 2")) << controller.problem();
  EXPECT_TRUE(controller.connected());
  EXPECT_FALSE(controller.in_sync());
  EXPECT_TRUE(wait([&] { return controller.sessions().size() == 2; })) << "sessions are read";
  bgp::BgpIntent intent = with_refused_peer();
  intent.peers.back().hold = 9s;
  want(std::move(intent));
  EXPECT_TRUE(wait([&] { return controller.in_sync(); }));
  EXPECT_EQ(controller.problem(), "");
}

}  // namespace
}  // namespace gw::gwd
