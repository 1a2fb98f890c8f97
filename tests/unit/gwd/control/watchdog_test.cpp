// What systemd hears of gwd: ready, alive, and nothing any more when the sync thread stands still.
#include "gwd/control/watchdog.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "gwd/control/fastpath_ports.hpp"

namespace gw::gwd {
namespace {

using namespace std::chrono_literals;

class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "gw-watchdog-test-" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
    ::setenv("WATCHDOG_USEC", "30000", 1);
  }
  ~WatchdogTest() override {
    ::unsetenv("NOTIFY_SOCKET");
    ::unsetenv("WATCHDOG_USEC");
  }

  std::vector<std::string> heard() {
    std::vector<std::string> all;
    std::array<char, 64> text{};
    ssize_t n = 0;
    while ((n = ::recv(socket_.get(), text.data(), text.size(), 0)) > 0)
      all.emplace_back(text.data(), static_cast<std::size_t>(n));
    return all;
  }

  Fd socket_;
  boost::asio::io_context io_{1};
};

TEST_F(WatchdogTest, SaysReadyOnceAndThenThatItIsAlive) {
  Watchdog watchdog(io_, ServiceManager::from_environment(), [] { return std::nullopt; });
  watchdog.start();
  // Not longer: nobody reads meanwhile, and a datagram socket's queue may be ten long (net.unix.max_dgram_qlen).
  io_.run_for(50ms);
  const auto all = heard();
  ASSERT_GE(all.size(), 3U);
  EXPECT_EQ(all[0], "READY=1");
  EXPECT_EQ(all[1], "WATCHDOG=1");
  EXPECT_EQ(std::ranges::count(all, "READY=1"), 1);
}

TEST_F(WatchdogTest, IsSilentWhileTheSyncThreadStandsStill) {
  std::uint64_t progress = 1;
  Watchdog watchdog(io_, ServiceManager::from_environment(), [&] { return std::optional(progress); });
  watchdog.start();  // the first look has nothing to compare with
  (void)heard();
  io_.run_for(60ms);
  EXPECT_TRUE(heard().empty()) << "it stands still";
  ++progress;
  io_.run_for(30ms);
  EXPECT_FALSE(heard().empty()) << "it goes on";
}

TEST_F(WatchdogTest, ASyncThreadThatComesOrGoesIsNoStandstill) {
  std::optional<std::uint64_t> progress;
  Watchdog watchdog(io_, ServiceManager::from_environment(), [&] { return progress; });
  watchdog.start();
  (void)heard();
  progress = 7;
  io_.run_for(11ms);
  EXPECT_EQ(heard().size(), 1U);
  progress.reset();
  io_.run_for(11ms);
  EXPECT_EQ(heard().size(), 1U);
}

TEST(FastpathPorts, AreTheDocumentsPorts) {
  config::GatewayModel model;
  model.wan_interface = "eth0";
  model.vnet_interface = "eth1";
  EXPECT_EQ(render_fastpath_ports(model), "GW_FASTPATH_PORTS=\"--wan eth0 --vnet eth1\"\n");
  model.circuit_interface = "eth2";
  model.ha.emplace();
  model.ha->self = 1;
  model.ha->port = 9700;
  EXPECT_EQ(render_fastpath_ports(model),
            "GW_FASTPATH_PORTS=\"--wan eth0 --vnet eth1 --circuit eth2 --instance 1\"\nGW_SYNC_PORT=\"9700\"\n");
}

TEST(FastpathPorts, TheFirewallIsToldTheWansRouters) {
  config::GatewayModel model;
  const auto add = [&](const char* peer, routes::SourceKind kind) {
    config::SessionModel& session = model.sessions.emplace_back();
    session.bgp.peer = IpAddress::parse(peer).value();
    session.kind = kind;
  };
  add("192.0.2.1", routes::SourceKind::kWan);
  add("10.0.0.1", routes::SourceKind::kVnet);
  add("2001:db8::1", routes::SourceKind::kWan);
  EXPECT_TRUE(render_fastpath_ports(model).ends_with("\nGW_WAN_ROUTERS=\"192.0.2.1 2001:db8::1\"\n"));
}

}  // namespace
}  // namespace gw::gwd
