// Each rule against a table of snapshots: a healthy one in which one thing is wrong, or nearly wrong.
#include "gwd/doctor/doctor.hpp"

#include <gmock/gmock.h>

#include <set>

#include "tests/unit/gwd/doctor/snapshots.hpp"

namespace gw::doctor {
namespace {

using test::Case;
using test::healthy;
using test::kBerlin;
using test::kPartner;
using test::peer;
using test::refuse;
using test::tunnel;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Case> cases() {
  std::vector<Case> all = test::tunnel_cases();
  for (const auto* more : {&test::session_cases(), &test::route_cases()})
    all.insert(all.end(), more->begin(), more->end());
  return all;
}

std::vector<std::string> lines(const Findings& findings) {
  std::vector<std::string> out;
  for (const Finding& f : findings)
    out.push_back(std::string(f.name) + " " + f.subject + " " + std::string(to_string(f.severity)));
  return out;
}

TEST(Doctor, EachSnapshotHasExactlyItsFindings) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.about);
    api::Snapshot snapshot = healthy();
    c.change(snapshot);
    EXPECT_EQ(lines(examine(snapshot)), c.found);
  }
}

TEST(Doctor, EveryRuleHasACaseThatFires) {
  std::set<std::string> seen;
  for (const Case& c : cases())
    for (const std::string& line : c.found) seen.insert(line.substr(0, line.find(' ')));
  for (const Rule& rule : rules()) EXPECT_TRUE(seen.contains(std::string(rule.name))) << rule.name;
}

TEST(Doctor, EveryFindingSaysWhatItLeadsToAndWhatToDo) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.about);
    api::Snapshot snapshot = healthy();
    c.change(snapshot);
    for (const Finding& f : examine(snapshot)) {
      EXPECT_FALSE(f.evidence.empty());
      EXPECT_FALSE(f.consequence.empty());
      ASSERT_FALSE(f.remedy.empty());
      for (const std::string& line : f.evidence) EXPECT_FALSE(line.empty());
      for (const std::string& line : f.remedy) EXPECT_FALSE(line.empty());
    }
  }
}

TEST(Doctor, TheWorstComesFirst) {
  api::Snapshot snapshot = healthy();
  refuse(snapshot, "vnet-prefix");
  peer(snapshot, kPartner).set_state("Active");
  tunnel(snapshot, kBerlin).mutable_proof()->set_full_answered(0);
  const api::DoctorReply reply = report(snapshot);
  ASSERT_EQ(reply.findings_size(), 3);
  EXPECT_EQ(reply.findings(0).severity(), "critical");
  EXPECT_EQ(reply.findings(1).severity(), "error");
  EXPECT_EQ(reply.findings(2).severity(), "warning");
}

TEST(Doctor, AReportSaysWhatCouldNotBeSeen) {
  api::Snapshot snapshot = healthy();
  snapshot.mutable_status()->set_gateway("hub");
  snapshot.mutable_status()->mutable_components(0)->set_connected(false);
  const api::DoctorReply reply = report(snapshot);
  EXPECT_EQ(reply.gateway(), "hub");
  EXPECT_THAT(reply.blind(), Contains(HasSubstr("gw-fastpath is away")));
  EXPECT_EQ(static_cast<std::size_t>(reply.rules_size()), rules().size());
}

TEST(Doctor, AnEmptySnapshotHasNoFindings) { EXPECT_THAT(examine(api::Snapshot{}), IsEmpty()); }

TEST(Doctor, WhatGetsThroughIsTheMtuToSet) {
  api::Snapshot snapshot = healthy();
  tunnel(snapshot, kBerlin).mutable_proof()->set_full_answered(0);
  tunnel(snapshot, kBerlin).mutable_proof()->set_largest_answered_bytes(1280);
  const Findings findings = examine(snapshot);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].remedy, Contains("connections[berlin-ce1].mtu: 1280"));
}

}  // namespace
}  // namespace gw::doctor
