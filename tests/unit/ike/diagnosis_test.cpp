// Lines as charon 6.0.1 logs them (ike_charon_test checks the important ones against the real daemon).
#include "ike/diagnosis.hpp"

#include <gtest/gtest.h>

namespace gw::ike {
namespace {

const TunnelFacts kFacts{"paris", "203.0.113.10", "198.51.100.1", "ce1.paris.example"};

TEST(Diagnosis, Table) {
  struct Row {
    const char* line;
    Fault fault;
    const char* advice;  // a part of the sentence
  };
  const std::vector<Row> rows{
      {"received AUTHENTICATION_FAILED notify error", Fault::kAuthentication, "pre-shared key"},
      {"tried 1 shared key for '203.0.113.10' - 'ce1.paris.example', but MAC mismatched", Fault::kAuthentication,
       "another pre-shared key"},
      {"no shared key found for '203.0.113.10' - 'ce9.example'", Fault::kAuthentication, "ce1.paris.example"},
      {"looking for peer configs matching... no matching peer config found", Fault::kAuthentication, "identities"},
      {"constraint check failed: identity 'ce1.paris.example' required", Fault::kAuthentication, "identifies itself"},
      {"IDir 'ce9' does not match to 'ce1.paris.example'", Fault::kAuthentication, "identifies itself"},
      {"received NO_PROPOSAL_CHOSEN notify error", Fault::kIkePolicyMismatch, "IKE proposals"},
      {"received proposals unacceptable", Fault::kIkePolicyMismatch, "IKE proposals of 198.51.100.1"},
      {"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", Fault::kIkePolicyMismatch, "IPsec proposals"},
      {"no acceptable proposal found", Fault::kIkePolicyMismatch, "PFS"},
      {"IDr payload missing", Fault::kIkePolicyMismatch, "its own log"},
      {"received TS_UNACCEPTABLE notify, no CHILD_SA built", Fault::kTrafficSelectorMismatch, "0.0.0.0/0"},
      {"traffic selectors 10.0.0.0/16 === 10.1.0.0/16 unacceptable", Fault::kTrafficSelectorMismatch, "compare them"},
      {"retransmit 1 of request with message ID 0", Fault::kPeerReachability, "UDP 500 and 4500"},
      {"giving up after 4 retransmits", Fault::kPeerReachability, "UDP 500 and 4500"},
      {"establishing IKE_SA failed, peer not responding", Fault::kPeerReachability, "does not answer"},
      {"error writing to socket: Network is unreachable", Fault::kPeerReachability, "no route"},
      {"no IKE config found for 203.0.113.10...198.51.100.1, sending NO_PROPOSAL_CHOSEN",
       Fault::kConnectionNotConfiguredOnGateway, "IKEv2"},
      {"unable to install inbound and outbound IPsec SA (SAD) in kernel", Fault::kServiceNotRunning, "gw-fastpath"},
      {"IKE_SA paris[1] state change: CONNECTING => DESTROYING", Fault::kUnknown, "does not say why"},
      {"CHILD_SA paris{1} established with SPIs c1_i c2_o and TS 0.0.0.0/0 === 0.0.0.0/0", Fault::kUnknown, ""},
  };
  for (const Row& row : rows) {
    const std::vector<std::string> lines{row.line};
    const Diagnosis d = diagnose(kFacts, lines);
    EXPECT_EQ(d.fault, row.fault) << row.line << ": " << to_string(d.fault);
    EXPECT_TRUE(d.sentence.contains(row.advice)) << d.sentence;
    EXPECT_FALSE(d.sentence.contains('{')) << d.sentence;
    EXPECT_EQ(d.evidence, row.line);
  }
}

TEST(Diagnosis, TheNewestCauseDecidesAndNothingIsNoFault) {
  const std::vector<std::string> lines{"received NO_PROPOSAL_CHOSEN notify error", "giving up after 4 retransmits",
                                       "unrelated"};
  EXPECT_EQ(diagnose(kFacts, lines).fault, Fault::kPeerReachability);
  EXPECT_EQ(diagnose(kFacts, {}).fault, Fault::kNoFault);
}

TEST(Diagnosis, KeysThatGwFastpathRefusesAreSaidInItsWords) {
  const std::string refused =
      "kernel-gw: inbound SA c1d2e3f4 of tunnel 7 refused: UNSUPPORTED: 3DES_CBC is too weak; gw-fastpath "
      "--allow-legacy-crypto accepts it, field encryption";
  const std::vector<std::string> lines{"kernel-gw: inbound SA 00000001 of tunnel 7 refused: earlier", refused,
                                       "unable to install inbound and outbound IPsec SA (SAD) in kernel",
                                       "failed to establish CHILD_SA, keeping IKE_SA"};
  const Diagnosis d = diagnose(kFacts, lines);
  EXPECT_EQ(d.fault, Fault::kServiceNotRunning);
  EXPECT_EQ(d.sentence, "IKE with " + kFacts.remote_address +
                            " succeeds, but gw-fastpath does not take the keys: " + refused.substr(11));
  EXPECT_EQ(d.evidence, refused);
}

LogLine line(std::string tunnel, std::string text, unsigned thread = 5) {
  LogLine l;
  l.tunnel = std::move(tunnel);
  l.text = std::move(text);
  l.thread = thread;
  return l;
}

TEST(RecentLog, KeepsTunnelsApartAndForgets) {
  RecentLog log(2, 8);
  log.add(line("paris", "received AUTHENTICATION_FAILED notify error"));
  log.add(line("berlin", "giving up after 4 retransmits"));
  EXPECT_EQ(log.diagnose(kFacts).fault, Fault::kAuthentication);
  log.add(line("paris", "one"));
  log.add(line("paris", "two"));
  EXPECT_EQ(log.diagnose(kFacts).fault, Fault::kUnknown);
  log.clear("paris");
  EXPECT_EQ(log.diagnose(kFacts).fault, Fault::kNoFault);
}

TEST(RecentLog, WhatWasSaidBeforeTheConnectionWasKnownGoesByAddress) {
  RecentLog log;
  log.add(line("", "received packet: from 198.51.100.1[500] to 203.0.113.10[500] (336 bytes)", 1));
  log.add(line("", "received packet: from 192.0.2.99[500] to 203.0.113.10[500] (336 bytes)", 2));
  log.add(line("", "no IKE config found for 203.0.113.10...198.51.100.1, sending NO_PROPOSAL_CHOSEN", 1));
  EXPECT_EQ(log.diagnose(kFacts).fault, Fault::kConnectionNotConfiguredOnGateway);
  log.add(line("", "received proposals unacceptable", 2));
  EXPECT_EQ(log.diagnose(kFacts).fault, Fault::kConnectionNotConfiguredOnGateway);
}

TEST(RecentLog, StrangersCannotPushOutTunnels) {
  RecentLog log(4, 16);
  for (int i = 0; i < 100; ++i) {
    log.add(line("", "received packet: from 192.0.2." + std::to_string(i) + "[500] to x", 1));
    log.add(line("", "received proposals unacceptable", 1));
  }
  log.add(line("paris", "giving up after 4 retransmits"));
  EXPECT_EQ(log.diagnose(kFacts).fault, Fault::kPeerReachability);
}

}  // namespace
}  // namespace gw::ike
