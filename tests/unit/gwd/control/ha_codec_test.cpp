// What two HA machines say to each other, there and back, and what is refused.
#include "gwd/control/ha_codec.hpp"

#include <gtest/gtest.h>

#include "gw/ha/v1/machine.pb.h"

namespace gw::gwd {
namespace {

const IpAddress kFour = *IpAddress::parse("203.0.113.10");
const IpAddress kSix = *IpAddress::parse("2001:db8::10");

TEST(HaCodec, AReportComesBackAsItWas) {
  const ha::Report report{.incarnation = 0x1234567890abcdef,
                          .unfit = ha::Reason::kWanDown,
                          .in_sync = ha::Link::kUp,
                          .hears_data = ha::Link::kDown,
                          .claims = {{kFour, 0x21, ha::Ownership::kOwned}, {kSix, 0x30, ha::Ownership::kStandby}}};
  const auto back = decode_report(encode(report));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(*back, report);
}

TEST(HaCodec, EveryMessageComesBackAsItWas) {
  const ha::Message all[] = {ha::Prepare{kFour, 0x20},
                             ha::Ready{kSix, 0x31},
                             ha::HandOver{kFour, 0x20, ha::Handover::kTakeover, ha::Stay::kUntilMoved},
                             ha::HandOver{kFour, 0x20, ha::Handover::kPlanned, ha::Stay::kUntilPreferred},
                             ha::Taken{kFour, 0x31},
                             ha::Cancel{kFour, 0x20},
                             ha::Refuse{kFour, 0x20, ha::Reason::kOutdated},
                             ha::Request{kSix, 0x10, ha::Stay::kUntilMoved}};
  for (const ha::Message& message : all) {
    const auto back = decode_control(encode(message));
    ASSERT_TRUE(back) << describe(message) << ": " << back.error().describe();
    EXPECT_EQ(std::get<ha::Message>(*back), message) << describe(message);
  }
}

TEST(HaCodec, WhoForwardsSaysForWhat) {
  const auto back = decode_control(encode(Forwards{kSix, 0x31}));
  ASSERT_TRUE(back);
  EXPECT_EQ(std::get<Forwards>(*back), (Forwards{kSix, 0x31}));
  ::gw::ha::v1::Control nothing;
  nothing.mutable_forwards()->set_epoch(0x31);
  EXPECT_FALSE(decode_control(nothing.SerializeAsString())) << "of no address";
}

TEST(HaCodec, AHeartbeatKeyHasItsLength) {
  const HeartbeatKey key{SharedSecret(Secret(std::string_view("0123456789abcdef0123456789abcdef")))};
  const auto back = decode_control(encode(key));
  ASSERT_TRUE(back);
  EXPECT_EQ(std::get<HeartbeatKey>(*back).key, key.key);
  EXPECT_FALSE(decode_control(encode(HeartbeatKey{SharedSecret(Secret(std::string_view("short")))})));
}

TEST(HaCodec, AReasonOfALaterReleaseIsAReason) {
  namespace pb = ::gw::ha::v1;
  pb::Control refusal;
  refusal.mutable_step()->set_address(kFour.bytes_string());
  refusal.mutable_step()->set_kind(pb::Step::REFUSE);
  refusal.mutable_step()->set_reason(99);
  const auto refused = decode_control(refusal.SerializeAsString());
  ASSERT_TRUE(refused) << refused.error().describe();
  EXPECT_EQ(std::get<ha::Message>(*refused), ha::Message(ha::Refuse{kFour, 0, ha::Reason::kUnknown}));
  pb::Report report;
  report.set_unfit(99);
  const auto heard = decode_report(report.SerializeAsString());
  ASSERT_TRUE(heard) << "an instance with a fault of its own is not silent";
  EXPECT_EQ(heard->unfit, ha::Reason::kUnknown);
  EXPECT_FALSE(to_string(ha::Reason::kUnknown).empty());
}

TEST(HaCodec, WhatThisReleaseDoesNotKnowIsRefusedByName) {
  namespace pb = ::gw::ha::v1;
  pb::Control later;
  EXPECT_EQ(decode_control(later.SerializeAsString()).error().code, Errc::kUnsupported);
  later.mutable_step()->set_address(kFour.bytes_string());
  later.mutable_step()->set_kind(static_cast<pb::Step::Kind>(77));
  EXPECT_EQ(decode_control(later.SerializeAsString()).error().message, "step 77 is unknown to this release");
  later.mutable_step()->set_kind(pb::Step::TAKEN);
  later.mutable_step()->set_address("abc");
  EXPECT_FALSE(decode_control(later.SerializeAsString())) << "an address of three bytes";
}

TEST(HaCodec, TruncatedBytesAreRefusedOrMeanLess) {
  const std::string whole = encode(ha::Message(ha::HandOver{kFour, 0x20}));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto part = decode_control(std::string_view(whole).substr(0, length));
    if (part) {
      EXPECT_NE(std::get<ha::Message>(*part), ha::Message(ha::HandOver{kFour, 0x20}));
    }
  }
}

}  // namespace
}  // namespace gw::gwd
