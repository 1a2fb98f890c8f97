#include "ebpf/capture/ask.hpp"

#include <gtest/gtest.h>

namespace gw::capture {
namespace {

fp::CaptureAsk sound() {
  fp::CaptureAsk ask;
  ask.set_version(1);
  ask.add_points(fp::CAPTURE_INNER);
  ask.add_points(fp::CAPTURE_DROPS);
  ask.set_snap_bytes(128);
  ask.set_seconds(60);
  return ask;
}

const Choice kChoice{4, [](const std::string& name) { return name == "paris" ? std::optional(7U) : std::nullopt; }};

TEST(CaptureAsk, ASoundOne) {
  fp::CaptureAsk ask = sound();
  ask.set_tunnel("paris");
  ask.set_worker(3);
  const auto request = parse_ask(ask, kChoice);
  ASSERT_TRUE(request) << request.error().describe();
  EXPECT_EQ(request->wanted.points, bit(Point::kInner) | bit(Point::kDrops));
  EXPECT_EQ(request->wanted.tunnel, 7U);
  EXPECT_EQ(request->wanted.snap_bytes, 128U);
  EXPECT_EQ(request->worker, 3);
  EXPECT_EQ(request->time, std::chrono::seconds(60));
  EXPECT_FALSE(parse_ask(sound(), kChoice)->worker);
  EXPECT_EQ(parse_ask(sound(), kChoice)->wanted.tunnel, 0U);
}

TEST(CaptureAsk, EachFaultNamesItsField) {
  const auto field_of = [](auto change) {
    fp::CaptureAsk ask = sound();
    change(ask);
    const auto request = parse_ask(ask, kChoice);
    return request ? "none" : request.error().field;
  };
  EXPECT_EQ(field_of([](auto& a) { a.set_version(2); }), "version");
  EXPECT_EQ(field_of([](auto& a) { a.clear_points(); }), "points");
  EXPECT_EQ(field_of([](auto& a) { a.add_points(static_cast<fp::CapturePoint>(77)); }), "points");
  EXPECT_EQ(field_of([](auto& a) { a.add_points(static_cast<fp::CapturePoint>(-1)); }), "points");
  EXPECT_EQ(field_of([](auto& a) { a.set_snap_bytes(31); }), "snap");
  EXPECT_EQ(field_of([](auto& a) { a.set_snap_bytes(65536); }), "snap");
  EXPECT_EQ(field_of([](auto& a) { a.set_seconds(0); }), "seconds");
  EXPECT_EQ(field_of([](auto& a) { a.set_seconds(86401); }), "seconds");
  EXPECT_EQ(field_of([](auto& a) { a.set_worker(4); }), "worker");
  EXPECT_EQ(field_of([](auto& a) { a.set_tunnel("rome"); }), "tunnel");
}

}  // namespace
}  // namespace gw::capture
