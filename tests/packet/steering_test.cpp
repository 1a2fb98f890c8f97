// The NAT-T steering program on real sockets of the loopback (BPF_PROG_TEST_RUN does not take its kind): which
// worker's socket a datagram comes to.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <optional>

#include "ebpf/xdp/tc_programs.hpp"
#include "packets.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

constexpr std::uint32_t kWorkers = 3;

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Address loopback(Family family, std::uint16_t port) {
  Address a;
  if (family == Family::kV4) {
    auto& in = reinterpret_cast<sockaddr_in&>(a.storage);
    in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.length = sizeof in;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(a.storage);
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    in.sin6_addr = in6addr_loopback;
    a.length = sizeof in;
  }
  return a;
}

Fd udp_socket(Family family) {
  return Fd(::socket(family == Family::kV4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

class NatTSteeringTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    if (!can_run()) GTEST_SKIP() << "needs root";
    static const bool up = [] {
      if (::unshare(CLONE_NEWNET) != 0) return false;
      Fd fd = udp_socket(Family::kV4);
      ifreq r{.ifr_ifrn = {.ifrn_name = "lo"}};
      r.ifr_flags = IFF_UP;
      return ::ioctl(fd.get(), SIOCSIFFLAGS, &r) == 0;
    }();
    ASSERT_TRUE(up);
    auto maps = Maps::create({.max_sas = 16, .fib = kSmallFib});
    ASSERT_TRUE(maps);
    maps_.emplace(std::move(*maps));
    auto steering = NatTSteering::load(*maps_);
    ASSERT_TRUE(steering) << steering.error().describe();
    steering_.emplace(std::move(*steering));
    for (std::uint32_t worker = 0; worker < kWorkers; ++worker) open(worker);
    sender_ = udp_socket(GetParam());
  }

  void open(std::uint32_t worker) {
    Fd fd = udp_socket(GetParam());
    const int one = 1;
    const Address at = loopback(GetParam(), 4500);
    ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at.storage), at.length), 0);
    const auto added = steering_->add(worker, fd.get());
    ASSERT_TRUE(added) << added.error().describe();
    sockets_[worker] = std::move(fd);
  }

  /// Who gets it; none: nobody.
  std::optional<std::uint32_t> receiver(const Bytes& payload) {
    const Address to = loopback(GetParam(), 4500);
    EXPECT_EQ(::sendto(sender_.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&to.storage),
                       to.length),
              static_cast<ssize_t>(payload.size()));
    std::array<std::uint8_t, 2048> buffer;
    for (std::uint32_t worker = 0; worker < kWorkers; ++worker)
      if (::recv(sockets_[worker].get(), buffer.data(), buffer.size(), 0) >= 0) return worker;
    return std::nullopt;
  }

  IpAddress us() const { return GetParam() == Family::kV4 ? ip("127.0.0.1") : ip("::1"); }

  std::optional<Maps> maps_;
  std::optional<NatTSteering> steering_;
  std::array<Fd, kWorkers> sockets_;
  Fd sender_;
};

TEST_P(NatTSteeringTest, EspGoesToTheOwnerOfItsSa) {
  for (std::uint32_t spi = 0x1000; spi < 0x1009; ++spi) {
    ASSERT_TRUE(maps_->add_spi(spi, us(), {.worker = spi % kWorkers}));
    EXPECT_EQ(receiver(esp(spi)), spi % kWorkers);
  }
  ASSERT_TRUE(maps_->add_spi(0x1000, us(), {.worker = 2}));
  EXPECT_EQ(receiver(esp(0x1000)), 2u) << "the SA has moved";
}

TEST_P(NatTSteeringTest, TheRestGoesToTheFirst) {
  ASSERT_TRUE(maps_->add_spi(0x1000, ip("192.0.2.1"), {.worker = 2}));
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(receiver(esp(0x1000)), 0u) << "the SA of another address";
    EXPECT_EQ(receiver(be32(0) + Bytes(28, 1)), 0u) << "IKE";
    EXPECT_EQ(receiver({0xff}), 0u) << "a keepalive";
    EXPECT_EQ(receiver({}), 0u) << "nothing";
    sender_ = udp_socket(GetParam());  // another port, another hash
  }
}

INSTANTIATE_TEST_SUITE_P(Families, NatTSteeringTest, testing::Values(Family::kV4, Family::kV6),
                         [](const auto& p) { return p.param == Family::kV4 ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace gw::xdp
