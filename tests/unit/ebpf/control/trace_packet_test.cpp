// The packet of a trace: as the worker's and the programs' parsers read it; and which questions make no sense.
#include "ebpf/control/trace_packet.hpp"

#include <gtest/gtest.h>

#include "base/wire.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/outer.hpp"

namespace gw::control {
namespace {

TraceQuery query(const char* source, const char* destination, std::uint8_t protocol, std::uint32_t size) {
  return {.source = *IpAddress::parse(source),
          .destination = *IpAddress::parse(destination),
          .protocol = protocol,
          .size = size};
}

TEST(TracePacket, IsReadAsItWasAskedFor) {
  for (const auto protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
    for (const bool v4 : {true, false}) {
      TraceQuery q =
          v4 ? query("10.1.0.10", "10.9.0.5", protocol, 100) : query("fd00:1::10", "fd00:9::5", protocol, 100);
      q.source_port = 40000;
      q.destination_port = 443;
      const auto packet = make_packet(q);
      ASSERT_EQ(packet.size(), 100U);
      const auto header = esp::check_inner(packet);
      ASSERT_TRUE(header) << "length, checksum";
      EXPECT_EQ(header->total_length, 100U);
      const esp::Flow flow = esp::parse_flow(packet, header->family);
      EXPECT_EQ(flow.protocol, protocol);
      EXPECT_FALSE(flow.fragment);
      ASSERT_TRUE(flow.has_ports);
      EXPECT_EQ(flow.port[0], 40000);
      EXPECT_EQ(flow.port[1], 443);
      EXPECT_EQ(packet[v4 ? 8 : 7], 64);
    }
  }
}

TEST(TracePacket, EchoesAreEchoRequests) {
  EXPECT_EQ(make_packet(query("10.1.0.10", "10.9.0.5", 1, 84))[20], 8);
  EXPECT_EQ(make_packet(query("fd00:1::10", "fd00:9::5", 58, 104))[40], 128);
}

TEST(TracePacket, MayBeCutIfThatWasSaid) {
  TraceQuery q = query("10.1.0.10", "10.9.0.5", 17, 100);
  EXPECT_EQ(load_be<std::uint16_t>(&make_packet(q)[6]), 0x4000);
  q.cutting = TraceQuery::Cutting::kAllowed;
  EXPECT_EQ(load_be<std::uint16_t>(&make_packet(q)[6]), 0);
}

TEST(TracePacket, TheOuterOneHasItsSpiWhereTheGuardLooks) {
  const auto peer = *IpAddress::parse("198.51.100.7");
  const auto ours = *IpAddress::parse("192.0.2.1");
  for (const auto port : {std::uint16_t{0}, std::uint16_t{4500}}) {
    auto bytes = make_outer({peer, ours, port, port, 0xc0ffee01});
    esp::Packet packet{.base = bytes.data(),
                       .capacity = static_cast<std::uint32_t>(bytes.size()),
                       .length = static_cast<std::uint32_t>(bytes.size())};
    esp::OuterHeader outer;
    ASSERT_EQ(esp::strip_outer(packet, outer), GW_DROP_NONE) << "port " << port;
    EXPECT_EQ(outer.spi, 0xc0ffee01U);
  }
}

TEST(TraceQuery, FaultsNameTheField) {
  const auto field = [](const TraceQuery& q) {
    const auto checked = check_query(q);
    return checked ? std::string("none") : checked.error().field;
  };
  EXPECT_EQ(field(query("10.1.0.10", "10.9.0.5", 17, 28)), "none");
  EXPECT_EQ(field(query("10.1.0.10", "fd00::1", 17, 100)), "destination");
  EXPECT_EQ(field(query("10.1.0.10", "10.9.0.5", 17, 27)), "size");
  EXPECT_EQ(field(query("fd00::1", "fd00::2", 6, 59)), "size");
  EXPECT_EQ(field(query("fd00::1", "fd00::2", 6, 60)), "none");
  EXPECT_EQ(field(query("10.1.0.10", "10.9.0.5", 17, 3501)), "size");
  TraceQuery q = query("10.1.0.10", "10.9.0.5", 1, 100);
  q.destination_port = 443;
  EXPECT_EQ(field(q), "destination_port");
  q.source_port = 1;
  EXPECT_EQ(field(q), "source_port");
}

}  // namespace
}  // namespace gw::control
