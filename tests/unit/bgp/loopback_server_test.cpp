// The listener of FRR's streams, where the system has nothing left for it.
#include "bgp/loopback_server.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

namespace gw::bgp {
namespace {

using boost::asio::ip::tcp;
using namespace std::chrono_literals;

/// No file descriptor is left.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(next);
    const rlimit none{static_cast<rlim_t>(next), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(LoopbackServer, WaitsForAFileDescriptorWithoutTurningInCircles) {
  boost::asio::io_context io;
  bool connected = false;
  LoopbackServer server(io.get_executor(), "BMP",
                        {.connected = [&] { connected = true; },
                         .disconnected = {},
                         .received = [](std::span<const std::uint8_t>) { return Status{}; }});
  ASSERT_TRUE(server.listen(0));
  tcp::socket client(io, tcp::v4());
  // UBSan asks the kernel about every type of object that it sees for the first time, by a pipe.
  boost::asio::steady_timer known(io, 1ms);
  known.async_wait([](const boost::system::error_code&) {});
  io.run_for(10ms);
  {
    const NoDescriptors none;
    client.connect({boost::asio::ip::address_v4::loopback(), server.port()});
    io.restart();
    EXPECT_LT(io.run_for(300ms), 50U);
    EXPECT_FALSE(connected);
  }
  io.restart();
  io.run_for(300ms);
  EXPECT_TRUE(connected);
  server.close();
}

}  // namespace
}  // namespace gw::bgp
