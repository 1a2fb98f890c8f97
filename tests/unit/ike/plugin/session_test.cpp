// kernel-gw's session: what is sent when, and what answers and events lead to. The test plays gw-fastpath.
#include "ike/plugin/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>
#include <string>
#include <vector>

#include "make_sa.hpp"

namespace gw::kernel_gw_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Words = std::vector<std::string>;

std::string last_log;

class Session : public testing::Test {
 protected:
  Session() {
    const gw_session_env env = {.now_ms = [] { return std::uint64_t{1'000'000}; },
                                .log = [](gw_log_level, const char* text) { last_log = text; },
                                .hello = {.name = "charon", .epoch = 99}};
    session_ = gw_session_create(&env);
    last_log.clear();
  }
  ~Session() override { gw_session_destroy(session_); }

  // Takes what is to be sent: "hello", "add 1000 fresh", "activate 1000", ...
  Words sent() {
    Words words;
    while (gw_frame* frame = gw_session_to_send(session_)) {
      Gw__Fastpath__V1__ClientFrame* request =
          gw__fastpath__v1__client_frame__unpack(nullptr, frame->len - 4, frame->bytes + 4);
      words.push_back(word(*request));
      ids_.push_back(request->id);
      gw__fastpath__v1__client_frame__free_unpacked(request, nullptr);
      gw_session_sent(session_);
    }
    return words;
  }
  static std::string word(const Gw__Fastpath__V1__ClientFrame& r) {
    switch (r.body_case) {
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_HELLO: return "hello";
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_ADD_SA:
        return std::format("add {:x} {}", r.add_sa->id->spi, r.add_sa->fresh ? "fresh" : "again");
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_UPDATE_SA: return std::format("update {:x}", r.update_sa->id->spi);
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_DEL_SA: return std::format("del {:x}", r.del_sa->id->spi);
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_RESERVE_SPI: return std::format("reserve {:x}", r.reserve_spi->id->spi);
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_ACTIVATE_OUTBOUND:
        return std::format("activate {:x}", r.activate_outbound->id->spi);
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_QUERY_SA: return std::format("query {:x}", r.query_sa->id->spi);
      case GW__FASTPATH__V1__CLIENT_FRAME__BODY_SYNC_DONE: return "sync done";
      default: return "?";
    }
  }

  // Answers the oldest request that was sent.
  bool answer(Gw__Fastpath__V1__Code code = GW__FASTPATH__V1__CODE__OK) {
    Gw__Fastpath__V1__Response response = GW__FASTPATH__V1__RESPONSE__INIT;
    return respond(response, code);
  }
  bool answer_hello(std::uint64_t epoch) {
    Gw__Fastpath__V1__Response response = GW__FASTPATH__V1__RESPONSE__INIT;
    Gw__Fastpath__V1__HelloReply hello = GW__FASTPATH__V1__HELLO_REPLY__INIT;
    hello.epoch = epoch;
    response.body_case = GW__FASTPATH__V1__RESPONSE__BODY_HELLO;
    response.hello = &hello;
    return respond(response, GW__FASTPATH__V1__CODE__OK);
  }
  bool respond(Gw__Fastpath__V1__Response& response, Gw__Fastpath__V1__Code code) {
    Gw__Fastpath__V1__Status status = GW__FASTPATH__V1__STATUS__INIT;
    char why[] = "because";
    status.code = code;
    if (code != GW__FASTPATH__V1__CODE__OK) status.message = why;
    response.id = ids_.empty() ? 0 : ids_.front();
    if (!ids_.empty()) ids_.erase(ids_.begin());
    response.status = &status;
    Gw__Fastpath__V1__ServerFrame frame = GW__FASTPATH__V1__SERVER_FRAME__INIT;
    frame.body_case = GW__FASTPATH__V1__SERVER_FRAME__BODY_RESPONSE;
    frame.response = &response;
    return gw_session_receive(session_, &frame);
  }

  void lost() {
    gw_session_lost(session_);
    ids_.clear();
  }
  // Connected, greeted, nothing to replay.
  void ready(std::uint64_t epoch = 1) {
    gw_session_connected(session_);
    sent();
    answer_hello(epoch);
    sent();
    answer();
    ASSERT_EQ(gw_session_state(session_), GW_SESSION_READY);
  }
  gw_wait add(std::uint32_t spi, gw_direction direction) {
    gw_wait wait{};
    gw_sa_params p = params(spi, direction);
    gw_session_add_sa(session_, &p, &wait);
    gw_session_abandon(session_, &wait);  // the copy that is returned is not written to
    return wait;
  }
  void add_acknowledged(std::uint32_t spi, gw_direction direction) {
    add(spi, direction);
    sent();
    while (!ids_.empty()) answer();
  }
  void use(std::uint32_t spi) {
    const gw_policy policy = {.tunnel_id = 7, .reqid = 1, .sa = sa_id(spi, kPeer)};
    gw_session_add_policy(session_, &policy);
  }
  Words raised() {
    Words words;
    for (gw_action* action = gw_session_take_actions(session_); action;) {
      constexpr const char* kNames[] = {"soft", "hard", "acquire", "mapping"};
      words.push_back(std::format("{} {:x}{}", kNames[action->kind],
                                  action->kind == GW_RAISE_ACQUIRE ? action->reqid : action->sa.spi,
                                  action->serial == 0 ? "" : ", repeated"));
      gw_action* next = action->next;
      std::free(action);
      action = next;
    }
    return words;
  }

  gw_session* session_;
  std::vector<std::uint64_t> ids_;
};

TEST_F(Session, AwayNothingIsSentAndTheTableAnswers) {
  EXPECT_EQ(add(0x1000, GW_INBOUND).outcome, GW_AWAY);
  EXPECT_THAT(sent(), IsEmpty());
}

TEST_F(Session, BeforeTheHelloIsAnsweredNothingElseIsSent) {
  gw_session_connected(session_);
  EXPECT_EQ(add(0x1000, GW_INBOUND).outcome, GW_AWAY);
  EXPECT_THAT(sent(), ElementsAre("hello"));
  answer_hello(1);
  EXPECT_THAT(sent(), ElementsAre("add 1000 fresh"));
}

TEST_F(Session, ActivationFollowsTheAcknowledgementOfTheReplay) {
  add(0x1000, GW_INBOUND);
  add(0x2000, GW_OUTBOUND);
  use(0x2000);
  gw_session_connected(session_);
  sent();
  answer_hello(1);
  EXPECT_THAT(sent(), ElementsAre("add 1000 fresh", "add 2000 fresh"));
  answer();
  EXPECT_THAT(sent(), IsEmpty());
  answer();
  EXPECT_THAT(sent(), ElementsAre("activate 2000", "sync done"));
}

TEST_F(Session, KeyWhoseAddWasNeverAcknowledgedStaysFreshAndUnused) {
  ready();
  add(0x2000, GW_OUTBOUND);
  use(0x2000);
  EXPECT_THAT(sent(), ElementsAre("add 2000 fresh"));  // no activation on top of an unanswered add
  lost();
  gw_session_connected(session_);
  sent();
  answer_hello(1);
  EXPECT_THAT(sent(), ElementsAre("add 2000 fresh"));
}

TEST_F(Session, AcknowledgedSaIsReplayedAsSuchToTheSameAndToANewServer) {
  ready();
  add_acknowledged(0x2000, GW_OUTBOUND);
  use(0x2000);
  EXPECT_THAT(sent(), ElementsAre("activate 2000"));
  for (std::uint64_t epoch : {1U, 2U}) {
    lost();
    gw_session_connected(session_);
    sent();
    answer_hello(epoch);
    EXPECT_THAT(sent(), ElementsAre("add 2000 again"));
    answer();
    EXPECT_THAT(sent(), ElementsAre("activate 2000", "sync done"));
    EXPECT_THAT(last_log, HasSubstr(epoch == 1 ? "the same as before" : "restarted"));
  }
}

TEST_F(Session, TwoPoliciesOfOneSaActivateItOnce) {
  ready();
  add_acknowledged(0x2000, GW_OUTBOUND);
  use(0x2000);
  use(0x2000);
  EXPECT_THAT(sent(), ElementsAre("activate 2000"));
}

TEST_F(Session, WhenTheLoserOfACollisionGoesTheWinnerIsActivatedAgain) {
  ready();
  add_acknowledged(0x2000, GW_OUTBOUND);
  use(0x2000);
  add_acknowledged(0x3000, GW_OUTBOUND);
  use(0x3000);
  sent();
  const gw_policy loser = {.tunnel_id = 7, .reqid = 1, .sa = sa_id(0x3000, kPeer)};
  gw_session_del_policy(session_, &loser);
  EXPECT_THAT(sent(), ElementsAre("activate 2000"));
}

TEST_F(Session, RefusedAddReachesItsCallerAndLeavesNothingBehind) {
  ready();
  gw_wait wait{};
  gw_sa_params p = params(0x1000, GW_INBOUND);
  gw_session_add_sa(session_, &p, &wait);
  EXPECT_EQ(wait.outcome, GW_PENDING);
  sent();
  answer(GW__FASTPATH__V1__CODE__LIMIT);
  EXPECT_EQ(wait.outcome, GW_REFUSED);
  EXPECT_STREQ(wait.message, "LIMIT: because");
  EXPECT_EQ(gw_sa_table_size(gw_session_sas(session_)), 0U);
  EXPECT_THAT(raised(), IsEmpty());
}

TEST_F(Session, RefusalThatNobodyWaitsForAnyMoreBecomesAHardExpire) {
  ready();
  add(0x1000, GW_INBOUND);  // abandoned
  sent();
  answer(GW__FASTPATH__V1__CODE__LIMIT);
  EXPECT_THAT(raised(), ElementsAre("hard 1000"));
  EXPECT_THAT(last_log, HasSubstr("LIMIT: because"));
}

TEST_F(Session, LostConnectionEndsAWaitAndTheSaIsReplayed) {
  ready();
  gw_wait wait{};
  gw_sa_params p = params(0x1000, GW_INBOUND);
  gw_session_add_sa(session_, &p, &wait);
  lost();
  EXPECT_EQ(wait.outcome, GW_AWAY);
  EXPECT_THAT(sent(), IsEmpty());  // the frame with the key is gone
  EXPECT_EQ(gw_session_unanswered(session_), 0U);
}

TEST_F(Session, PairThatNeedsARekeyIsRaisedOnceAndNotActivated) {
  ready();
  add_acknowledged(0x1000, GW_INBOUND);
  add_acknowledged(0x2000, GW_OUTBOUND);
  use(0x2000);
  lost();
  gw_session_connected(session_);
  sent();
  answer_hello(2);
  sent();
  answer(GW__FASTPATH__V1__CODE__NEEDS_REKEY);
  EXPECT_THAT(raised(), IsEmpty());
  answer(GW__FASTPATH__V1__CODE__NEEDS_REKEY);
  EXPECT_THAT(raised(), ElementsAre("soft 1000, repeated"));  // a passive IKE_SA ignores it
  EXPECT_THAT(sent(), ElementsAre("sync done"));

  lost();
  gw_session_connected(session_);
  sent();
  answer_hello(3);
  sent();
  answer(GW__FASTPATH__V1__CODE__NEEDS_REKEY);
  answer(GW__FASTPATH__V1__CODE__NEEDS_REKEY);
  EXPECT_THAT(raised(), ElementsAre("soft 1000"));  // it is repeated already
}

TEST_F(Session, DeletionDuringTheReplayDoesNotStallIt) {
  add(0x1000, GW_INBOUND);
  gw_session_connected(session_);
  sent();
  answer_hello(1);
  const gw_sa_id id = sa_id(0x1000, kUs);
  gw_session_del_sa(session_, &id);
  EXPECT_THAT(sent(), ElementsAre("add 1000 fresh", "del 1000"));
  answer();
  EXPECT_THAT(sent(), ElementsAre("sync done"));
  answer(GW__FASTPATH__V1__CODE__NOT_FOUND);
  answer();
  EXPECT_EQ(gw_session_state(session_), GW_SESSION_READY);
  EXPECT_EQ(gw_session_unanswered(session_), 0U);
}

TEST_F(Session, AReservationIsAnnouncedAndTakenBackOnce) {
  ready();
  gw_sa_table_reserve(gw_session_sas(session_), 0x1000);
  const gw_sa_id reserved = sa_id(0x1000, kUs);
  gw_wait wait{};
  gw_session_announce_spi(session_, &reserved, &wait);
  EXPECT_THAT(sent(), ElementsAre("reserve 1000"));
  EXPECT_EQ(wait.outcome, GW_PENDING) << "the peer is told only when gw-fastpath knows";
  answer();
  EXPECT_EQ(wait.outcome, GW_DONE);
  gw_session_del_sa(session_, &reserved);
  gw_session_del_sa(session_, &reserved);
  EXPECT_THAT(sent(), ElementsAre("del 1000"));
  EXPECT_EQ(gw_sa_table_size(gw_session_sas(session_)), 0U);
}

TEST_F(Session, AReservationIsNoStateToReplay) {
  const gw_sa_id reserved = sa_id(0x1000, kUs);
  gw_wait wait{};
  gw_session_announce_spi(session_, &reserved, &wait);
  EXPECT_THAT(sent(), IsEmpty()) << "gw-fastpath is away";
  EXPECT_EQ(wait.outcome, GW_AWAY);
}

TEST_F(Session, RefusedMoveGoesBack) {
  ready();
  add_acknowledged(0x2000, GW_OUTBOUND);
  gw_wait wait{};
  const gw_sa_id id = sa_id(0x2000, kPeer);
  gw_path path = gw_sa_table_find(gw_session_sas(session_), &id)->params.path;
  path.dst = addr(9);
  gw_session_update_sa(session_, &id, &path, &wait);
  EXPECT_THAT(sent(), ElementsAre("update 2000"));
  EXPECT_EQ(gw_sa_table_find(gw_session_sas(session_), &id), nullptr);
  answer(GW__FASTPATH__V1__CODE__INVALID_ARGUMENT);
  EXPECT_EQ(wait.outcome, GW_REFUSED);
  EXPECT_NE(gw_sa_table_find(gw_session_sas(session_), &id), nullptr);
}

TEST_F(Session, RefusedHelloDropsTheConnectionAndIsLoggedOnce) {
  gw_session_connected(session_);
  sent();
  EXPECT_FALSE(answer(GW__FASTPATH__V1__CODE__UNSUPPORTED));
  EXPECT_THAT(last_log, HasSubstr("UNSUPPORTED: because"));
  last_log.clear();
  lost();
  gw_session_connected(session_);
  sent();
  EXPECT_FALSE(answer(GW__FASTPATH__V1__CODE__UNSUPPORTED));
  EXPECT_EQ(last_log, "");
}

TEST_F(Session, HelloAnsweredWithAnotherBodyDropsTheConnection) {
  gw_session_connected(session_);
  sent();
  EXPECT_FALSE(answer());
}

TEST_F(Session, AnswerToNoRequestAndOutOfOrderAnswerDropTheConnection) {
  ready();
  EXPECT_FALSE(answer());
  add(0x1000, GW_INBOUND);
  sent();
  ids_.front() += 1;
  EXPECT_FALSE(answer());
}

TEST_F(Session, EventsWithoutTheirPartsAreIgnored) {
  ready();
  Gw__Fastpath__V1__Expire expire = GW__FASTPATH__V1__EXPIRE__INIT;
  Gw__Fastpath__V1__Mapping mapping = GW__FASTPATH__V1__MAPPING__INIT;
  Gw__Fastpath__V1__Event event = GW__FASTPATH__V1__EVENT__INIT;
  Gw__Fastpath__V1__ServerFrame frame = GW__FASTPATH__V1__SERVER_FRAME__INIT;
  frame.body_case = GW__FASTPATH__V1__SERVER_FRAME__BODY_EVENT;
  frame.event = &event;
  EXPECT_TRUE(gw_session_receive(session_, &frame));
  event.body_case = GW__FASTPATH__V1__EVENT__BODY_EXPIRE;
  event.expire = &expire;
  EXPECT_TRUE(gw_session_receive(session_, &frame));
  event.body_case = GW__FASTPATH__V1__EVENT__BODY_MAPPING;
  event.mapping = &mapping;
  EXPECT_TRUE(gw_session_receive(session_, &frame));
  EXPECT_THAT(raised(), IsEmpty());
}

TEST_F(Session, AcquireRaisesTheReqidOfTheTunnelsTrap) {
  ready();
  const gw_policy trap = {.tunnel_id = 7, .reqid = 5, .sa = sa_id(0, kPeer)};
  gw_session_add_policy(session_, &trap);
  Gw__Fastpath__V1__Acquire acquire = GW__FASTPATH__V1__ACQUIRE__INIT;
  Gw__Fastpath__V1__Event event = GW__FASTPATH__V1__EVENT__INIT;
  Gw__Fastpath__V1__ServerFrame frame = GW__FASTPATH__V1__SERVER_FRAME__INIT;
  frame.body_case = GW__FASTPATH__V1__SERVER_FRAME__BODY_EVENT;
  frame.event = &event;
  event.body_case = GW__FASTPATH__V1__EVENT__BODY_ACQUIRE;
  event.acquire = &acquire;
  acquire.tunnel_id = 8;
  gw_session_receive(session_, &frame);
  EXPECT_THAT(raised(), IsEmpty());
  acquire.tunnel_id = 7;
  gw_session_receive(session_, &frame);
  EXPECT_THAT(raised(), ElementsAre("acquire 5"));
}

}  // namespace
}  // namespace gw::kernel_gw_test
