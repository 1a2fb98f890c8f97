// What an update is judged by: each rule alone, in both directions, and the gate's clock.
#include <gmock/gmock.h>

#include "cli/upgrade/judge.hpp"
#include "cli/upgrade/machine.hpp"

namespace gw::cli::upgrade {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// gw-a with a tunnel, a circuit, and the other instance.
Observation healthy() {
  Observation now;
  now.status.set_revision(7);
  now.status.set_instance("gw-a");
  for (const char* name : {"gw-fastpath", "charon", "bgpd"}) {
    api::Component& component = *now.status.add_components();
    component.set_name(name);
    component.set_connected(true);
  }
  api::Tunnel& tunnel = *now.tunnels.add_tunnels();
  tunnel.set_name("paris/gw-a");
  tunnel.set_local_address("203.0.113.10");
  tunnel.set_state("up");
  tunnel.set_bgp_state("Established");
  api::BgpPeer& in_tunnel = *now.sessions.add_peers();
  in_tunnel.set_tunnel("paris/gw-a");
  in_tunnel.set_neighbor("169.254.21.2");
  in_tunnel.set_state("Established");
  api::BgpPeer& circuit = *now.sessions.add_peers();
  circuit.set_neighbor("192.0.2.1");
  circuit.set_source("er1/gw-a");
  circuit.set_state("Established");
  api::HaReply ha;
  ha.set_instance("gw-a");
  api::HaPeer& peer = *ha.add_peers();
  peer.set_instance("gw-b");
  peer.set_sync(true);
  peer.set_data(true);
  peer.set_has_all_of_ours(true);
  peer.set_we_have_all_of_its(true);
  api::HaEndpoint& endpoint = *ha.add_endpoints();
  endpoint.set_address("203.0.113.10");
  endpoint.set_home("gw-a");
  endpoint.set_owner("gw-a");
  endpoint.set_state("owned");
  now.ha = std::move(ha);
  return now;
}
Observation alone() {
  Observation now = healthy();
  now.ha.reset();
  return now;
}
api::Tunnel& tunnel(Observation& now) { return *now.tunnels.mutable_tunnels(0); }

TEST(UpgradeJudge, WhatIsUpIsWrittenDown) {
  Observation now = healthy();
  now.status.add_components()->set_name("zebra");      // not connected
  now.tunnels.add_tunnels()->set_state("connecting");  // nobody's fault but its site's
  now.sessions.add_peers()->set_state("Active");
  const api::UpgradeBefore before = write_down(now);
  EXPECT_EQ(before.revision(), 7U);
  EXPECT_EQ(before.instance(), "gw-a");
  EXPECT_THAT(before.components(), ElementsAre("gw-fastpath", "charon", "bgpd"));
  ASSERT_EQ(before.tunnels_size(), 1);
  EXPECT_TRUE(before.tunnels(0).bgp());
  ASSERT_EQ(before.sessions_size(), 1);
  EXPECT_EQ(before.sessions(0).source(), "er1/gw-a");
  EXPECT_THAT(before.endpoints(), ElementsAre("203.0.113.10"));
  EXPECT_TRUE(judge(before, now).healthy());
}

TEST(UpgradeJudge, EachThingThatIsMissingIsNamed) {
  const struct {
    const char* says;
    void (*spoil)(Observation&);
  } rows[] = {
      {"gwd does not answer: no socket", [](Observation& o) { o.unreachable = "no socket"; }},
      {"the configuration is not in force: bad", [](Observation& o) { o.status.set_config_error("bad"); }},
      {"charon is not connected", [](Observation& o) { o.status.mutable_components(1)->set_connected(false); }},
      {"tunnel paris/gw-a is connecting: no answer",
       [](Observation& o) { tunnel(o).set_state("connecting"), tunnel(o).set_reason("no answer"); }},
      {"tunnel paris/gw-a is esp-only", [](Observation& o) { tunnel(o).set_state("esp-only"); }},
      {"tunnel paris/gw-a is standby", [](Observation& o) { tunnel(o).set_state("standby"); }},
      {"tunnel paris/gw-a is not there", [](Observation& o) { o.tunnels.clear_tunnels(); }},
      {"tunnel paris/gw-a is not there", [](Observation& o) { tunnel(o).set_state("disabled"); }},
      {"BGP of tunnel paris/gw-a is Active", [](Observation& o) { tunnel(o).set_bgp_state("Active"); }},
      {"BGP of tunnel paris/gw-a is gone", [](Observation& o) { tunnel(o).clear_bgp_state(); }},
      {"BGP with er1/gw-a (192.0.2.1) is Connect",
       [](Observation& o) { o.sessions.mutable_peers(1)->set_state("Connect"); }},
      {"BGP with er1/gw-a (192.0.2.1) is gone", [](Observation& o) { o.sessions.mutable_peers()->RemoveLast(); }},
      {"gwd knows of no other instance", [](Observation& o) { o.ha.reset(); }},
      {"this instance cannot own endpoints: silent", [](Observation& o) { o.ha->set_unfit("silent"); }},
      {"endpoint 203.0.113.10 is not there", [](Observation& o) { o.ha->clear_endpoints(); }},
      {"endpoint 203.0.113.10 is not back: gw-b has it",
       [](Observation& o) { o.ha->mutable_endpoints(0)->set_owner("gw-b"); }},
      {"endpoint 203.0.113.10 is not back: nobody has it",
       [](Observation& o) { o.ha->mutable_endpoints(0)->clear_owner(); }},
  };
  const api::UpgradeBefore before = write_down(healthy());
  for (const auto& row : rows) {
    Observation now = healthy();
    row.spoil(now);
    EXPECT_THAT(judge(before, now).missing, ElementsAre(row.says)) << row.says;
  }
}

TEST(UpgradeJudge, WhatAnotherRevisionTookAwayIsNotMissed) {
  const api::UpgradeBefore before = write_down(alone());
  Observation now = alone();
  now.status.set_revision(8);
  now.tunnels.clear_tunnels();
  now.sessions.clear_peers();
  EXPECT_THAT(judge(before, now).missing, IsEmpty());
  // But what is there has to be up, whoever applied what.
  now = alone();
  now.status.set_revision(8);
  tunnel(now).set_state("down");
  EXPECT_THAT(judge(before, now).missing, ElementsAre("tunnel paris/gw-a is down"));
}

TEST(UpgradeJudge, ATunnelOfTheOtherInstanceMayGoBackToIt) {
  Observation drained_partner = healthy();
  api::Tunnel& its = *drained_partner.tunnels.add_tunnels();
  its.set_name("paris/gw-b");
  its.set_local_address("203.0.113.20");
  its.set_state("up");
  const api::UpgradeBefore before = write_down(drained_partner);
  Observation now = drained_partner;
  now.tunnels.mutable_tunnels(1)->set_state("standby");
  EXPECT_TRUE(judge(before, now).healthy());
  now.tunnels.mutable_tunnels(1)->set_state("down");
  EXPECT_FALSE(judge(before, now).healthy());
}

// Active/standby: the standby had the endpoints for a while, none of which belongs to it; they go home when it
// restarts.
TEST(UpgradeJudge, AStandbyGivesBackAllItHad) {
  Observation standby = healthy();
  standby.ha->set_instance("gw-b");
  api::HaEndpoint& endpoint = *standby.ha->mutable_endpoints(0);
  endpoint.set_owner("gw-b");
  const api::UpgradeBefore before = write_down(standby);
  EXPECT_EQ(before.tunnels_size(), 1);
  EXPECT_EQ(before.endpoints_size(), 0);
  Observation now = standby;
  now.ha->mutable_endpoints(0)->set_owner("gw-a");
  tunnel(now).set_state("standby");
  EXPECT_THAT(judge(before, now).missing, IsEmpty());
  tunnel(now).set_state("connecting");
  EXPECT_THAT(judge(before, now).missing, ElementsAre("tunnel paris/gw-a is connecting"));
}

// Active/standby: endpoints that are elsewhere at home are the preferred instance's, and those at home here are not the
// standby's.
TEST(UpgradeJudge, WhatBelongsToAnInstanceIsThePreferredOnes) {
  Observation preferred = healthy();
  api::HaEndpoint& others = *preferred.ha->add_endpoints();
  others = preferred.ha->endpoints(0);
  others.set_address("203.0.113.11");
  others.set_home("gw-b");
  for (api::HaEndpoint& endpoint : *preferred.ha->mutable_endpoints()) endpoint.set_preferred("gw-a");
  EXPECT_EQ(write_down(preferred).endpoints_size(), 2);
  Observation standby = preferred;
  standby.ha->set_instance("gw-b");
  EXPECT_EQ(write_down(standby).endpoints_size(), 0);
}

TEST(UpgradeJudge, AnEndpointIsAskedBackOnceThatCanSucceed) {
  const api::UpgradeBefore before = write_down(healthy());
  Observation now = healthy();
  now.ha->mutable_endpoints(0)->set_owner("gw-b");
  EXPECT_THAT(judge(before, now).to_fetch, ElementsAre("203.0.113.10"));
  const struct {
    const char* why;
    void (*spoil)(api::HaReply&);
  } rows[] = {
      {"on its way", [](api::HaReply& ha) { ha.mutable_endpoints(0)->set_moving_to("gw-a"); }},
      {"we cannot", [](api::HaReply& ha) { ha.set_unfit("starting"); }},
      {"not wanted", [](api::HaReply& ha) { ha.set_drained(true); }},
      {"not heard", [](api::HaReply& ha) { ha.mutable_peers(0)->set_sync(false); }},
      {"its state is not here yet", [](api::HaReply& ha) { ha.mutable_peers(0)->set_we_have_all_of_its(false); }},
  };
  for (const auto& row : rows) {
    Observation later = now;
    row.spoil(*later.ha);
    EXPECT_THAT(judge(before, later).to_fetch, IsEmpty()) << row.why;
  }
}

TEST(UpgradeGate, HealthHasToLast) {
  const Judgement good;
  const Judgement bad{.missing = {"x"}, .to_fetch = {}};
  Gate gate(60s);
  EXPECT_EQ(gate.next(bad, 0s), Step::kWait);
  EXPECT_EQ(gate.next(good, 10s), Step::kWait);
  EXPECT_EQ(gate.next(good, 19s), Step::kWait);
  EXPECT_EQ(gate.next(bad, 19500ms), Step::kWait);  // begins anew
  EXPECT_EQ(gate.next(good, 20s), Step::kWait);
  EXPECT_EQ(gate.next(good, 29999ms), Step::kWait);
  EXPECT_EQ(gate.next(good, 30s), Step::kGood);
}

TEST(UpgradeGate, TheTimeEndsItUnlessItIsHealthyJustThen) {
  const Judgement good;
  const Judgement bad{.missing = {"x"}, .to_fetch = {}};
  Gate late(60s);
  EXPECT_EQ(late.next(bad, 59999ms), Step::kWait);
  EXPECT_EQ(late.next(bad, 60s), Step::kTakeBack);
  Gate just(60s);
  EXPECT_EQ(just.next(good, 58s), Step::kWait);
  EXPECT_EQ(just.next(good, 62s), Step::kWait);  // it may show that it lasts
  EXPECT_EQ(just.next(good, 68s), Step::kGood);
  Gate flaps(60s);
  EXPECT_EQ(flaps.next(good, 58s), Step::kWait);
  EXPECT_EQ(flaps.next(bad, 62s), Step::kTakeBack);
}

TEST(UpgradeGate, AStartIsWhatTheNoteAndTheSlotSay) {
  EXPECT_EQ(classify(std::nullopt, "A"), Start::kOrdinary);
  api::UpgradeBefore before;
  before.set_from_slot("A");
  before.set_to_slot("B");
  EXPECT_EQ(classify(before, "B"), Start::kNewSlot);
  EXPECT_EQ(classify(before, "A"), Start::kTakenBack);
}

// --- what may be written over what ---------------------------------------------------------------------

constexpr const char* kInfo = R"({"update": {"version": "2.0", "compatible": "gw-appliance"},
  "images": [{"slot-class": "rootfs", "filename": "root.img", "size": 3000000}, {"slot-class": "boot", "size": 100000}],
  "bundle": {"format": "verity"}, "meta": {"gw": {"state-format": "2"}}})";
constexpr const char* kStatus =
    R"({"compatible": "gw-appliance", "variant": "", "booted": "A", "boot_primary": "rootfs.0",
  "slots": [{"boot.1": {"class": "boot", "device": "/dev/b1", "bootname": null, "state": "inactive", "parent": "rootfs.1"}},
            {"rootfs.1": {"class": "rootfs", "device": "/dev/r1", "bootname": "B", "state": "inactive", "parent": null, "boot_status": "bad"}},
            {"boot.0": {"class": "boot", "device": "/dev/b0", "bootname": null, "state": "active", "parent": "rootfs.0"}},
            {"rootfs.0": {"class": "rootfs", "device": "/dev/r0", "bootname": "A", "state": "booted", "parent": null, "boot_status": "good"}}]})";

class Admit : public testing::Test {
 protected:
  Status admitted(OlderState older = OlderState::kRefuse) const { return admit(bundle_, machine_, surrounds_, older); }
  Bundle bundle_ = parse_bundle(kInfo).value();
  Machine machine_ = parse_machine(kStatus).value();
  Surrounds surrounds_{
      .state_format = 2, .kept_formats = {}, .target_bytes = {512 << 20, 64 << 20}, .undecided = false};
};

TEST_F(Admit, RaucsWordsAreUnderstood) {
  EXPECT_EQ(bundle_.version, "2.0");
  EXPECT_EQ(bundle_.state_format, 2U);
  EXPECT_EQ(bundle_.images.at(1).bytes, 100'000U);
  EXPECT_EQ(machine_.other(), "B");
  EXPECT_EQ(machine_.next, "A");
  EXPECT_TRUE(machine_.good("A"));
  EXPECT_FALSE(machine_.good("B"));
  EXPECT_EQ(machine_.slots.at(0).boot_name, "B");  // its root's
  EXPECT_TRUE(admitted());
}

TEST_F(Admit, NonsenseIsNamed) {
  EXPECT_EQ(parse_bundle("not json").error().code, Errc::kMalformed);
  EXPECT_EQ(parse_machine("{").error().code, Errc::kMalformed);
  EXPECT_THAT(parse_machine(R"({"compatible": "x", "booted": "external", "slots": []})").error().message,
              HasSubstr("updates are for the appliance's image"));
}

TEST_F(Admit, AnotherMachinesBundleIsRefused) {
  bundle_.compatible = "toaster";
  EXPECT_EQ(admitted().error().message, "the bundle is for 'toaster', this machine is 'gw-appliance'");
}

TEST_F(Admit, AnImageHasToFit) {
  surrounds_.target_bytes[1] = 99'999;
  EXPECT_THAT(admitted().error().message, HasSubstr("not enough space: the bundle's boot has"));
  surrounds_.target_bytes[1] = 100'000;
  EXPECT_TRUE(admitted());
}

TEST_F(Admit, AnUndecidedUpdateIsWaitedFor) {
  surrounds_.undecided = true;
  EXPECT_THAT(admitted().error().message, HasSubstr("not decided yet"));
}

TEST_F(Admit, AnOlderStateFormatNeedsAKeptCopyAndConsent) {
  bundle_.state_format = 1;
  EXPECT_THAT(admitted(OlderState::kAccept).error().message,
              HasSubstr("no copy of format 1 is kept here (there are: none)"));
  surrounds_.kept_formats = {1};
  EXPECT_THAT(admitted().error().message, HasSubstr("--older-state"));
  EXPECT_TRUE(admitted(OlderState::kAccept));
  bundle_.state_format = 3;
  EXPECT_TRUE(admitted());
  bundle_.state_format = 0;
  EXPECT_THAT(admitted().error().message, HasSubstr("does not say which format"));
}

TEST(UpgradeRefusals, RaucsReasonsHaveAFix) {
  const struct {
    const char* said;
    Errc code;
    const char* fix;
  } rows[] = {
      {"rauc-Message: Reading bundle: x\nsignature verification failed: Verify error: self-signed certificate\n",
       Errc::kPermission, "keyring.pem"},
      {"signature verification failed: Verify error: certificate is not yet valid\n", Errc::kPermission, "clock"},
      {"Invalid bundle format: Signature size is 0\n", Errc::kPermission, "it is not signed"},
      {"Invalid bundle format: Signature size (3242591731706822344) exceeds bundle size\n", Errc::kMalformed,
       "copy it again"},
      {"No such file: /x\n", Errc::kNotFound, "no such file"},
      {"something new\n", Errc::kRefused, "(rauc: something new)"},
  };
  for (const auto& row : rows) {
    const Error error = explain_refusal("/x", row.said);
    EXPECT_EQ(error.code, row.code) << row.said;
    EXPECT_THAT(error.message, HasSubstr(row.fix));
    EXPECT_THAT(error.message, testing::StartsWith("/x: "));
  }
}

}  // namespace
}  // namespace gw::cli::upgrade
