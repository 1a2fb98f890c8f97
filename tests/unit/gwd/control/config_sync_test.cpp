// One document on two instances, without I/O: both change or neither does, whatever breaks in between.
#include "gwd/control/config_sync.hpp"

#include <gmock/gmock.h>

#include <deque>
#include <memory>
#include <random>

namespace gw::gwd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// An instance with a document and a serial, as ConfigService has them.
struct Side {
  Side(const Clock& clock, ConfigSync::Peer peer) : sync(clock, ports()) { sync.set_peer(std::move(peer)); }

  ConfigSync::Ports ports() {
    return {.send = [this](const ConfigSync::Message& message) { sent.push_back(message); },
            .state =
                [this] {
                  ConfigSync::State out;
                  out.set_serial(serial);
                  out.set_hash(document);
                  return out;
                },
            .check = [this](const ConfigDocument& next) -> ConfigResult<void> {
              ++checks;
              if (next.text != cannot) return {};
              return std::unexpected(ConfigFailure{
                  Error{Errc::kInvalidArgument, "1 error in g.yaml", {}, {}},
                  {{config::Severity::kError, "g.yaml", {3, 4}, "vnet.prefixes", "is missing", "at least one"}}});
            },
            .commit = [this](const ConfigDocument& next, const ApplyOptions& options) -> ConfigResult<ConfigOutcome> {
              if (disk_full) return std::unexpected(ConfigFailure{Error{Errc::kIo, "disk full", {}, {}}, {}});
              document = next.text;
              serial = options.serial.value();
              pending = options.confirm_within.count() > 0;
              origins.push_back(options.origin);
              if (options.committed) options.committed();
              return ConfigOutcome{.revision = static_cast<std::uint32_t>(serial)};
            },
            .running = [this]() -> std::optional<ConfigSync::Ports::Running> {
              if (document.empty()) return std::nullopt;
              return ConfigSync::Ports::Running{{document, "g.yaml"}, "", std::chrono::seconds(pending ? 60 : 0)};
            },
            .confirm = [this]() -> ConfigResult<ConfigOutcome> {
              if (!pending) return std::unexpected(ConfigFailure{Error{Errc::kNotFound, "nothing waits", {}, {}}, {}});
              pending = false;
              return ConfigOutcome{};
            },
            .set_serial = [this](std::uint64_t to) { serial = to; }};
  }
  void propose(const std::string& text, ApplyOptions options = {}) {
    result.reset();
    sync.propose({text, "g.yaml"}, options, [this](ConfigResult<ConfigOutcome> done) { result = std::move(done); });
  }
  std::string refusal() const { return result && !*result ? result->error().error.message : "none"; }

  std::string document = "old";
  std::uint64_t serial = 5;
  bool pending = false;
  bool disk_full = false;
  std::string cannot = "none";
  int checks = 0;
  std::vector<config::Origin> origins;
  std::deque<ConfigSync::Message> sent;
  std::optional<ConfigResult<ConfigOutcome>> result;
  ConfigSync sync;
};

class ConfigSyncTest : public testing::Test {
 protected:
  /// One message, to a if `to_a`.
  static bool deliver(Side& from, Side& to) {
    if (from.sent.empty()) return false;
    const auto message = std::move(from.sent.front());
    from.sent.pop_front();
    to.sync.on_message(message);
    return true;
  }
  void settle() {
    while (deliver(a, b) || deliver(b, a)) {
    }
  }
  void connect() {
    a.sync.on_session();
    b.sync.on_session();
    settle();
  }
  void cut() {
    a.sent.clear();
    b.sent.clear();
    a.sync.on_lost();
    b.sync.on_lost();
  }
  void expect_both(const std::string& document) const {
    EXPECT_EQ(a.document, document);
    EXPECT_EQ(b.document, document);
    EXPECT_EQ(a.serial, b.serial);
    EXPECT_EQ(a.sync.alarm(), "");
    EXPECT_EQ(b.sync.alarm(), "");
  }

  ManualClock clock;
  Side a{clock, {"gw-b", ConfigSync::Rank::kFirst}};
  Side b{clock, {"gw-a", ConfigSync::Rank::kSecond}};
};

TEST_F(ConfigSyncTest, BothRunIt) {
  connect();
  a.propose("new", {.comment = "paris moves"});
  EXPECT_EQ(a.document, "old");  // not before the other has said yes
  settle();
  ASSERT_TRUE(a.result && a.result->has_value());
  expect_both("new");
  EXPECT_THAT(b.origins, ElementsAre(config::Origin::kSync));
  b.propose("newer");
  settle();
  expect_both("newer");
}

TEST_F(ConfigSyncTest, TheOtherRefusesByName) {
  connect();
  b.cannot = "bad there";
  a.propose("bad there");
  settle();
  EXPECT_EQ(a.refusal(), "gw-b cannot run it: 1 error in g.yaml; nothing was applied");
  ASSERT_EQ(a.result->error().findings.size(), 1U);
  EXPECT_EQ(a.result->error().findings[0].describe(),
            "gw-b:g.yaml:3:4: vnet.prefixes: is missing (expected at least one)");
  expect_both("old");
}

TEST_F(ConfigSyncTest, TheOtherIsNotAskedAboutWhatIsWrongHere) {
  connect();
  a.cannot = "bad here";
  const int before = b.checks;
  a.propose("bad here");
  settle();
  EXPECT_EQ(a.refusal(), "1 error in g.yaml");
  EXPECT_EQ(b.checks, before);
  expect_both("old");
}

TEST_F(ConfigSyncTest, WithoutTheOtherOnlyByWord) {
  a.propose("new");
  EXPECT_THAT(a.refusal(), HasSubstr("gw-b does not answer"));
  EXPECT_THAT(a.refusal(), HasSubstr("gwctl apply --alone"));
  EXPECT_EQ(a.document, "old");
  a.propose("new", {.alone = true});
  ASSERT_TRUE(a.result && a.result->has_value());
  EXPECT_EQ(a.document, "new");
  EXPECT_EQ(b.document, "old");
  connect();
  expect_both("new");
}

TEST_F(ConfigSyncTest, OneInstanceAsksNobody) {
  Side alone(clock, {});
  alone.propose("new");
  ASSERT_TRUE(alone.result && alone.result->has_value());
  EXPECT_EQ(alone.document, "new");
  EXPECT_THAT(alone.sent, IsEmpty());
}

TEST_F(ConfigSyncTest, NoAnswerIsATimeout) {
  connect();
  a.propose("new");
  a.sent.clear();  // lost in an instance that hangs
  clock.advance(ConfigSync::kAnswerTime);
  a.sync.tick();
  EXPECT_EQ(a.refusal(), "gw-b did not answer within 10 s; nothing was applied");
  settle();
  expect_both("old");
}

TEST_F(ConfigSyncTest, ALateYesCountsForNothing) {
  connect();
  a.propose("new");
  ASSERT_TRUE(deliver(a, b));
  clock.advance(ConfigSync::kAnswerTime);
  a.sync.tick();
  settle();
  expect_both("old");
  a.propose("next");
  settle();
  expect_both("next");
}

// The connection breaks after any number of messages: when they meet again, both run the same.
TEST_F(ConfigSyncTest, BrokenAtAnyPointBothRunTheSameAfterwards) {
  for (int messages = 0; messages < 8; ++messages) {
    for (const bool second : {false, true}) {
      Side one(clock, {"gw-b", ConfigSync::Rank::kFirst});
      Side other(clock, {"gw-a", ConfigSync::Rank::kSecond});
      const auto pump = [&](int most) {
        for (int i = 0; i < most && (deliver(one, other) || deliver(other, one)); ++i) {
        }
      };
      one.sync.on_session();
      other.sync.on_session();
      pump(100);
      Side& proposer = second ? other : one;
      proposer.propose("new");
      pump(messages);
      one.sent.clear();
      other.sent.clear();
      one.sync.on_lost();
      other.sync.on_lost();
      ASSERT_TRUE(proposer.result.has_value()) << messages;
      // What the operator was told is what happened.
      EXPECT_EQ(proposer.document, proposer.result->has_value() ? "new" : "old");
      one.sync.on_session();
      other.sync.on_session();
      pump(100);
      EXPECT_EQ(one.document, other.document) << messages;
      EXPECT_EQ(one.serial, other.serial) << messages;
      EXPECT_EQ(one.document, proposer.result->has_value() ? "new" : "old") << messages;
    }
  }
}

TEST_F(ConfigSyncTest, WhenBothProposeTheFirstWins) {
  connect();
  a.propose("from a");
  b.propose("from b");
  settle();
  expect_both("from a");
  ASSERT_TRUE(a.result && a.result->has_value());
  EXPECT_EQ(b.refusal(), "gw-a is being given another document at the moment; nothing was applied");
}

TEST_F(ConfigSyncTest, OneAtATime) {
  connect();
  a.propose("new");
  ASSERT_TRUE(deliver(a, b));
  b.propose("other");
  EXPECT_EQ(b.refusal(), "gw-a is being given a document at the moment; try again");
  auto first = std::move(a.result);
  a.propose("other");
  EXPECT_EQ(a.refusal(), "another document is being applied; try again");
}

TEST_F(ConfigSyncTest, TwoDifferentDocumentsAreAnAlarmUntilOneIsApplied) {
  b.document = "other";
  connect();
  EXPECT_EQ(a.document, "old");
  EXPECT_EQ(b.document, "other");
  EXPECT_THAT(a.sync.alarm(), HasSubstr("given different documents while they did not see each other"));
  EXPECT_THAT(b.sync.alarm(), HasSubstr("`gwctl apply` on one of them settles it"));
  b.propose("other");
  settle();
  expect_both("other");
}

TEST_F(ConfigSyncTest, WhatCannotBeTakenOverIsAnAlarm) {
  b.cannot = "new";
  a.propose("new", {.alone = true});
  connect();
  EXPECT_EQ(b.document, "old");
  EXPECT_EQ(b.sync.alarm(), "gw-a runs another document, which this instance cannot take over: 1 error in g.yaml");
  settle();
  a.propose("good");
  settle();
  expect_both("good");
}

TEST_F(ConfigSyncTest, AFullDiskHereIsNoCommitThere) {
  connect();
  a.disk_full = true;
  a.propose("new");
  settle();
  EXPECT_EQ(a.refusal(), "disk full");
  expect_both("old");
}

TEST_F(ConfigSyncTest, AFullDiskThereIsAnAlarm) {
  connect();
  b.disk_full = true;
  a.propose("new");
  settle();
  EXPECT_EQ(a.document, "new");
  EXPECT_EQ(b.sync.alarm(), "gw-a runs a document that this instance agreed to and cannot run: disk full");
  b.disk_full = false;
  a.propose("newer");
  settle();
  expect_both("newer");
}

TEST_F(ConfigSyncTest, AConfirmationTravels) {
  connect();
  a.propose("new", {.confirm_within = std::chrono::seconds(60)});
  settle();
  EXPECT_TRUE(a.pending && b.pending);
  ASSERT_TRUE(a.sync.confirm().has_value());
  settle();
  EXPECT_FALSE(a.pending || b.pending);
}

// The other does not hear of the confirmation, and goes back by itself.
TEST_F(ConfigSyncTest, AConfirmationOutranksTheWayBackOfWhoDidNotHearIt) {
  connect();
  a.propose("new", {.confirm_within = std::chrono::seconds(60)});
  settle();
  cut();
  ASSERT_TRUE(a.sync.confirm().has_value());
  b.document = "old";
  ++b.serial;
  connect();
  expect_both("new");
}

// Cuts and commands in any order: nobody runs what it cannot, and quiet means the same on both.
TEST_F(ConfigSyncTest, RandomOrders) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const auto one_in = [&](unsigned n) { return random() % n == 0; };
    Side one(clock, {"gw-b", ConfigSync::Rank::kFirst});
    Side other(clock, {"gw-a", ConfigSync::Rank::kSecond});
    one.cannot = "bad one";
    other.cannot = "bad other";
    for (int step = 0; step < 60; ++step) {
      Side& side = one_in(2) ? one : other;
      if (one_in(4)) side.propose(one_in(5) ? "bad one" : one_in(5) ? "bad other" : std::to_string(random() % 100));
      if (one_in(6)) {
        one.sent.clear();
        other.sent.clear();
        one.sync.on_lost();
        other.sync.on_lost();
      }
      if (one_in(5)) {
        one.sync.on_session();
        other.sync.on_session();
      }
      for (auto n = random() % 4; n > 0; --n) (void)(one_in(2) ? deliver(one, other) : deliver(other, one));
      ASSERT_NE(one.document, "bad one");
      ASSERT_NE(other.document, "bad other");
      ASSERT_NE(one.document, "bad other") << "seed " << seed;  // the other was asked first
      ASSERT_NE(other.document, "bad one") << "seed " << seed;
    }
    one.sent.clear();
    other.sent.clear();
    one.sync.on_session();
    other.sync.on_session();
    while (deliver(one, other) || deliver(other, one)) {
    }
    if (one.sync.alarm().empty()) {
      EXPECT_EQ(one.document, other.document) << "seed " << seed;
    }
    one.propose("end");
    while (deliver(one, other) || deliver(other, one)) {
    }
    EXPECT_EQ(one.document, "end") << "seed " << seed << ": " << one.refusal();
    EXPECT_EQ(other.document, "end") << "seed " << seed;
    EXPECT_EQ(one.sync.alarm() + other.sync.alarm(), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace gw::gwd
