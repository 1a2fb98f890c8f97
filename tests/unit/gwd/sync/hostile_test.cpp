// Whoever is not the other instance, or does not speak as it should, is refused by name, on both sides; and the
// channel between the two who are goes on.
#include <gmock/gmock.h>

#include <boost/asio/ssl/stream.hpp>
#include <thread>

#include "base/frame.hpp"
#include "tests/unit/gwd/sync/pair.hpp"

namespace gw::gwd::sync {
namespace {

using TlsStream = asio::ssl::stream<Tcp::socket>;

// A caller with a certificate that says what the test wants, in a thread of its own; blocking.
class Stranger {
 public:
  Stranger(const Pair& pair, const Credentials& credentials) : stream_(io_, *credentials.context), ends_{pair.port} {}

  /// "" or what went wrong in TCP or TLS.
  std::string connect() {
    boost::system::error_code error;
    Tcp::socket& socket = stream_.next_layer();
    socket.open(Tcp::v4(), error);
    socket.bind({loopback(Pair::end(0, 2)), 0}, error);
    if (!error) socket.connect({loopback(Pair::end(0, 9)), ends_}, error);
    if (!error) stream_.handshake(TlsStream::client, error);
    return error ? error.message() : "";
  }
  /// False: the connection has ended.
  bool write(std::string_view bytes) {
    boost::system::error_code error;
    asio::write(stream_, asio::buffer(bytes), error);
    return !error;
  }
  bool say(const wire::Frame& frame) {
    std::string bytes;
    append_frame(bytes, frame.SerializeAsString());
    return write(bytes);
  }
  /// The next frame that is no heartbeat or acknowledgement; none when the connection has ended.
  std::optional<wire::Frame> hear() {
    for (;;) {
      const auto frame = frames_.next();
      if (!frame) return std::nullopt;
      if (*frame) {
        wire::Frame out;
        EXPECT_TRUE(out.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size())));
        if (!out.has_heartbeat() && !out.has_ack()) return out;
        continue;
      }
      std::array<std::uint8_t, 4096> buffer;
      boost::system::error_code error;
      const auto bytes = stream_.read_some(asio::buffer(buffer), error);
      if (error) return std::nullopt;
      frames_.feed(std::span(buffer).first(bytes));
    }
  }
  void close() {
    boost::system::error_code ignored;
    stream_.next_layer().close(ignored);
  }

 private:
  asio::io_context io_;
  TlsStream stream_;
  std::uint16_t ends_;
  FrameReader frames_{kMaxFrame};
};

wire::Frame good_hello() {
  wire::Frame out;
  out.mutable_hello()->set_min_version(1);
  out.mutable_hello()->set_max_version(1);
  *out.mutable_hello()->mutable_identity() =
      identity_of({.gateway = "hub-east", .instance = "gw-b", .number = 1, .incarnation = 4711, .release = "x"});
  return out;
}

class Hostile : public testing::Test {
 protected:
  Hostile() : pair_(1) { pair_.b.reset(); }

  Credentials credentials(const std::string& instance = "gw-b") {
    return load_credentials(pair_.tls.path(), {"hub-east", instance}, std::chrono::system_clock::now()).value();
  }
  /// Runs gw-a while the stranger does what it does.
  template <class Act>
  auto against(const Credentials& own, Act act) {
    decltype(act(std::declval<Stranger&>())) result{};
    std::atomic<bool> done = false;
    std::thread thread([&] {
      Stranger stranger(pair_, own);
      result = act(stranger);
      stranger.close();
      done = true;
    });
    EXPECT_TRUE(pair_.until([&] { return done.load(); }));
    pair_.wires[0]->close_all();
    thread.join();
    return result;
  }
  /// What it is told after `frames`, having been welcomed or not.
  std::optional<wire::Frame> answer_to(const std::vector<wire::Frame>& frames) {
    pair_.a->start();
    return against(credentials(), [&](Stranger& stranger) -> std::optional<wire::Frame> {
      EXPECT_EQ(stranger.connect(), "");
      for (const wire::Frame& frame : frames) stranger.say(frame);
      auto heard = stranger.hear();
      while (heard && heard->has_welcome()) heard = stranger.hear();
      return heard;
    });
  }
  void expect_refused(const std::optional<wire::Frame>& answer, wire::Reason reason, const std::string& message) {
    ASSERT_TRUE(answer.has_value());
    ASSERT_TRUE(answer->has_bye());
    EXPECT_EQ(answer->bye().reason(), reason) << answer->bye().message();
    EXPECT_EQ(answer->bye().message(), message);
    EXPECT_GE(pair_.a->stats().refused, 1U);
    ASSERT_FALSE(pair_.at_a.paths.empty());
    EXPECT_TRUE(pair_.at_a.paths[0].refused);
    EXPECT_EQ(pair_.at_a.paths[0].problem, message);
    // The real one is welcome as before.
    pair_.b = pair_.make("gw-b");
    pair_.b->start();
    EXPECT_TRUE(pair_.connected());
  }

  Pair pair_;
};

// --- certificates --------------------------------------------------------------------------------

TEST_F(Hostile, ACertificateOfAnotherAuthority) {
  const TlsDir other;
  std::filesystem::copy_file(other.path() + "/gw-b.crt", pair_.tls.path() + "/gw-b.crt",
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(other.path() + "/gw-b.key", pair_.tls.path() + "/gw-b.key",
                             std::filesystem::copy_options::overwrite_existing);
  const Credentials own =
      load_credentials(other.path(), {"hub-east", "gw-b"}, std::chrono::system_clock::now()).value();
  SSL_CTX_set_verify(own.context->native_handle(), SSL_VERIFY_NONE, nullptr);
  pair_.a->start();
  const auto heard = against(own, [](Stranger& stranger) -> std::optional<wire::Frame> {
    (void)stranger.connect();
    stranger.say(good_hello());
    return stranger.hear();
  });
  EXPECT_FALSE(heard.has_value());
  ASSERT_FALSE(pair_.at_a.paths.empty());
  EXPECT_EQ(pair_.at_a.paths[0].problem, "its certificate is by another authority than ours (ca.crt)");
  EXPECT_TRUE(pair_.at_a.paths[0].refused);
  EXPECT_EQ(pair_.at_a.resets, 0);
}

TEST_F(Hostile, TheRefusedOneKnowsWhyToo) {
  const TlsDir other;
  LinkSettings settings = pair_.settings("gw-b");
  settings.tls_dir = other.path();
  pair_.b = std::make_unique<Link>(pair_.io, pair_.clock, settings, pair_.at_b);
  pair_.start();
  ASSERT_TRUE(pair_.until([&] { return !pair_.at_b.paths.empty() && pair_.at_b.paths[0].refused; }));
  EXPECT_EQ(pair_.at_b.paths[0].problem, "its certificate is by another authority than ours (ca.crt)");
  ASSERT_TRUE(pair_.until([&] { return !pair_.at_a.paths.empty() && pair_.at_a.paths[0].refused; }));
  EXPECT_EQ(pair_.at_a.paths[0].problem, "it does not trust our certificate: its ca.crt is another one");
}

TEST_F(Hostile, NoCertificate) {
  Credentials own{std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client), {}};
  pair_.a->start();
  const auto heard = against(own, [](Stranger& stranger) -> std::optional<wire::Frame> {
    (void)stranger.connect();
    stranger.say(good_hello());
    return stranger.hear();
  });
  EXPECT_FALSE(heard.has_value());
  ASSERT_FALSE(pair_.at_a.paths.empty());
  EXPECT_EQ(pair_.at_a.paths[0].problem, "one side showed no certificate");
}

TEST_F(Hostile, OlderTls) {
  Credentials own = credentials();
  SSL_CTX_set_min_proto_version(own.context->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(own.context->native_handle(), TLS1_2_VERSION);
  pair_.a->start();
  const auto failed = against(own, [](Stranger& stranger) { return stranger.connect(); });
  EXPECT_THAT(failed, testing::HasSubstr("protocol version"));
  ASSERT_FALSE(pair_.at_a.paths.empty());
  EXPECT_EQ(pair_.at_a.paths[0].problem, "no TLS 1.3 on the other side");
}

TEST_F(Hostile, AnotherInstancesCertificate) {
  pair_.tls.issue("gw-c", "gw-c");
  pair_.a->start();
  const auto heard = against(credentials("gw-c"), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    stranger.say(good_hello());
    return stranger.hear();
  });
  expect_refused(heard, wire::REASON_WRONG_INSTANCE,
                 "it has the certificate of gw://hub-east/gw-c, expected that of gw://hub-east/gw-b");
}

TEST_F(Hostile, OurOwnCertificate) {
  pair_.a->start();
  const auto heard = against(credentials("gw-a"), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    return stranger.hear();
  });
  expect_refused(
      heard, wire::REASON_OWN_INSTANCE,
      "it has the certificate of gw://hub-east/gw-a, as this one: a cloned machine, or the wrong --instance");
}

// --- the first frame -------------------------------------------------------------------------------

TEST_F(Hostile, AnotherGateway) {
  auto hello = good_hello();
  hello.mutable_hello()->mutable_identity()->set_gateway("hub-west");
  expect_refused(answer_to({hello}), wire::REASON_WRONG_GATEWAY, "it is of gateway 'hub-west', this is hub-east");
}

TEST_F(Hostile, OurOwnNumber) {
  auto hello = good_hello();
  hello.mutable_hello()->mutable_identity()->set_number(0);
  expect_refused(answer_to({hello}), wire::REASON_OWN_INSTANCE,
                 "it says that it is gw-b (number 0), as this one is: a cloned machine, or the wrong --instance");
}

TEST_F(Hostile, ANewerVersionOnly) {
  auto hello = good_hello();
  hello.mutable_hello()->set_min_version(2);
  hello.mutable_hello()->set_max_version(3);
  expect_refused(answer_to({hello}), wire::REASON_VERSION,
                 "it speaks versions 2 to 3 of the sync channel, this gwd 1 to 1: upgrade one release at a time");
}

TEST_F(Hostile, NoHello) {
  wire::Frame frame;
  frame.mutable_heartbeat()->set_sequence(1);
  expect_refused(answer_to({frame}), wire::REASON_MALFORMED, "it did not begin with Hello");
}

// --- frames ----------------------------------------------------------------------------------------

wire::Frame data_frame(std::uint64_t sequence) {
  wire::Frame out;
  out.mutable_data()->set_kind(static_cast<std::uint32_t>(Kind::kControl));
  out.mutable_data()->set_sequence(sequence);
  out.mutable_data()->set_payload("x");
  return out;
}

TEST_F(Hostile, Reordered) {
  expect_refused(answer_to({good_hello(), data_frame(1), data_frame(3)}), wire::REASON_REORDERED,
                 "control 3 follows 1");
  EXPECT_EQ(pair_.at_a.resets, 2);  // the real one's session is another
}

TEST_F(Hostile, MoreThanAllowed) {
  pair_.at_a.full = true;
  std::vector<wire::Frame> frames{good_hello()};
  for (std::uint64_t i = 1; i <= kWindow + 1; ++i) frames.push_back(data_frame(i));
  expect_refused(answer_to(frames), wire::REASON_CREDIT,
                 std::format("control {} was sent, allowed was {}", kWindow + 1, kWindow));
}

TEST_F(Hostile, AnotherHello) {
  expect_refused(answer_to({good_hello(), good_hello()}), wire::REASON_MALFORMED, "it introduced itself a second time");
}

TEST_F(Hostile, AFalseAcknowledgement) {
  wire::Frame ack;
  wire::Position& position = *ack.mutable_ack()->add_positions();
  position.set_kind(static_cast<std::uint32_t>(Kind::kControl));
  position.set_received(5);
  expect_refused(answer_to({good_hello(), ack}), wire::REASON_MALFORMED, "acknowledges control 5, sent were 0");
}

TEST_F(Hostile, Oversized) {
  pair_.a->start();
  const auto heard = against(credentials(), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    stranger.write(std::string("\xff\xff\xff\xff", 4));
    return stranger.hear();
  });
  expect_refused(heard, wire::REASON_OVERSIZED, "frame of 4294967295 bytes, the limit is 65536");
}

TEST_F(Hostile, NoProtobuf) {
  pair_.a->start();
  const auto heard = against(credentials(), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    stranger.write(std::string("\0\0\0\3\xff\xff\xff", 7));
    return stranger.hear();
  });
  expect_refused(heard, wire::REASON_MALFORMED, "a frame of 3 bytes does not parse");
}

TEST_F(Hostile, Truncated) {
  pair_.a->start();
  const int done = against(credentials(), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    stranger.say(good_hello());
    EXPECT_TRUE(stranger.hear().has_value());
    stranger.write(std::string("\0\0\1\0abc", 7));
    return 1;
  });
  EXPECT_EQ(done, 1);
  ASSERT_TRUE(pair_.until([&] { return !pair_.at_a.paths.empty() && !pair_.at_a.paths[0].connected; }));
  EXPECT_EQ(pair_.at_a.paths[0].problem, "it ended in the middle of a frame");
  EXPECT_FALSE(pair_.at_a.paths[0].refused);
}

// What a newer release may say to an older one.
TEST_F(Hostile, UnknownFramesAndKindsAreIgnored) {
  pair_.a->start();
  const auto heard = against(credentials(), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    auto hello = good_hello();
    hello.mutable_hello()->set_max_version(7);
    hello.mutable_hello()->mutable_identity()->add_kinds(99);
    stranger.say(hello);
    auto welcome = stranger.hear();
    stranger.write(std::string("\0\0\0\3\xa2\x06\0", 7));  // field 100
    auto data = data_frame(1);
    data.mutable_data()->set_kind(99);
    stranger.say(data);
    stranger.say(data_frame(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return welcome;
  });
  ASSERT_TRUE(heard.has_value() && heard->has_welcome());
  EXPECT_EQ(heard->welcome().version(), 1U);
  EXPECT_THAT(pair_.at_a.messages[Kind::kControl], testing::ElementsAre("x"));
}

// Heartbeats are not kept without end for one that is alive, and reads none of them.
TEST_F(Hostile, OneThatSpeaksAndDoesNotRead) {
  pair_.a->start();
  pair_.a->say(std::string(60'000, 's'));
  const int said = against(credentials(), [](Stranger& stranger) {
    EXPECT_EQ(stranger.connect(), "");
    stranger.say(good_hello());
    EXPECT_TRUE(stranger.hear().has_value());
    wire::Frame heartbeat;
    int all = 0;
    for (heartbeat.mutable_heartbeat()->set_sequence(1); stranger.say(heartbeat); ++all)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return all;
  });
  EXPECT_GT(said, 0);
  ASSERT_FALSE(pair_.at_a.paths.empty());
  EXPECT_THAT(pair_.at_a.paths[0].problem, testing::StartsWith("it speaks and does not read: "));
  pair_.b = pair_.make("gw-b");
  pair_.b->start();
  EXPECT_TRUE(pair_.connected());
}

// A stranger who says nothing is not waited for, and does not keep others out.
TEST_F(Hostile, SilentOnesAreDropped) {
  pair_.b = pair_.make("gw-b");
  pair_.a->start();
  std::vector<Tcp::socket> silent;
  for (int i = 0; i < 20; ++i) {
    silent.emplace_back(pair_.io);
    silent.back().open(Tcp::v4());
    silent.back().bind({loopback(Pair::end(0, 2)), 0});
    silent.back().connect({loopback(Pair::end(0, 9)), pair_.port});
  }
  pair_.b->start();
  EXPECT_TRUE(pair_.connected());
}

}  // namespace
}  // namespace gw::gwd::sync
