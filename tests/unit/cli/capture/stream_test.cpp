// gwctl believes nothing that does not hold together.
#include "cli/capture/stream.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <format>
#include <thread>

namespace gw::cli::capture {
namespace {

using namespace std::chrono_literals;

class CaptureStream : public testing::Test {
 protected:
  CaptureStream() {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    server_.reset(pair[0]);
    stream_.emplace(Fd(pair[1]));
  }
  void say(const std::string& bytes) {
    ASSERT_EQ(::send(server_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  void say(const fp::CaptureFrame& frame) {
    std::string bytes;
    append_frame(bytes, frame.SerializeAsString());
    say(bytes);
  }
  Fd server_;
  std::optional<Stream> stream_;
};

fp::CaptureFrame packet() {
  fp::CaptureFrame frame;
  fp::CapturedPacket& p = *frame.mutable_packets()->add_packets();
  p.set_length(3);
  p.set_data("abc");
  return frame;
}

TEST_F(CaptureStream, FramesInOrder) {
  fp::CaptureFrame started;
  started.mutable_started()->set_interface("wan");
  say(started);
  say(packet());
  EXPECT_EQ(stream_->wait(1s)->started().interface(), "wan");
  EXPECT_EQ(stream_->wait(1s)->packets().packets(0).data(), "abc");
  EXPECT_EQ(stream_->wait(10ms).error().code, Errc::kTimeout);
  server_.reset();
  EXPECT_EQ(stream_->wait(1s).error().code, Errc::kClosed);
}

TEST_F(CaptureStream, TheNamesOfAllTunnels) {
  constexpr std::uint32_t kTunnels = 65534;
  fp::CaptureFrame started;
  for (std::uint32_t id = 1; id <= kTunnels; ++id) {
    fp::CaptureTunnel& tunnel = *started.mutable_started()->add_tunnels();
    tunnel.set_tunnel_id(id);
    tunnel.set_name(std::format("a-branch-with-a-long-name-{}/gw-a", id));
  }
  ASSERT_GT(started.ByteSizeLong(), kMaxFrameBytes);
  const std::jthread server([&] { say(started); });  // more than the socket holds
  const auto read = stream_->wait(10s);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->started().tunnels_size(), kTunnels);
}

TEST_F(CaptureStream, WhatCannotBeIsRefused) {
  EXPECT_TRUE(check(packet()));
  const auto code_of = [](auto change) {
    fp::CaptureFrame frame = packet();
    change(frame);
    const Status checked = check(frame);
    return checked ? Errc::kInternal : checked.error().code;
  };
  const auto first = [](fp::CaptureFrame& f) { return f.mutable_packets()->mutable_packets(0); };
  EXPECT_EQ(code_of([&](auto& f) { first(f)->set_point(static_cast<fp::CapturePoint>(3)); }), Errc::kMalformed);
  EXPECT_EQ(code_of([&](auto& f) { first(f)->set_point(static_cast<fp::CapturePoint>(-1)); }), Errc::kMalformed);
  EXPECT_EQ(code_of([&](auto& f) { first(f)->set_direction(static_cast<fp::CaptureDirection>(9)); }), Errc::kMalformed);
  EXPECT_EQ(code_of([&](auto& f) { first(f)->set_data("abcd"); }), Errc::kMalformed) << "longer than the packet";
  EXPECT_EQ(code_of([&](auto& f) { first(f)->set_length(100000); }), Errc::kMalformed);
  EXPECT_EQ(code_of([](auto& f) { f.mutable_packets()->add_counts()->set_point(static_cast<fp::CapturePoint>(8)); }),
            Errc::kMalformed);
  EXPECT_EQ(code_of([](auto& f) { f.mutable_ended()->add_counts()->set_point(static_cast<fp::CapturePoint>(8)); }),
            Errc::kMalformed);
  EXPECT_EQ(code_of([](auto& f) { f.clear_body(); }), Errc::kMalformed);
}

TEST_F(CaptureStream, BytesThatAreNoFrame) {
  say(std::string("\x00\x00\x00\x02\xff\xff", 6));
  EXPECT_EQ(stream_->wait(1s).error().code, Errc::kMalformed);
}

TEST_F(CaptureStream, AFrameWithoutEnd) {
  say(std::string("\xff\xff\xff\xff", 4));
  EXPECT_EQ(stream_->wait(1s).error().code, Errc::kLimit);
}

TEST(CaptureConnect, SaysWhatIsMissing) {
  EXPECT_EQ(Stream::connect("/nowhere/capture.sock").error().code, Errc::kNotFound);
  EXPECT_EQ(Stream::connect(std::string(200, 'x')).error().field, "socket");
}

}  // namespace
}  // namespace gw::cli::capture
