// A capture's thread between rings and a client, without workers: the test is both.
#include "ebpf/capture/session.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <deque>
#include <future>
#include <thread>

#include "base/frame.hpp"

namespace gw::capture {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine

class SessionTest : public testing::Test {
 protected:
  void begin(std::chrono::seconds time, std::size_t lanes = 1, const std::function<void(Session&)>& before = {}) {
    std::array<int, 2> pair{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    client_.reset(pair[0]);
    Session::Lanes all;
    for (std::uint32_t worker = 0; worker < lanes; ++worker) {
      all.emplace_back(worker, Lane::make({.points = 7, .snap_bytes = 2000}, 1 << 20).value());
      taps_.emplace_back().attach(*all.back().second);
    }
    session_ = std::make_unique<Session>(Session::Parts{.socket = Fd(pair[1]),
                                                        .lanes = std::move(all),
                                                        .time = time,
                                                        .clock = clock_,
                                                        .started = {},
                                                        .wants_detach = [this] { wants_detach_.set_value(); },
                                                        .over = [this] { over_.set_value(); }});
    if (before) before(*session_);
    session_->start();
  }
  void put(std::size_t worker, std::int64_t ns, std::size_t bytes = 100) {
    taps_[worker].put({.point = Point::kInner, .unix_ns = ns}, {}, std::vector<std::uint8_t>(bytes));
  }
  /// As the control thread does it.
  void detach() {
    ASSERT_EQ(wants_detach_.get_future().wait_for(kPatience), std::future_status::ready);
    for (Tap& tap : taps_) tap.detach();
    session_->detached();
  }
  void expect_over() { EXPECT_EQ(over_.get_future().wait_for(kPatience), std::future_status::ready); }
  /// None: the stream has ended.
  std::optional<fp::CaptureFrame> next() {
    for (;;) {
      const auto payload = reader_.next();
      if (!payload) return std::nullopt;
      if (*payload) {
        fp::CaptureFrame frame;
        EXPECT_TRUE(frame.ParseFromArray((*payload)->data(), static_cast<int>((*payload)->size())));
        return frame;
      }
      pollfd p{.fd = client_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&p, 1, 20000) != 1) return std::nullopt;
      std::array<std::uint8_t, 65536> buffer;
      const ssize_t n = ::recv(client_.get(), buffer.data(), buffer.size(), 0);
      if (n <= 0) return std::nullopt;
      reader_.feed(std::span(buffer).first(static_cast<std::size_t>(n)));
    }
  }
  /// Packets until the end; what it says then.
  std::optional<fp::CaptureEnded> read_all(std::vector<fp::CapturedPacket>& packets) {
    while (const auto frame = next()) {
      if (frame->has_ended()) return frame->ended();
      for (const auto& packet : frame->packets().packets()) packets.push_back(packet);
    }
    return std::nullopt;
  }

  SystemClock clock_;
  Fd client_;
  FrameReader reader_;
  std::deque<Tap> taps_;
  std::promise<void> wants_detach_;
  std::promise<void> over_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionTest, PacketsOfAllWorkersByTime) {
  begin(60s, 2);
  ASSERT_TRUE(next()->has_started());
  // All are there before the first is read: the thread may have looked in between otherwise.
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_EQ(wants_detach_.get_future().wait_for(kPatience), std::future_status::ready);
  for (int i = 0; i < 100; ++i) put(static_cast<std::size_t>(i % 2), 1000 + i);
  for (Tap& tap : taps_) tap.detach();
  session_->detached();
  std::vector<fp::CapturedPacket> packets;
  const auto ended = read_all(packets);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->why(), fp::CAPTURE_END_ASKED);
  ASSERT_EQ(packets.size(), 100U);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    EXPECT_EQ(packets[i].time_unix_ns(), 1000 + i);
    EXPECT_EQ(packets[i].worker(), i % 2);
    EXPECT_EQ(packets[i].data().size(), 100U);
  }
  EXPECT_EQ(ended->counts(0).taken(), 100U);
  EXPECT_EQ(ended->counts(0).lost(), 0U);
  expect_over();
}

TEST_F(SessionTest, KeysAreSentBeforePacketsAndBeforeTheEnd) {
  begin(60s, 1, [](Session& session) {
    fp::CaptureFrame keys;
    keys.mutable_keys()->add_sas()->set_key("first");
    session.add_keys(keys);
    keys.mutable_keys()->mutable_sas(0)->set_key("second");
    session.add_keys(keys);
  });
  put(0, 1);
  ASSERT_TRUE(next()->has_started());
  EXPECT_EQ(next()->keys().sas(0).key(), "first");
  EXPECT_EQ(next()->keys().sas(0).key(), "second");
  EXPECT_TRUE(next()->has_packets());
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_EQ(wants_detach_.get_future().wait_for(kPatience), std::future_status::ready);
  fp::CaptureFrame keys;
  keys.mutable_keys()->add_sas()->set_key("last");
  session_->add_keys(keys);
  taps_[0].detach();
  session_->detached();
  EXPECT_EQ(next()->keys().sas(0).key(), "last");
  EXPECT_TRUE(next()->has_ended());
  expect_over();
}

TEST_F(SessionTest, EndsWhenTimeIsUp) {
  begin(1s);
  put(0, 5);
  detach();
  std::vector<fp::CapturedPacket> packets;
  const auto ended = read_all(packets);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->why(), fp::CAPTURE_END_TIME);
  EXPECT_EQ(packets.size(), 1U);
  EXPECT_FALSE(next()) << "the connection is closed";
  expect_over();
}

TEST_F(SessionTest, AClientThatDiesEndsIt) {
  begin(3600s);
  client_.reset();
  detach();
  expect_over();
}

// 20 MB into a ring of 1 MB and a socket of about as much: what a worker puts never waits, and the rest is counted.
TEST_F(SessionTest, AClientThatStallsLosesPacketsAndIsToldHowMany) {
  begin(3600s);
  constexpr int kPackets = 10000;
  for (int i = 0; i < kPackets; ++i) put(0, i, 2000);
  EXPECT_GT(session_->lanes()[0].second->counts[0].lost.load(), 0U);
  ::shutdown(client_.get(), SHUT_WR);
  std::thread control([this] { detach(); });
  std::vector<fp::CapturedPacket> packets;
  const auto ended = read_all(packets);
  control.join();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->counts(0).taken(), packets.size());
  EXPECT_EQ(ended->counts(0).taken() + ended->counts(0).lost(), static_cast<std::uint64_t>(kPackets));
}

TEST_F(SessionTest, StopDoesNotWaitForAClientThatReadsNothing) {
  begin(3600s);
  for (int i = 0; i < 5000; ++i) put(0, i, 2000);
  const auto before = std::chrono::steady_clock::now();
  for (Tap& tap : taps_) tap.detach();
  session_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
}

}  // namespace
}  // namespace gw::capture
