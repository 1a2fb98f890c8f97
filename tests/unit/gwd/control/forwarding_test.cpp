// FastpathClient and Forwarding against a server that speaks the real RPC over a real socket: what is sent,
// in which order, what happens when it refuses, dies and comes back.
#include "gwd/control/forwarding.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>

#include "base/frame.hpp"

namespace gw::gwd {
namespace {

namespace asio = boost::asio;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// Acknowledges everything and writes down what came.
class RecordingServer {
 public:
  RecordingServer(asio::io_context& io, std::string path) : io_(io), path_(std::move(path)) { open(); }

  void open() {
    ::unlink(path_.c_str());
    acceptor_.emplace(io_, asio::local::stream_protocol::endpoint(path_));
    asio::co_spawn(io_, accept(), asio::detached);
  }
  void die() {
    acceptor_.reset();
    if (socket_) socket_->close();
    ::unlink(path_.c_str());
  }

  std::vector<std::string> log;  // "hello", "put 7", "add 10.0.0.0/16", "remove ...", "done"
  std::vector<fp::ClientFrame> frames;
  fp::Code answer_routes = fp::OK;
  std::string refuse;  // a route, as `log` has it: whatever batch has it is refused

 private:
  asio::awaitable<void> accept() {
    auto [error, socket] = co_await acceptor_->async_accept(kAwait);
    if (error) co_return;
    socket_ = std::make_shared<asio::local::stream_protocol::socket>(std::move(socket));
    co_await serve(socket_);
  }
  asio::awaitable<void> serve(std::shared_ptr<asio::local::stream_protocol::socket> socket) {
    FrameReader reader;
    std::array<std::uint8_t, 4096> buffer;
    for (;;) {
      const auto [error, bytes] = co_await socket->async_read_some(asio::buffer(buffer), kAwait);
      if (error) co_return;
      reader.feed(std::span(buffer).first(bytes));
      while (const auto frame = reader.next().value_or(std::nullopt)) {
        fp::ClientFrame request;
        if (!request.ParseFromArray(frame->data(), static_cast<int>(frame->size()))) co_return;
        fp::ServerFrame reply;
        auto& response = *reply.mutable_response();
        response.set_id(request.id());
        if (request.has_hello()) response.mutable_hello()->set_crypto_backend("test");
        bool refused = request.has_update_routes() && answer_routes != fp::OK;
        for (const auto& r : request.update_routes().add()) refused = refused || text(r) == refuse;
        if (request.has_put_tunnel() && request.put_tunnel().mtu() > 1690) refused = true;
        if (refused) {
          response.mutable_status()->set_code(answer_routes == fp::OK ? fp::LIMIT : answer_routes);
          response.mutable_status()->set_message("table is full");
          response.mutable_status()->set_field("add[0]");
        }
        note(request);
        std::string out;
        append_frame(out, reply.SerializeAsString());
        co_await asio::async_write(*socket, asio::buffer(out), kAwait);
      }
    }
  }
  static std::string text(const fp::Route& r) {
    return std::format("{}/{}", IpAddress::from_bytes(r.prefix()).value(), r.prefix_length());
  }
  void note(const fp::ClientFrame& request) {
    frames.push_back(request);
    if (request.has_hello()) log.push_back("hello");
    if (request.has_put_tunnel()) log.push_back(std::format("put {}", request.put_tunnel().tunnel_id()));
    if (request.has_del_tunnel()) log.push_back(std::format("del {}", request.del_tunnel().tunnel_id()));
    for (const auto& r : request.update_routes().add()) log.push_back("add " + text(r));
    for (const auto& r : request.update_routes().remove()) log.push_back("remove " + text(r));
    if (request.has_sync_done()) log.push_back("done");
  }

  asio::io_context& io_;
  std::string path_;
  std::optional<asio::local::stream_protocol::acceptor> acceptor_;
  std::shared_ptr<asio::local::stream_protocol::socket> socket_;
};

class ForwardingTest : public ::testing::Test, public FastpathListener {
 protected:
  void on_fastpath_up(const fp::HelloReply&) override {
    ++ups;
    forwarding.resync();
  }
  void on_fastpath_down(const Error&) override { ++downs; }
  void on_fastpath_event(const fp::Event&) override {}

  ~ForwardingTest() override {
    forwarding.stop();
    client.stop();
    server.die();
    io.run_for(std::chrono::milliseconds(200));
    std::filesystem::remove(path);
  }
  void start() {
    forwarding.on_tunnel_ready([this](std::uint32_t id) { ready.push_back(id); });
    client.start();
    forwarding.start();
  }
  // Runs the loop until `done`, at most two seconds.
  template <class Done>
  bool run_until(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (!done() && std::chrono::steady_clock::now() < deadline) io.run_one_for(std::chrono::milliseconds(20));
    return done();
  }
  static fp::PutTunnel tunnel(std::uint32_t id) {
    fp::PutTunnel t;
    t.set_tunnel_id(id);
    t.set_device(std::format("tun{}", id));
    t.set_mtu(1400);
    return t;
  }
  static ForwardingEntry via(std::uint32_t id) { return {.kind = fp::NEXT_HOP_TUNNELS, .tunnel_ids = {id}}; }
  static Prefix pfx(std::string_view t) { return Prefix::parse(t).value(); }

  std::string path = (std::filesystem::temp_directory_path() / std::format("gw-fp-{}.sock", ::getpid())).string();
  asio::io_context io;
  RecordingServer server{io, path};
  FastpathClient client{io, path, *this};
  Forwarding forwarding{io, client};
  int ups = 0;
  int downs = 0;
  std::vector<std::uint32_t> ready;
};

using Log = std::vector<std::string>;

TEST_F(ForwardingTest, TunnelsComeBeforeRoutesAndTheSweepLast) {
  forwarding.set_route(pfx("10.21.0.0/16"), via(7));
  forwarding.set_tunnel(tunnel(7));
  forwarding.set_complete();
  start();
  ASSERT_TRUE(run_until([&] { return server.log.size() == 4; }));
  EXPECT_EQ(server.log, (Log{"hello", "put 7", "add 10.21.0.0/16", "done"}));
  EXPECT_EQ(ready, std::vector<std::uint32_t>{7});
  EXPECT_TRUE(forwarding.has_route(pfx("10.21.0.0/16")));
}

TEST_F(ForwardingTest, NothingIsSweptWhileRoutesAreStillLearned) {
  forwarding.set_tunnel(tunnel(7));
  start();
  ASSERT_TRUE(run_until([&] { return forwarding.in_sync() && ups == 1; }));
  io.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(server.log, (Log{"hello", "put 7"}));
}

TEST_F(ForwardingTest, OnlyDifferencesAreSent) {
  start();
  forwarding.set_tunnel(tunnel(7));
  forwarding.set_route(pfx("10.21.0.0/16"), via(7));
  ASSERT_TRUE(run_until([&] { return forwarding.has_route(pfx("10.21.0.0/16")); }));
  server.log.clear();
  forwarding.set_route(pfx("10.21.0.0/16"), via(7));
  forwarding.set_route(pfx("10.22.0.0/16"), via(7));
  ASSERT_TRUE(run_until([&] { return forwarding.has_route(pfx("10.22.0.0/16")); }));
  forwarding.remove_route(pfx("10.21.0.0/16"));
  ASSERT_TRUE(run_until([&] { return !forwarding.has_route(pfx("10.21.0.0/16")); }));
  EXPECT_EQ(server.log, (Log{"add 10.22.0.0/16", "remove 10.21.0.0/16"}));
}

TEST_F(ForwardingTest, ARestartedFastPathGetsEverythingAgain) {
  start();
  forwarding.set_tunnel(tunnel(7));
  forwarding.set_route(pfx("10.21.0.0/16"), via(7));
  forwarding.set_complete();
  ASSERT_TRUE(run_until([&] { return !server.log.empty() && server.log.back() == "done"; }));
  server.die();
  ASSERT_TRUE(run_until([&] { return downs == 1; }));
  server.log.clear();
  server.open();
  ASSERT_TRUE(run_until([&] { return !server.log.empty() && server.log.back() == "done"; }));
  EXPECT_EQ(server.log, (Log{"hello", "put 7", "add 10.21.0.0/16", "done"}));
}

TEST_F(ForwardingTest, ARefusedRouteIsNotTakenForDoneAndAChangedOneIsTriedAtOnce) {
  server.answer_routes = fp::LIMIT;
  start();
  forwarding.set_route(pfx("10.21.0.0/16"), {.kind = fp::NEXT_HOP_VNET});
  ASSERT_TRUE(run_until([&] { return forwarding.refused_count() == 1; }));
  EXPECT_FALSE(forwarding.has_route(pfx("10.21.0.0/16")));
  server.answer_routes = fp::OK;
  forwarding.set_route(pfx("10.21.0.0/16"), via(7));
  EXPECT_TRUE(run_until([&] { return forwarding.has_route(pfx("10.21.0.0/16")); }));
  EXPECT_EQ(forwarding.refused_count(), 0U);
}

TEST_F(ForwardingTest, WhatIsRefusedHoldsNothingElseUp) {
  server.refuse = "10.0.100.0/24";
  fp::PutTunnel too_big = tunnel(3);
  too_big.set_mtu(9000);
  forwarding.set_tunnel(too_big);
  forwarding.set_tunnel(tunnel(7));
  for (unsigned i = 0; i < 300; ++i)
    forwarding.set_route(Prefix::make(IpAddress::from_v4(0x0a000000 + (i << 8)), 24).value(), via(7));
  forwarding.set_complete();
  start();
  ASSERT_TRUE(run_until([&] { return !server.log.empty() && server.log.back() == "done"; }));
  EXPECT_EQ(ready, std::vector<std::uint32_t>{7});
  EXPECT_EQ(forwarding.refused_count(), 2U);
  EXPECT_FALSE(forwarding.has_route(pfx("10.0.100.0/24")));
  EXPECT_TRUE(forwarding.has_route(pfx("10.0.99.0/24")));
  EXPECT_TRUE(forwarding.has_route(pfx("10.1.43.0/24")));
}

TEST_F(ForwardingTest, RemovalsGoBeforeAdditions) {
  start();
  forwarding.set_route(pfx("10.22.0.0/16"), via(7));
  ASSERT_TRUE(run_until([&] { return forwarding.has_route(pfx("10.22.0.0/16")); }));
  server.log.clear();
  forwarding.set_route(pfx("10.21.0.0/16"), via(7));
  forwarding.remove_route(pfx("10.22.0.0/16"));
  ASSERT_TRUE(run_until([&] { return forwarding.has_route(pfx("10.21.0.0/16")); }));
  EXPECT_EQ(server.log, (Log{"remove 10.22.0.0/16", "add 10.21.0.0/16"}));
}

TEST_F(ForwardingTest, ManyRoutesTravelInBatches) {
  start();
  for (unsigned i = 0; i < 1200; ++i)
    forwarding.set_route(Prefix::make(IpAddress::from_v4(0x0a000000 + (i << 8)), 24).value(),
                         {.kind = fp::NEXT_HOP_VNET});
  ASSERT_TRUE(run_until([&] { return forwarding.has_route(pfx("10.4.175.0/24")); }));
  std::size_t frames = 0;
  for (const auto& frame : server.frames) {
    if (!frame.has_update_routes()) continue;
    ++frames;
    EXPECT_LE(frame.update_routes().add_size(), static_cast<int>(Forwarding::kBatch));
  }
  EXPECT_EQ(frames, 3U);
}

TEST_F(ForwardingTest, ErrorsKeepCodeFieldAndWords) {
  start();
  ASSERT_TRUE(run_until([&] { return ups == 1; }));
  server.answer_routes = fp::LIMIT;
  std::optional<Error> error;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        fp::ClientFrame frame;
        frame.mutable_update_routes();
        const auto reply = co_await client.request(std::move(frame));
        if (!reply) error = reply.error();
      },
      asio::detached);
  ASSERT_TRUE(run_until([&] { return error.has_value(); }));
  EXPECT_EQ(error->code, Errc::kLimit);
  EXPECT_EQ(error->describe(), "add[0]: table is full");
}

}  // namespace
}  // namespace gw::gwd
