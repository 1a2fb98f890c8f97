// systemd's protocol from the other end: what arrives at NOTIFY_SOCKET. (Descriptors: ebpf/tun/fd_store_test.cpp.)
#include "base/service_manager.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "base/fd.hpp"

namespace gw {
namespace {

class ServiceManagerTest : public testing::Test {
 protected:
  ~ServiceManagerTest() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }

  /// Bound to an abstract name, which NOTIFY_SOCKET tells.
  static Fd manager_socket() {
    Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "gw-service-manager-test-" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
    return socket;
  }
};

TEST_F(ServiceManagerTest, SaysNothingWithoutAManager) {
  const ServiceManager manager = ServiceManager::from_environment();
  EXPECT_TRUE(manager.notify("READY=1"));
  EXPECT_FALSE(manager.watchdog());
}

TEST_F(ServiceManagerTest, TellsTheManager) {
  const Fd socket = manager_socket();
  const ServiceManager manager = ServiceManager::from_environment();
  ASSERT_TRUE(manager.notify("WATCHDOG=1"));
  std::array<char, 64> text{};
  const ssize_t n = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
  ASSERT_GT(n, 0);
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(n)), "WATCHDOG=1");
}

TEST_F(ServiceManagerTest, AManagerThatDoesNotReadBlocksNobody) {
  const Fd socket = manager_socket();
  const ServiceManager manager = ServiceManager::from_environment();
  // Its queue holds net.unix.max_dgram_qlen datagrams: 10 by default, 512 with systemd; its buffer is bounded, too.
  int taken = 0;
  while (taken < 100'000 && manager.notify("WATCHDOG=1")) ++taken;
  EXPECT_GT(taken, 0);
  EXPECT_LT(taken, 100'000) << "the queue never became full";
}

TEST_F(ServiceManagerTest, AnUnreachableManagerIsAnError) {
  ::setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
  EXPECT_FALSE(ServiceManager::from_environment().notify("READY=1"));
}

TEST_F(ServiceManagerTest, TheWatchdogIsForTheProcessThatIsNamed) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(ServiceManager::from_environment().watchdog(), std::chrono::seconds(3));
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(ServiceManager::from_environment().watchdog(), std::chrono::seconds(3));
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager::from_environment().watchdog()) << "it watches another process, perhaps our parent";
}

TEST_F(ServiceManagerTest, ATimeThatIsNoneIsNoWatchdog) {
  for (const char* text : {"", "0", "-1", "3s", "99999999999999999999"}) {
    ::setenv("WATCHDOG_USEC", text, 1);
    EXPECT_FALSE(ServiceManager::from_environment().watchdog()) << text;
  }
}

}  // namespace
}  // namespace gw
