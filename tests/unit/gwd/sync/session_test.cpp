// Who may talk to us, whether a session goes on, and that no stream holds another up.
#include <gmock/gmock.h>

#include "base/frame.hpp"
#include "gwd/sync/session.hpp"

namespace gw::gwd::sync {
namespace {

const Party kParty{.gateway = "hub-east",
                   .instance = "gw-a",
                   .number = 0,
                   .incarnation = 11,
                   .release = "1.0",
                   .peer_instance = "gw-b",
                   .peer_number = 1};

wire::Identity peer() {
  return identity_of({.gateway = "hub-east", .instance = "gw-b", .number = 1, .incarnation = 22, .release = "1.1"});
}

wire::Identity peer_with(const std::function<void(wire::Identity&)>& edit) {
  wire::Identity out = peer();
  edit(out);
  return out;
}

struct Stranger {
  wire::Identity identity;
  wire::Reason reason;
  std::string message;
};

class Identity : public testing::TestWithParam<Stranger> {};

TEST_P(Identity, IsRefused) {
  const auto judged = judge_identity(kParty, GetParam().identity);
  ASSERT_FALSE(judged.has_value());
  EXPECT_EQ(judged.error().reason, GetParam().reason);
  EXPECT_EQ(judged.error().message, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, Identity,
    testing::Values(
        Stranger{peer_with([](auto& p) { p.set_gateway("hub-west"); }), wire::REASON_WRONG_GATEWAY,
                 "it is of gateway 'hub-west', this is hub-east"},
        Stranger{peer_with([](auto& p) { p.set_instance("gw-a"); }), wire::REASON_OWN_INSTANCE,
                 "it says that it is gw-a (number 1), as this one is: a cloned machine, or the wrong --instance"},
        Stranger{peer_with([](auto& p) { p.set_number(0); }), wire::REASON_OWN_INSTANCE,
                 "it says that it is gw-b (number 0), as this one is: a cloned machine, or the wrong --instance"},
        Stranger{peer_with([](auto& p) { p.set_instance("gw-c"); }), wire::REASON_WRONG_INSTANCE,
                 "it is 'gw-c' (number 1), expected gw-b (number 1)"},
        Stranger{peer_with([](auto& p) { p.set_number(2); }), wire::REASON_WRONG_INSTANCE,
                 "it is 'gw-b' (number 2), expected gw-b (number 1)"},
        Stranger{{}, wire::REASON_WRONG_GATEWAY, "it is of gateway '', this is hub-east"}));

TEST(IdentityOf, TheOtherInstanceIsWelcome) { EXPECT_TRUE(judge_identity(kParty, peer()).has_value()); }

wire::Hello speaking(std::uint32_t min, std::uint32_t max) {
  wire::Hello out;
  out.set_min_version(min);
  out.set_max_version(max);
  return out;
}

TEST(Version, IsTheHighestInCommon) {
  EXPECT_EQ(choose_version(speaking(1, 1)).value(), 1U);
  EXPECT_EQ(choose_version(speaking(1, 9)).value(), 1U);
  EXPECT_EQ(choose_version(speaking(0, 1)).value(), 1U);
}

TEST(Version, IsRefusedIfThereIsNone) {
  for (const auto& hello : {speaking(2, 9), speaking(0, 0), speaking(5, 1)}) {
    const auto chosen = choose_version(hello);
    ASSERT_FALSE(chosen.has_value());
    EXPECT_EQ(chosen.error().reason, wire::REASON_VERSION);
  }
  EXPECT_EQ(choose_version(speaking(2, 9)).error().message,
            "it speaks versions 2 to 9 of the sync channel, this gwd 1 to 1: upgrade one release at a time");
}

wire::Hello hello_of(std::uint64_t incarnation, std::uint64_t session) {
  wire::Hello out;
  out.mutable_identity()->set_incarnation(incarnation);
  out.set_session(session);
  return out;
}

TEST(Session, GoesOnWithTheSameProcessAndSession) {
  Session session;
  EXPECT_FALSE(session.continues(hello_of(22, 0)));  // there is none
  session.begin(7, peer());
  EXPECT_TRUE(session.continues(hello_of(22, 7)));
  EXPECT_FALSE(session.continues(hello_of(23, 7)));  // gwd was started anew
  EXPECT_TRUE(session.continues(hello_of(22, 0)));   // told on another path, and nothing was exchanged yet
  wire::Data data;
  data.set_sequence(1);
  ASSERT_TRUE(session.in(Kind::kControl).accept(data).has_value());
  EXPECT_FALSE(session.continues(hello_of(22, 0)));
  EXPECT_TRUE(session.continues(hello_of(22, 7)));
  session.end();
  EXPECT_FALSE(session.continues(hello_of(22, 7)));
}

TEST(Session, BeginsWithNothingOfTheOneBefore) {
  Session session;
  session.begin(7, peer());
  ASSERT_TRUE(session.out(Kind::kIke).push("old", MonoTime{}));
  (void)session.collect(1000);
  session.begin(8, peer());
  EXPECT_EQ(session.collect(1000), "");
  std::array<KindCounters, kKinds.size()> counters{};
  session.count(counters, MonoTime{});
  EXPECT_EQ(counters[index_of(Kind::kIke)].sent_messages, 1U);
  EXPECT_EQ(counters[index_of(Kind::kIke)].unacknowledged_bytes, 0U);
}

std::vector<Kind> kinds_in(const std::string& frames) {
  FrameReader reader(kMaxFrame);
  reader.feed(std::span(reinterpret_cast<const std::uint8_t*>(frames.data()), frames.size()));
  std::vector<Kind> out;
  while (const auto frame = reader.next().value()) {
    wire::Frame parsed;
    EXPECT_TRUE(parsed.ParseFromArray(frame->data(), static_cast<int>(frame->size())));
    out.push_back(kind_of(parsed.data().kind()).value());
  }
  return out;
}

TEST(Session, ServesUrgentStreamsFirstAndStarvesNone) {
  Session session;
  session.begin(7, peer());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(session.out(Kind::kRoutes).push(std::string(kMaxChunk, 'r'), MonoTime{}));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(session.out(Kind::kFastpath).push(std::string(kMaxChunk, 'f'), MonoTime{}));
  ASSERT_TRUE(session.out(Kind::kControl).push("c", MonoTime{}));
  EXPECT_THAT(kinds_in(session.collect(2 * kMaxChunk)),
              testing::ElementsAre(Kind::kControl, Kind::kFastpath, Kind::kFastpath, Kind::kRoutes));
}

TEST(Session, IgnoresPositionsOfUnknownKinds) {
  Session session;
  session.begin(7, peer());
  google::protobuf::RepeatedPtrField<wire::Position> positions;
  positions.Add()->set_kind(99);
  positions[0].set_received(5);
  EXPECT_TRUE(session.acknowledge(positions, MonoTime{}).has_value());
}

}  // namespace
}  // namespace gw::gwd::sync
