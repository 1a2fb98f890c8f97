#include "base/frame.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace gw {
namespace {

std::span<const std::uint8_t> bytes(std::string_view s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

std::vector<std::string> drain(FrameReader& r) {
  std::vector<std::string> out;
  for (;;) {
    const auto f = r.next();
    if (!f || !*f) return out;
    out.emplace_back(**f);
  }
}

TEST(Frame, SplitsAtAnyByte) {
  std::string stream;
  append_frame(stream, "first");
  append_frame(stream, "");
  append_frame(stream, std::string(3000, 'x'));
  for (std::size_t cut = 0; cut <= stream.size(); cut += 7) {
    FrameReader r;
    r.feed(bytes(std::string_view(stream).substr(0, cut)));
    auto got = drain(r);
    r.feed(bytes(std::string_view(stream).substr(cut)));
    for (auto& f : drain(r)) got.push_back(f);
    ASSERT_EQ(got.size(), 3U) << cut;
    EXPECT_EQ(got[0], "first");
    EXPECT_EQ(got[1], "");
    EXPECT_EQ(got[2], std::string(3000, 'x'));
  }
}

TEST(Frame, OversizedLengthIsRefusedBeforeItsBytesArrive) {
  FrameReader r(100);
  const std::string header("\x00\x00\x00\x65", 4);
  r.feed(bytes(header));
  const auto f = r.next();
  ASSERT_FALSE(f);
  EXPECT_EQ(f.error().code, Errc::kLimit);
}

}  // namespace
}  // namespace gw
