// Proposals as operators write them, and what charon is told.
#include "gwd/config/esp_proposals.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gwd/config/outer.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;

std::string fault(std::string_view proposal, const v1::Ipsec& ipsec = {}) {
  const auto found = check_esp_proposal(proposal, ipsec);
  return found ? found->message : "";
}

TEST(EspProposals, WhatTheFastPathHasIsGood) {
  for (const char* good :
       {"aes256gcm16", "aes192gcm12", "aes128gcm8", "aes128gcm16-ecp256", "chacha20poly1305", "chacha20poly1305-x25519",
        "aes256-sha256-modp2048", "aes192-sha384", "aes128-sha512-ecp384-ecp521", "aes128-sha1-modp1024"})
    EXPECT_EQ(fault(good), "") << good;
  v1::Ipsec legacy;
  legacy.set_allow_legacy(true);
  EXPECT_EQ(fault("3des-sha1-modp2048", legacy), "");
}

TEST(EspProposals, FaultsSayWhichPart) {
  EXPECT_EQ(fault(""), "'' is no encryption that this gateway has");
  EXPECT_EQ(fault("aes256gcm"), "'aes256gcm' is no encryption that this gateway has, did you mean 'aes256gcm8'?");
  EXPECT_EQ(fault("null-sha256"), "'null' is no encryption that this gateway has");
  EXPECT_EQ(fault("AES256-sha256").substr(0, 9), "'AES256' ");
  EXPECT_EQ(fault("aes256-md5"), "'md5' is no integrity algorithm that this gateway has");
  EXPECT_EQ(fault("aes256gcm16-sha256"), "'aes256gcm16' has its own integrity; 'sha256' is one too many");
  EXPECT_EQ(fault("aes256gcm16-ecp25"),
            "'ecp25' is no Diffie-Hellman group that this gateway has, did you mean 'ecp256'?");
  EXPECT_EQ(fault("aes256gcm16-"), "'' is no Diffie-Hellman group that this gateway has");
  EXPECT_EQ(fault("aes256gcm16-noesn"), "extended sequence numbers are not chosen here");
  EXPECT_EQ(fault("3des-sha1"), "'3des' is too weak");
  EXPECT_EQ(check_esp_proposal("3des-sha1", {})->expected, kHowToAllowLegacy);
}

TEST(EspProposals, Weak) {
  EXPECT_EQ(weak_part("aes256gcm16-ecp256"), "");
  EXPECT_EQ(weak_part("aes256-sha1"), "sha1");
  EXPECT_EQ(weak_part("aes256gcm16-modp1024"), "modp1024");
  EXPECT_EQ(weak_part("3des-sha256"), "3des");
}

v1::Ipsec cloud(const char* encryption, const char* integrity, const char* pfs) {
  v1::Ipsec ipsec;
  ipsec.set_encryption(encryption);
  ipsec.set_integrity(integrity);
  ipsec.set_pfs(pfs);
  return ipsec;
}

TEST(EspProposals, FromTheCloudsNames) {
  EXPECT_THAT(esp_proposals(cloud("GCMAES256", "", "ECP384")), ElementsAre("aes256gcm16-ecp384-esn-noesn"));
  EXPECT_THAT(esp_proposals(cloud("AES128", "", "None")), ElementsAre("aes128-sha256-esn-noesn"));
  EXPECT_THAT(esp_proposals(cloud("AES256", "SHA512", "PFS14")), ElementsAre("aes256-sha512-modp2048-esn-noesn"));
  EXPECT_THAT(esp_proposals(cloud("CHACHA20POLY1305", "", "")),
              ElementsAre("chacha20poly1305-modp2048-ecp256-ecp384-esn-noesn", "chacha20poly1305-esn-noesn"));
  EXPECT_THAT(esp_proposals(cloud("DES3", "SHA1", "None")), ElementsAre("3des-sha1-esn-noesn"));
}

TEST(EspProposals, OwnOnesReplaceTheNames) {
  v1::Ipsec ipsec = cloud("GCMAES256", "", "ECP384");
  ipsec.add_proposals("aes128gcm16-ecp256");
  ipsec.add_proposals("aes256-sha256-modp2048");
  ipsec.set_no_esn(true);
  EXPECT_THAT(esp_proposals(ipsec), ElementsAre("aes128gcm16-ecp256-noesn", "aes256-sha256-modp2048-noesn"));
}

TEST(EspProposals, EveryNameRendersToAProposalThatIsGood) {
  for (const Transform& encryption : esp_encryptions())
    for (const Transform& group : esp_pfs_groups()) {
      v1::Ipsec ipsec = cloud(std::string(encryption.name).c_str(), "", std::string(group.name).c_str());
      ipsec.set_allow_legacy(true);
      for (std::string text : esp_proposals(ipsec)) {
        ASSERT_TRUE(text.ends_with("-esn-noesn"));
        text.resize(text.size() - std::string_view("-esn-noesn").size());
        EXPECT_EQ(fault(text, ipsec), "") << text;
      }
    }
}

TEST(OuterHeader, Dscp) {
  EXPECT_EQ(parse_dscp("").value(), std::nullopt);
  EXPECT_EQ(parse_dscp("copy").value(), std::nullopt);
  EXPECT_EQ(parse_dscp("none").value(), 0);
  EXPECT_EQ(parse_dscp("46").value(), 46);
  for (const char* bad : {"64", "-1", "ef", "4 6", "46x", "99999999999"}) EXPECT_FALSE(parse_dscp(bad)) << bad;
}

}  // namespace
}  // namespace gw::config
