#include "ike/ha_link.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/fd.hpp"
#include "ike/plugin/ha/ha_wire.h"

namespace gw::ike {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

const IpAddress kOurs = IpAddress::parse("203.0.113.1").value();
const std::string kSendMeAll(1, 2);
const std::string kReleasedOurs = "\3" + kOurs.bytes_string();
const std::string kTakenOurs = "\4" + kOurs.bytes_string();

/// The plugin's end, and what the other instance gets.
class HaLinkTest : public testing::Test {
 protected:
  HaLinkTest() : link_(io_.get_executor(), {.send = [this](std::string f) { sent_.push_back(std::move(f)); }}) {
    EXPECT_TRUE(link_.listen(path_));
  }
  ~HaLinkTest() override {
    link_.stop();
    run();
  }

  /// Everything that can happen now.
  void run() {
    io_.restart();
    io_.run_for(20ms);
  }

  void connect(std::uint32_t version = GW_HA_VERSION) {
    charon_ = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(charon_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    say({.what = GW_HA_CONTROL,
         .kind = GW_HA_HELLO,
         .family = 0,
         .reserved = 0,
         .count = version,
         .microseconds = 0,
         .address = {}});
  }

  void say(const gw_ha_control& control) {
    ASSERT_EQ(::send(charon_.get(), &control, sizeof control, 0), static_cast<ssize_t>(sizeof control));
    run();
  }
  void say_raw(const std::string& bytes) {
    ASSERT_EQ(::send(charon_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    run();
  }

  /// The next message to charon; empty: none.
  std::string heard() {
    std::string bytes(GW_HA_MAX_MESSAGE, '\0');
    const ssize_t n = ::recv(charon_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return bytes;
  }
  std::optional<gw_ha_control> order() {
    const std::string bytes = heard();
    gw_ha_control control;
    if (bytes.size() != sizeof control) return std::nullopt;
    std::memcpy(&control, bytes.data(), sizeof control);
    return control;
  }

  /// charon has its connections. Without a channel it is told that nobody else has its SAs.
  void ready() {
    connect();
    link_.connections_loaded();
    run();
    if (!link_.state().channel) expect_alone();
  }
  /// With a channel, and the other instance has told everything.
  void ready_and_synced() {
    link_.channel_up();
    ready();
    synced(0);
  }
  void synced(std::uint32_t held) {
    say({.what = GW_HA_CONTROL,
         .kind = GW_HA_SYNCED,
         .family = 0,
         .reserved = 0,
         .count = held,
         .microseconds = 0,
         .address = {}});
  }
  void expect_alone() {
    const auto said = order();
    ASSERT_TRUE(said);
    EXPECT_EQ(said->kind, GW_HA_ALONE);
  }

  /// Starts the coroutine; its result is in moved_ when it has ended.
  void start(asio::awaitable<Result<HaLink::Moved>> move) {
    moved_.reset();
    asio::co_spawn(io_, std::move(move), [this](const std::exception_ptr& thrown, Result<HaLink::Moved> result) {
      ASSERT_FALSE(thrown);
      moved_ = std::move(result);
    });
    run();
  }

  std::string path_ =
      (std::filesystem::temp_directory_path() / ("ha_link_test." + std::to_string(::getpid()))).string();
  asio::io_context io_;
  std::vector<std::string> sent_;
  Fd charon_;
  std::optional<Result<HaLink::Moved>> moved_;
  HaLink link_;
};

TEST_F(HaLinkTest, SocketIsForItsOwnerAndTheGroupOfTheServices) {
  EXPECT_EQ(std::filesystem::status(path_).permissions(), static_cast<std::filesystem::perms>(0660));
  HaLink second(io_.get_executor(), {.send = [](std::string) {}});
  EXPECT_EQ(second.listen(path_).error().code, Errc::kAlreadyExists);
  EXPECT_EQ(second.listen(std::string(200, 'x')).error().code, Errc::kInvalidArgument);
}

TEST_F(HaLinkTest, NothingIsAskedBeforeCharonHasItsConnections) {
  link_.channel_up();
  connect();
  EXPECT_TRUE(link_.state().charon);
  EXPECT_TRUE(sent_.empty());
  EXPECT_TRUE(link_.receive(std::string("\1key material")));
  run();
  EXPECT_EQ(heard(), "");  // it would be refused for want of a connection
  EXPECT_EQ(link_.state().not_carried, 1U);
  link_.connections_loaded();
  EXPECT_EQ(sent_, std::vector{kSendMeAll});
  link_.connections_loaded();  // there are more
  EXPECT_EQ(sent_.size(), 2U);
}

TEST_F(HaLinkTest, CharonOfAnotherReleaseIsRefused) {
  connect(GW_HA_VERSION + 1);
  EXPECT_FALSE(link_.state().charon);
  std::string byte(1, '\0');
  EXPECT_EQ(::recv(charon_.get(), byte.data(), 1, MSG_DONTWAIT), 0);  // closed
}

TEST_F(HaLinkTest, WhatNoPluginSaysEndsTheConnection) {
  for (const std::string& nonsense :
       {std::string("\7"), std::string(1, GW_HA_CONTROL), std::string(31, GW_HA_CONTROL)}) {
    connect();
    EXPECT_TRUE(link_.state().charon);
    say_raw(nonsense);
    EXPECT_FALSE(link_.state().charon) << nonsense.size();
  }
}

TEST_F(HaLinkTest, SyncMessagesGoBothWaysUnread) {
  link_.channel_up();
  ready();
  sent_.clear();
  say_raw(std::string(1, GW_HA_SYNC) + "what gw-ha says");
  EXPECT_EQ(sent_, std::vector{std::string("\1what gw-ha says")});
  EXPECT_TRUE(link_.receive(std::string("\1what the other says")));
  run();
  EXPECT_EQ(heard(), std::string(1, GW_HA_SYNC) + "what the other says");
}

TEST_F(HaLinkTest, WithoutAChannelMessagesAreCountedAndGone) {
  ready();
  say_raw(std::string(1, GW_HA_SYNC) + "key");
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(link_.state().not_carried, 1U);
}

TEST_F(HaLinkTest, FramesThatNobodySendsAreRefused) {
  ready();
  for (const std::string& frame :
       {std::string(), std::string(1, '\0'), std::string("\1"), std::string("\2x"), std::string("\3xx"),
        std::string("\5xxxx"), std::string("\1") + std::string(GW_HA_MAX_MESSAGE, 'x')}) {
    const auto status = link_.receive(frame);
    ASSERT_FALSE(status) << frame.size();
    EXPECT_EQ(status.error().code, Errc::kMalformed);
  }
  EXPECT_EQ(link_.state().refused, 7U);
  run();
  EXPECT_EQ(heard(), "");
}

TEST_F(HaLinkTest, OtherInstanceIsToldEverythingWhenItAsksAlsoBeforeCharonIsThere) {
  link_.channel_up();
  EXPECT_TRUE(link_.receive(kSendMeAll));
  ready();
  const auto first = order();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind, GW_HA_SEND_ALL);
  EXPECT_TRUE(link_.receive(kSendMeAll));
  run();
  const auto again = order();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->kind, GW_HA_SEND_ALL);
}

TEST_F(HaLinkTest, TakeIsAnsweredByCharon) {
  ready();
  start(link_.take(kOurs, 5s));
  auto said = order();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->kind, GW_HA_TAKE);
  EXPECT_EQ(said->family, 4);
  EXPECT_EQ(said->address[0], 203);
  EXPECT_FALSE(moved_);
  said->count = 1000;
  said->microseconds = 17'000;
  say(*said);
  ASSERT_TRUE(moved_ && *moved_);
  EXPECT_EQ((*moved_)->ike_sas, 1000U);
  EXPECT_EQ((*moved_)->took, 17ms);
  EXPECT_TRUE(link_.owned().contains(kOurs));
}

TEST_F(HaLinkTest, LastWordOfAReleaseFollowsEverythingThatCharonSaidBefore) {
  link_.channel_up();
  ready();
  start(link_.release(kOurs, 5s));
  const auto said = order();
  ASSERT_TRUE(said);
  sent_.clear();
  say_raw(std::string(1, GW_HA_SYNC) + "message numbers");
  say(*said);
  EXPECT_EQ(sent_, (std::vector{std::string("\1message numbers"), kReleasedOurs}));
  ASSERT_TRUE(moved_ && *moved_);
}

TEST_F(HaLinkTest, WithoutACharonTheLastWordIsSaidAtOnce) {
  link_.channel_up();
  start(link_.release(kOurs, 5s));
  EXPECT_EQ(sent_, std::vector{kReleasedOurs});
  ready();
  start(link_.release(kOurs, 5s));
  sent_.clear();
  charon_.reset();
  run();
  EXPECT_EQ(sent_, std::vector{kReleasedOurs});
}

TEST_F(HaLinkTest, TakeWaitsForTheLastWord) {
  ready_and_synced();
  start(link_.take(kOurs, 5s, 5s));
  EXPECT_FALSE(order());
  EXPECT_TRUE(link_.receive(std::string("\1message numbers")));
  EXPECT_TRUE(link_.receive(kReleasedOurs));
  run();
  EXPECT_EQ(heard(), std::string(1, GW_HA_SYNC) + "message numbers");
  const auto said = order();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->kind, GW_HA_TAKE);
}

TEST_F(HaLinkTest, TakeDoesNotWaitForALastWordThatIsHere) {
  ready_and_synced();
  EXPECT_TRUE(link_.receive(kReleasedOurs));
  start(link_.take(kOurs, 5s, 5s));
  EXPECT_TRUE(order());
  EXPECT_EQ(sent_.back(), kTakenOurs);
}

TEST_F(HaLinkTest, LastWordCountsOnce) {
  ready_and_synced();
  EXPECT_TRUE(link_.receive(kReleasedOurs));
  EXPECT_TRUE(link_.receive(kTakenOurs));  // the other instance has taken it back
  start(link_.take(kOurs, 5s, 5s));
  EXPECT_FALSE(order());
  EXPECT_TRUE(link_.receive(kReleasedOurs));
  run();
  EXPECT_TRUE(order());
  start(link_.release(kOurs, 5s));
  EXPECT_TRUE(order());
  start(link_.take(kOurs, 5s, 5s));
  EXPECT_FALSE(order());
}

TEST_F(HaLinkTest, TakeGoesOnWithoutALastWordThatDoesNotCome) {
  ready_and_synced();
  start(link_.take(kOurs, 5s, 5ms));
  EXPECT_TRUE(order());
  start(link_.release(kOurs, 5s));
  EXPECT_TRUE(order());
  start(link_.take(kOurs, 5s, 5s));
  EXPECT_FALSE(order());
  link_.channel_down();
  run();
  expect_alone();
  EXPECT_TRUE(order());
}

TEST_F(HaLinkTest, TakeThatWaitsEndsWithTheLink) {
  ready_and_synced();
  start(link_.take(kOurs, 5s, 5s));
  link_.stop();
  run();
  ASSERT_TRUE(moved_);
  EXPECT_EQ(moved_->error().code, Errc::kClosed);
}

TEST_F(HaLinkTest, AnswerForAnotherAddressIsNotTaken) {
  ready();
  start(link_.take(kOurs, 5s));
  auto said = order();
  ASSERT_TRUE(said);
  said->address[3] = 2;
  say(*said);
  EXPECT_FALSE(moved_);
}

TEST_F(HaLinkTest, CharonThatDoesNotAnswerIsATimeoutAndItsDeathAnError) {
  ready();
  start(link_.take(kOurs, 5ms));
  ASSERT_TRUE(moved_);
  EXPECT_EQ(moved_->error().code, Errc::kTimeout);
  start(link_.release(kOurs, 5s));
  charon_.reset();
  run();
  ASSERT_TRUE(moved_);
  EXPECT_EQ(moved_->error().code, Errc::kClosed);
  EXPECT_FALSE(link_.state().charon);
}

TEST_F(HaLinkTest, WhatIsOursIsRememberedWhileCharonIsAway) {
  start(link_.take(kOurs, 5s));
  ASSERT_TRUE(moved_);
  EXPECT_EQ(moved_->error().code, Errc::kClosed);
  ready();  // no channel: nobody to wait for
  auto said = order();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->kind, GW_HA_TAKE);
}

TEST_F(HaLinkTest, CharonThatRestartsGetsItsOwnBackBeforeItOwnsThemAgain) {
  link_.channel_up();
  ready();
  start(link_.take(kOurs, 5s));
  charon_.reset();
  run();
  ready();
  EXPECT_EQ(heard(), "");  // the other instance speaks first
  EXPECT_TRUE(link_.receive(std::string("\1an IKE SA of ours")));
  run();
  EXPECT_NE(heard(), "");
  synced(1);
  EXPECT_TRUE(link_.state().synced);
  EXPECT_EQ(link_.state().held, 1U);
  const auto said = order();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->kind, GW_HA_TAKE);
}

TEST_F(HaLinkTest, LostChannelEndsTheWaitForTheOtherInstance) {
  link_.channel_up();
  start(link_.take(kOurs, 5s));
  ready();
  EXPECT_EQ(heard(), "");
  link_.channel_down();
  run();
  expect_alone();
  const auto said = order();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->kind, GW_HA_TAKE);
  EXPECT_FALSE(link_.state().synced);
}

TEST_F(HaLinkTest, ReleasedAddressIsNotClaimedAgain) {
  ready();
  start(link_.take(kOurs, 5s));
  start(link_.release(kOurs, 5s));
  ASSERT_TRUE(order());
  const auto said = order();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->kind, GW_HA_RELEASE);
  charon_.reset();
  run();
  ready();
  EXPECT_EQ(heard(), "");
}

}  // namespace
}  // namespace gw::ike
