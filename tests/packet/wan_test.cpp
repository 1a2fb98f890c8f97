// The wan program: the rows of wan_table, and every truncation of every row.
#include <array>
#include <format>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/wire.hpp"
#include "ebpf/worker/endpoint_gates.hpp"
#include "wan_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

// BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header.
constexpr std::size_t kShortestFrame = 14;

// More than two tags are the kernel's.
TEST_F(WanTest, VerdictAndCounter) {
  for (const WanRow& row : wan_rows()) {
    const bool tagged_itself = std::string_view(row.what).contains("VLAN");
    for (const auto& with : kTagStacks) {
      if (tagged_itself && !with.empty()) continue;
      const std::string what = std::format("{}, {} more tags", row.what, with.size());
      const Counters before = maps_->wan_counters();
      EXPECT_EQ(run(program_->program_fd(), tag(row.frame, with)), row.verdict) << what;
      EXPECT_EQ(counted_since(before), only(row.counter)) << what;
    }
  }
}

// At any length, with tags and without: a verdict, one counter, and never a redirect of what is not whole.
TEST_F(WanTest, TruncatedAtEveryLength) {
  for (const WanRow& row : wan_rows()) {
    for (const auto& with : kTagStacks) {
      const Bytes frame = tag(row.frame, with);
      for (std::size_t length = kShortestFrame; length + row.padding < frame.size(); ++length) {
        const std::string what = std::format("{}, {} more tags, cut to {}", row.what, with.size(), length);
        const Counters before = maps_->wan_counters();
        const int verdict =
            run(program_->program_fd(), Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)));
        // The IP length says that bytes are missing: nothing goes to a socket, and nobody is blamed for it.
        EXPECT_EQ(verdict, XDP_PASS) << what;
        EXPECT_EQ(counted_since(before), only(GW_XDP_PASSED)) << what;
      }
    }
  }
}

TEST_F(WanTest, UnknownSpiIsReportedOnceInAWhile) {
  const Bytes frame = wan_v4(udp({.src = 40001}, esp(kUnknown)), 17);
  for (int i = 0; i < 20; ++i) (void)run(program_->program_fd(), frame);
  std::vector<UnknownSpi> seen;
  maps_->consume([&](const UnknownSpi& u) { seen.push_back(u); });
  ASSERT_GE(seen.size(), 1u);
  EXPECT_LE(seen.size(), 2u) << "one per 100 ms";
  EXPECT_EQ(seen[0].spi, kUnknown);
  EXPECT_EQ(seen[0].src, ip("203.0.113.9"));
  EXPECT_EQ(seen[0].dst, ip("192.0.2.1"));
  EXPECT_EQ(seen[0].src_port, 40001);
}

TEST_F(WanTest, ARemovedSpiIsUnknown) {
  const Bytes frame = wan_v4(esp(kKnown), 50);
  maps_->remove_spi(kKnown, ip("192.0.2.1"));
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_DROP);
  EXPECT_EQ(counted_since(before), only(GW_XDP_DROP_UNKNOWN_SPI));
}

// A thousand tunnels' devices have more addresses than one machine usually has.
TEST_F(WanTest, AllAddressesOfAGatewayWithManyTunnelsAreOurs) {
  constexpr std::uint32_t kTunnels = 1000;
  std::vector<IpAddress> ours{ip("203.0.113.1")};
  for (std::uint32_t i = 0; i < kTunnels; ++i) {
    ours.push_back(IpAddress::from_v4(0xa9fe0001 + 4 * i));
    std::array<std::uint8_t, 16> link_local{0xfe, 0x80};
    store_be(&link_local[12], i + 1);
    ours.push_back(IpAddress::from_v6(link_local));
  }
  auto maps = Maps::create({.max_sas = 16, .fib = kSmallFib, .max_local_addresses = local_addresses_for(kTunnels)});
  ASSERT_TRUE(maps) << maps.error().describe();
  const auto program = WanProgram::load(*maps);
  ASSERT_TRUE(program);
  const auto done = maps->set_local(ours);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(run(program->program_fd(), wan_v4(esp(kUnknown), 50, {.dst = ip("203.0.113.1")})), XDP_DROP);
  EXPECT_EQ(maps->wan_counters()[GW_XDP_DROP_UNKNOWN_SPI], 1U);
}

TEST_F(WanTest, AnAddressThatHasNoPlaceIsNamed) {
  auto maps = Maps::create({.max_sas = 16, .fib = kSmallFib, .max_local_addresses = 2});
  ASSERT_TRUE(maps) << maps.error().describe();
  const auto done = maps->set_local(std::vector{ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3")});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kLimit);
  EXPECT_TRUE(done.error().message.contains("192.0.2.3")) << done.error().describe();
  EXPECT_TRUE(maps->set_local(std::vector{ip("192.0.2.3"), ip("192.0.2.2")})) << "where one has gone there is room";
}

TEST_F(WanTest, ACardMayHaveManyQueues) {
  EXPECT_TRUE(program_->set_socket(GW_XDP_MAX_QUEUES - 1, socket_.get()));
  EXPECT_FALSE(program_->set_socket(GW_XDP_MAX_QUEUES, socket_.get()));
}

TEST_F(WanTest, AQueueWithoutSocketDropsAndCounts) {
  auto other = WanProgram::load(*maps_);
  ASSERT_TRUE(other);
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(run(other->program_fd(), wan_v4(esp(kKnown), 50)), XDP_DROP);
  EXPECT_EQ(counted_since(before), only(GW_XDP_DROP_NO_SOCKET));
}

void append(Bytes& packet, const IpAddress& address) {
  packet.insert(packet.end(), address.bytes().begin(), address.bytes().end());
}

/// Who-has `target`, from `sender`.
Bytes arp(const char* sender, const char* target) {
  Bytes packet = Bytes{0, 1, 8, 0, 6, 4, 0, 1} + Bytes(kPeerMac.begin(), kPeerMac.end());
  append(packet, ip(sender));
  packet = packet + Bytes(6, 0);
  append(packet, ip(target));
  return ethernet(0x0806) + packet;
}

Bytes solicitation(const char* target) {
  Bytes packet = Bytes{135, 0, 0, 0, 0, 0, 0, 0};
  append(packet, ip(target));
  return wan_v6(packet, 58, {.hop_limit = 255});
}

// Whoever asks for the MAC of an endpoint gets an answer while its gate is open, and only then.
TEST_F(WanTest, NobodyIsToldTheMacOfAStandbyEndpoint) {
  worker::EndpointGates gates(maps_->gates());
  const auto expect = [&](const Bytes& frame, bool dropped, const char* what) {
    for (const auto& with : kTagStacks) {
      const Counters before = maps_->wan_counters();
      EXPECT_EQ(run(program_->program_fd(), tag(frame, with)), dropped ? XDP_DROP : XDP_PASS) << what;
      EXPECT_EQ(counted_since(before), only(dropped ? GW_XDP_DROP_STANDBY : GW_XDP_PASSED)) << what;
    }
  };
  const auto expect_both = [&](bool dropped, const char* what) {
    expect(arp("203.0.113.9", "192.0.2.1"), dropped, what);
    expect(solicitation("2001:db8::1"), dropped, what);
  };
  expect_both(false, "no endpoints");
  const worker::GateIndex gate = gates.take();
  ASSERT_TRUE(maps_->add_endpoint(ip("192.0.2.1"), gate));
  ASSERT_TRUE(maps_->add_endpoint(ip("2001:db8::1"), gate));
  expect_both(true, "standby");
  expect(arp("0.0.0.0", "192.0.2.1"), true, "a probe (RFC 5227)");
  expect(arp("192.0.2.1", "192.0.2.1"), false, "the owner's announcement");
  expect(arp("203.0.113.9", "192.0.2.2"), false, "another address of ours");
  expect(solicitation("2001:db8::2"), false, "another address of ours");
  const MonoTime now = SystemClock().now();
  gates.set(gate, {worker::boot_ns(now + std::chrono::hours(1)), 4});
  expect_both(false, "owned");
  gates.set(gate, {worker::boot_ns(now), 4});
  expect_both(true, "its deadline is past");
  gates.set(gate, {GW_GATE_FOREVER, 4});
  gates.set_lease_until(worker::boot_ns(now));
  expect_both(true, "the embedded lease has ended");
  gates.set_lease_until(GW_GATE_FOREVER);
  gates.note_other_claim(gate, 5);
  expect_both(true, "the other instance has it");
  gates.set(gate, {GW_GATE_FOREVER, 6});
  expect_both(false, "taken back");
  maps_->remove_endpoint(ip("192.0.2.1"));
  gates.set(gate, {0, 7});
  expect(arp("203.0.113.9", "192.0.2.1"), false, "no endpoint any more");
}

// A jumbo frame is in pages: only its headers can be read in place.
TEST_F(WanTest, JumboFramesAreWholeInTheirPages) {
  for (const std::size_t rest : {3'000u, 8'900u, 20'000u}) {
    EXPECT_EQ(run(program_->program_fd(), wan_v4(esp(kKnown, rest), 50)), XDP_REDIRECT) << rest;
    EXPECT_EQ(run(program_->program_fd(), wan_v6(udp({}, esp(kKnown, rest)), 17)), XDP_REDIRECT) << rest;
    Bytes cut = wan_v4(esp(kKnown, rest), 50);
    cut.pop_back();
    EXPECT_EQ(run(program_->program_fd(), cut), XDP_PASS) << rest;
  }
}

TEST_F(WanTest, TheSpiMapHasItsLimit) {
  for (std::uint32_t spi = 0x2000; spi < 0x2000 + 62; ++spi) ASSERT_TRUE(maps_->add_spi(spi, ip("192.0.2.1"), {}));
  EXPECT_EQ(maps_->add_spi(0x3000, ip("192.0.2.1"), {}).error().code, Errc::kLimit);
}

}  // namespace
}  // namespace gw::xdp
