// The channel as gwd's main loop has it: two of them with their threads, joined by real sockets.
#include <gmock/gmock.h>

#include <boost/asio/local/stream_protocol.hpp>

#include "gw/fastpath/v1/fastpath.pb.h"
#include "gwd/sync/channel.hpp"
#include "tests/unit/gwd/sync/pair.hpp"

namespace gw::gwd::sync {
namespace {

using std::chrono::milliseconds;
namespace fp = ::gw::fastpath::v1;

struct Listener final : ChannelListener {
  void on_sync_reset(const PeerInfo&) override { ++resets; }
  void on_sync_message(Kind kind, std::string payload) override { messages[kind].push_back(std::move(payload)); }
  void on_sync_heartbeat(const PeerHeartbeat& heartbeat) override { last = heartbeat; }
  void on_sync_paths(const std::vector<PathState>& states) override { paths = states; }
  bool up() const { return resets > 0 && !paths.empty() && paths[0].connected; }

  std::map<Kind, std::vector<std::string>> messages;
  std::vector<PathState> paths;
  PeerHeartbeat last;
  int resets = 0;
};

IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }

// gw-fastpath's end of ROLE_SYNC.
class FakeFastpath {
 public:
  using Local = asio::local::stream_protocol;
  FakeFastpath(asio::io_context& io, std::string path) : io_(io), path_(std::move(path)), acceptor_(io), socket_(io) {
    ::unlink(path_.c_str());
    acceptor_.open();
    acceptor_.bind(Local::endpoint(path_));
    acceptor_.listen();
    asio::co_spawn(io_, run(), kEndOnException);
  }
  void say(const std::string& sa) {
    fp::ServerFrame frame;
    frame.mutable_event()->mutable_peer_sync()->set_sa(sa);
    write(frame);
  }
  void hang_up() { socket_.close(); }

  std::vector<std::string> heard;  // since the last reset
  std::vector<bool> resets;
  std::optional<fp::Hello> hello;

 private:
  void write(const fp::ServerFrame& frame) {
    std::string bytes;
    append_frame(bytes, frame.SerializeAsString());
    asio::write(socket_, asio::buffer(bytes));
  }
  asio::awaitable<void> run() {
    constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
    for (;;) {
      const auto [error] = co_await acceptor_.async_accept(socket_, kAwait);
      if (error) co_return;
      FrameReader frames(kMaxAnswerBytes);
      std::array<std::uint8_t, 4096> buffer;
      for (;;) {
        const auto [failed, bytes] = co_await socket_.async_read_some(asio::buffer(buffer), kAwait);
        if (failed) break;
        frames.feed(std::span(buffer).first(bytes));
        while (const auto frame = frames.next().value()) take(*frame);
      }
      if (socket_.is_open()) socket_.close();
    }
  }
  void take(std::string_view bytes) {
    fp::ClientFrame frame;
    ASSERT_TRUE(frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    if (frame.has_hello()) hello = frame.hello();
    if (frame.has_peer_sync()) heard.push_back(frame.peer_sync().sa());
    if (frame.has_peer_sync_reset()) {
      resets.push_back(frame.peer_sync_reset().connected());
      heard.clear();
    }
    fp::ServerFrame reply;
    reply.mutable_response()->set_id(frame.id());
    write(reply);
  }

  asio::io_context& io_;
  std::string path_;
  Local::acceptor acceptor_;
  Local::socket socket_;
};

class ChannelTest : public testing::Test {
 protected:
  ChannelTest() {
    Tcp::acceptor probe(main_, Tcp::endpoint(loopback("127.77.0.1"), 0));
    port_ = probe.local_endpoint().port();
  }
  ~ChannelTest() override {
    a_.reset();
    b_.reset();
    main_.poll();
  }

  ChannelSettings settings(config::InstanceNumber self) {
    ChannelSettings out;
    out.gateway = "hub-east";
    out.release = "test";
    out.ha.self = self;
    out.ha.instances = {{.name = "gw-a", .sync = {address("127.77.8.1")}},
                        {.name = "gw-b", .sync = {address("127.77.8.2")}}};
    out.ha.heartbeat = milliseconds(20);
    out.ha.multiplier = 3;
    out.ha.port = port_;
    out.ha.tls_dir = tls_.path();
    return out;
  }
  void start(const std::string& a_fastpath = {}, const std::string& b_fastpath = {}) {
    auto a = settings(0);
    a.fastpath_socket = a_fastpath;
    auto b = settings(1);
    b.fastpath_socket = b_fastpath;
    a_ = std::make_unique<Channel>(main_, a, at_a_);
    b_ = std::make_unique<Channel>(main_, b, at_b_);
  }
  bool until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      main_.restart();
      main_.run_for(milliseconds(2));
    }
    return true;
  }

  FakeFastpath& fake(const std::string& name) {
    return *fakes_.emplace_back(std::make_unique<FakeFastpath>(main_, tls_.path() + "/" + name));
  }

  TlsDir tls_;
  asio::io_context main_{1};
  std::vector<std::unique_ptr<FakeFastpath>> fakes_;
  std::uint16_t port_ = 0;
  Listener at_a_;
  Listener at_b_;
  std::unique_ptr<Channel> a_;
  std::unique_ptr<Channel> b_;
};

TEST_F(ChannelTest, CarriesBothWaysInOrder) {
  start();
  ASSERT_TRUE(until([&] { return at_a_.up() && at_b_.up(); }));
  std::vector<std::string> said;
  for (int i = 0; i < 3000; ++i) {
    said.push_back(std::to_string(i));
    a_->send(Kind::kSessions, said.back());
    b_->send(Kind::kAlarms, said.back());
  }
  ASSERT_TRUE(until(
      [&] { return at_b_.messages[Kind::kSessions].size() == 3000 && at_a_.messages[Kind::kAlarms].size() == 3000; }));
  EXPECT_EQ(at_b_.messages[Kind::kSessions], said);
  EXPECT_EQ(at_a_.messages[Kind::kAlarms], said);
  a_->say("I am well");
  ASSERT_TRUE(until([&] { return at_b_.last.status == "I am well"; }));
  const auto index = index_of(Kind::kSessions);
  ASSERT_TRUE(until(
      [&] { return a_->stats().kinds[index].sent_messages == 3000 && a_->stats().kinds[index].lag.count() == 0; }));
  EXPECT_TRUE(a_->stats().connected);
  EXPECT_EQ(a_->stats().sessions, 1U);
  EXPECT_TRUE(a_->stats().certificate_ends.has_value());
}

TEST_F(ChannelTest, WhatWasSaidBeforeAResetIsNotDeliveredAfterIt) {
  start();
  ASSERT_TRUE(until([&] { return at_a_.up() && at_b_.up(); }));
  b_.reset();
  for (int i = 0; i < 100; ++i) a_->send(Kind::kControl, "old");
  Listener fresh;
  b_ = std::make_unique<Channel>(main_, settings(1), fresh);
  ASSERT_TRUE(until([&] { return at_a_.resets == 2 && fresh.resets == 1; }));
  a_->send(Kind::kControl, "new");
  ASSERT_TRUE(until([&] { return !fresh.messages[Kind::kControl].empty(); }));
  EXPECT_THAT(fresh.messages[Kind::kControl], testing::ElementsAre("new"));
}

TEST_F(ChannelTest, ResetsWhenAsked) {
  start();
  ASSERT_TRUE(until([&] { return at_a_.up() && at_b_.up(); }));
  a_->reset();
  ASSERT_TRUE(until([&] { return at_a_.resets == 2 && at_b_.resets == 2; }));
}

// More than the queue to the sync thread holds: everything is said again instead of some of it being lost.
TEST_F(ChannelTest, AFullQueueIsAReset) {
  start();
  ASSERT_TRUE(until([&] { return at_a_.up() && at_b_.up(); }));
  for (int i = 0; i < 200'000 && at_a_.resets == 1; ++i) a_->send(Kind::kRoutes, std::string(300, 'x'));
  ASSERT_TRUE(until([&] { return at_a_.resets >= 2 && at_b_.resets >= 2; }));
  // What is said while one more reset is on its way goes with it: whoever is told of a reset says everything again.
  int said_after = 0;
  ASSERT_TRUE(until([&] {
    if (std::exchange(said_after, at_a_.resets) != at_a_.resets) a_->send(Kind::kControl, "on");
    return !at_b_.messages[Kind::kControl].empty();
  }));
}

bool connected(const FakeFastpath& fastpath) { return !fastpath.resets.empty() && fastpath.resets.back(); }

TEST_F(ChannelTest, CarriesWhatTwoFastpathsSay) {
  FakeFastpath& one = fake("a.sock");
  FakeFastpath& other = fake("b.sock");
  start(tls_.path() + "/a.sock", tls_.path() + "/b.sock");
  ASSERT_TRUE(until([&] { return connected(one) && connected(other); }));
  EXPECT_EQ(one.hello->role(), fp::ROLE_SYNC);
  for (int i = 0; i < 200; ++i) one.say(std::to_string(i));
  other.say("back");
  ASSERT_TRUE(until([&] { return other.heard.size() == 200 && one.heard.size() == 1; }));
  EXPECT_EQ(other.heard.front(), "0");
  EXPECT_EQ(other.heard.back(), "199");
  // It is gwd's main loop that never sees them.
  EXPECT_TRUE(at_b_.messages.empty());

  const auto resets = one.resets.size();
  other.hang_up();
  ASSERT_TRUE(until([&] { return one.resets.size() > resets + 1 && connected(one) && connected(other); }));
  EXPECT_FALSE(one.resets[resets]);  // told that the other is gone
  one.say("after");
  ASSERT_TRUE(until([&] { return !other.heard.empty(); }));
  EXPECT_THAT(other.heard, testing::ElementsAre("after"));
}

}  // namespace
}  // namespace gw::gwd::sync
