// The frames byte by byte, as the RFCs draw them.
#include "gwd/control/announcement.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

constexpr MacAddress kMac{0x02, 0, 0, 0, 0, 0x0a};

TEST(Announcement, ArpRequest) {
  const std::array<std::uint8_t, 42> expected{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,   0x0a, 8,   6,
                                              0,    1,    8,    0,    6,    4,    0, 1, 2, 0, 0,   0,    0,   0x0a,
                                              203,  0,    113,  10,   0,    0,    0, 0, 0, 0, 203, 0,    113, 10};
  EXPECT_EQ(arp_announcement(IpAddress::from_v4(0xcb00710a), kMac, ArpOperation::kRequest), expected);
}

TEST(Announcement, ArpReplyDiffersInOperationAndTarget) {
  auto frame = arp_announcement(IpAddress::from_v4(0xcb00710a), kMac, ArpOperation::kRequest);
  frame[21] = 2;
  std::fill_n(frame.begin() + 32, 6, std::uint8_t{0xff});
  EXPECT_EQ(arp_announcement(IpAddress::from_v4(0xcb00710a), kMac, ArpOperation::kReply), frame);
}

TEST(Announcement, NeighbourAdvertisement) {
  const std::array<std::uint8_t, 32> expected{136, 0, 0, 0, 0xa0, 0, 0, 0,    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0,
                                              0,   0, 0, 0, 0,    0, 0, 0x10, 2,    1,    2,    0,    0, 0, 0, 0x0a};
  EXPECT_EQ(neighbour_advertisement(*IpAddress::parse("2001:db8:1::10"), kMac), expected);
}

TEST(Announcement, AnUnknownInterfaceIsNamed) {
  const Status status = announce("gw-none0", IpAddress::from_v4(0xcb00710a));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().describe(), "no interface gw-none0");
}

}  // namespace
}  // namespace gw::gwd
