#include "ebpf/rpc/bfd_messages.hpp"

#include <gtest/gtest.h>

namespace gw::rpc {
namespace {

using bfd::Interval;

bfd::SharedSession sample() {
  return {.key = {.peer = IpAddress::parse("169.254.1.2").value(),
                  .local = IpAddress::parse("169.254.1.1").value(),
                  .device = "tun1"},
          .settings = {.desired_min_tx = Interval(50'000),
                       .required_min_rx = Interval(60'000),
                       .detect_multiplier = 4,
                       .role = bfd::Role::kPassive},
          .min_ttl = 255,
          .snapshot = {.local_discriminator = 1,
                       .state = bfd::State::kUp,
                       .diagnostic = bfd::Diagnostic::kPathDown,
                       .remote = {.discriminator = 2,
                                  .state = bfd::State::kUp,
                                  .detect_multiplier = 3,
                                  .desired_min_tx = Interval(7),
                                  .required_min_rx = Interval(8)}}};
}

TEST(BfdMessages, ASharedSessionReadsBackTheSame) {
  fp::BfdSharedSession m;
  fill(sample(), m);
  const auto back = parse_shared_session(m);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(*back, sample());
}

TEST(BfdMessages, WhatCannotBeIsRefusedByField) {
  const auto field = [](auto change) {
    fp::BfdSharedSession m;
    fill(sample(), m);
    change(m);
    const auto parsed = parse_shared_session(m);
    return parsed ? std::string("accepted") : parsed.error().field;
  };
  EXPECT_EQ(field([](auto& m) { m.set_peer("abc"); }), "peer");
  EXPECT_EQ(field([](auto& m) { m.clear_local(); }), "local");
  EXPECT_EQ(field([](auto& m) { m.set_local(std::string(16, 'x')); }), "local");
  EXPECT_EQ(field([](auto& m) { m.clear_device(); }), "device");
  EXPECT_EQ(field([](auto& m) { m.set_device("sixteen-letters-"); }), "device");
  EXPECT_EQ(field([](auto& m) { m.set_min_ttl(256); }), "min_ttl");
  EXPECT_EQ(field([](auto& m) { m.set_detect_multiplier(300); }), "detect_multiplier");
  EXPECT_EQ(field([](auto& m) { m.set_state(4); }), "state");
  EXPECT_EQ(field([](auto& m) { m.set_remote_state(9); }), "remote_state");
  EXPECT_EQ(field([](auto& m) { m.clear_local_discriminator(); }), "state");
  EXPECT_EQ(field([](auto& m) { m.clear_remote_detect_multiplier(); }), "state");
  EXPECT_EQ(field([](auto& m) {
              m.clear_local_discriminator();
              m.set_state(1);
            }),
            "accepted");
}

}  // namespace
}  // namespace gw::rpc
