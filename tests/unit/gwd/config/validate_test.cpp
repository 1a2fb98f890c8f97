// Validation beyond single rules (rules_test.cpp has these): several faults, secrets, what is only a warning.
#include "gwd/config/validate.hpp"

#include <gmock/gmock.h>

#include <format>
#include <random>
#include <sstream>

#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::string kConnection =
    "  - name: paris-ce1\n    device: paris/ce1\n    secret: { psk_file: a.psk }\n    ipsec: { encryption: GCMAES256 "
    "}\n";

class Validate : public testing::Test {
 protected:
  void SetUp() override {
    dir_.write("a.psk", "secret-of-a\n");
    dir_.write("b.psk", "secret-of-b\n");
  }
  std::vector<std::string> findings(const std::string& text) { return findings_of(text, dir_.path()); }
  TempDir dir_;
};

TEST_F(Validate, AValidDocumentHasNoFindings) { EXPECT_THAT(findings(kDocument), IsEmpty()); }

TEST_F(Validate, TwoTunnelsOfAnInstanceMayNotShareAPeer) {
  std::string text =
      with(kDocument, "    ipsec: {",
           "    bgp: { addresses: { gw-a: { local: 169.254.21.1, peer: 169.254.21.9 } } }\n    ipsec: {");
  text +=
      "  - name: two\n    device: paris/ce2\n    secret: { psk_file: a.psk }\n    bgp: { addresses: { gw-a: { local: "
      "169.254.21.5, peer: 169.254.21.9 } } }\n";
  EXPECT_THAT(findings(text), ElementsAre("g.yaml:29:60: connections[1].bgp.addresses[gw-a].peer: 169.254.21.9 is also "
                                          "connections[0].bgp.addresses[gw-a].peer (expected an address of its own for "
                                          "each neighbour of an instance)"));
}

TEST_F(Validate, LinkLocalAddressesAreOneHopAway) {
  std::string text = with(kDocument, "address: 198.51.100.1 ", "address: 198.51.100.1, multihop: 2 ");
  EXPECT_THAT(findings(text), IsEmpty());
  text = with(text, "    ipsec: {", "    bgp: { unnumbered: true }\n    ipsec: {");
  EXPECT_THAT(findings(text),
              ElementsAre("g.yaml:24:24: connections[0].bgp.unnumbered: the device has `multihop`, and link-local "
                          "addresses are one hop away (expected no `unnumbered`, or a device without `multihop`)"));
}

TEST_F(Validate, WarningsNeverHideThatThereIsAnError) {
  std::string sites;
  for (int i = 0; i < 120; ++i)
    sites += std::format("  - {{ name: s{}, asn: 65022, devices: [ {{ name: a, address: 198.51.100.3 }} ] }}\n", i);
  const auto found = findings(with(with(kDocument, "connections:", sites + "connections:"), "GCMAES256", "RC4"));
  EXPECT_EQ(found.size(), kMaxFindings + 1);
  EXPECT_THAT(found, testing::Contains(testing::HasSubstr("'RC4' is not offered")));
}

TEST_F(Validate, BgpNeedsASiteWithAsn) {
  std::string text = with(kDocument, "    asn: 65021\n", "    static: [ 10.1.0.0/16 ]\n");
  EXPECT_THAT(findings(text), IsEmpty());
  text = with(text, "    ipsec: {", "    bgp: {}\n    ipsec: {");
  EXPECT_THAT(findings(text), ElementsAre("g.yaml:24:5: connections[0].bgp: site paris has no `asn` (expected an `asn` "
                                          "in the site, or no `bgp` here)"));
}

TEST_F(Validate, ACoveringStaticPrefixIsAcceptedAndASharedOneIsAWarning) {
  std::string text = with(kDocument, "connections:\n",
                          "    static: [ 10.0.0.0/8 ]\n  - { name: lyon, static: [ 10.0.0.0/8 ], devices: [ { name: "
                          "fw, address: 198.51.100.3 } ] }\nconnections:\n");
  text += "  - { name: lyon, device: lyon/fw, secret: { psk_file: a.psk } }\n";
  EXPECT_THAT(
      findings(text),
      ElementsAre("g.yaml:21:29: warning: sites[1].static[0]: 10.0.0.0/8 is also a static prefix of site paris: "
                  "its flows are divided among the tunnels of both (expected the prefix at one site, unless "
                  "both lead to the same network)"));
}

TEST_F(Validate, AnInstanceWithoutTheFamilyGetsAWarningAndNoTunnel) {
  std::string text = with(kDocument, "address: 198.51.100.1 ", "address: \"2001:db8:1::1\" ");
  text = with(text, "{ address: 203.0.113.10 }", "{ address: 203.0.113.10 }, { address: \"2001:db8::10\" }");
  EXPECT_THAT(findings(text), ElementsAre("g.yaml:22:13: warning: connections[0].device: gw-b has no endpoint of the "
                                          "family of 2001:db8:1::1, so no tunnel there (expected an IPv6 endpoint of "
                                          "gw-b, if the site is to have a tunnel to it)"));
}

TEST_F(Validate, AnIpv6OnlyInstanceNeedsARouterId) {
  const std::string text = with(with(kDocument, "address: 203.0.113.11", "address: \"2001:db8::11\""),
                                "address: 203.0.113.10 }", "address: 203.0.113.10 }, { address: \"2001:db8::10\" }");
  EXPECT_THAT(findings(text), ElementsAre("g.yaml:9:7: gateway.instances[1].router_id: is missing (expected an IPv4 "
                                          "address: there is no IPv4 endpoint to take it from)",
                                          "g.yaml:22:13: warning: connections[0].device: gw-b has no endpoint of the "
                                          "family of 198.51.100.1, so no tunnel there (expected an IPv4 endpoint of "
                                          "gw-b, if the site is to have a tunnel to it)"));
}

TEST_F(Validate, AtMostTwoInstances) {
  const std::string third =
      "    - { name: gw-c, wan: { interface: eth0, endpoints: [ { address: 203.0.113.12 } ] }, vnet: { interface: eth1 "
      "} }\nvnet:\n";
  EXPECT_THAT(findings(with(kDocument, "vnet:\n  prefixes", third + "  prefixes")),
              ElementsAre("g.yaml:5:3: gateway.instances: there are 3 (expected 1 or 2)"));
}

TEST_F(Validate, SecretFilesAreCheckedAndNeverShown) {
  const std::string path = dir_.write("a.psk", "hunter2-in-the-open", 0644);
  const auto found = findings(kDocument);
  EXPECT_THAT(found,
              ElementsAre(std::format(
                  "g.yaml:23:25: connections[0].secret.psk_file: {} has mode 0644: others than its owner may use it; "
                  "chmod 600 {} (expected a file with the secret, 1 to 4096 bytes, readable by its owner only)",
                  path, path)));
  EXPECT_THAT(found[0], testing::Not(testing::HasSubstr("hunter2")));
  const Document document = load_document(kDocument, "g.yaml");
  EXPECT_THAT(validate(document, {.base_dir = "/nowhere", .secret_files = ValidateOptions::SecretFiles::kIgnore}),
              IsEmpty());
}

TEST_F(Validate, OneIdentityHasOneKey) {
  dir_.write("same.psk", "secret-of-a\n");
  std::string text = with(kDocument, "address: 198.51.100.1 ", "address: 198.51.100.1, identity: ce.paris ");
  text = with(text, "address: 198.51.100.2 ", "address: 198.51.100.2, identity: ce.paris ");
  const std::string second = "  - name: two\n    device: paris/ce2\n    secret: { psk_file: b.psk }\n";
  EXPECT_THAT(
      findings(text + second),
      ElementsAre("g.yaml:27:25: connections[1].secret.psk_file: another key than that of connection paris-ce1, "
                  "whose device has the same identity, ce.paris (expected the same key, or an `identity` of its "
                  "own for each device)"));
  EXPECT_THAT(findings(text + with(second, "b.psk", "same.psk")), IsEmpty());
  EXPECT_THAT(findings(text + second + "    disabled: true\n"), IsEmpty());
  EXPECT_THAT(findings(with(text, "identity: ce.paris", "identity: ce1.paris") + second), IsEmpty());
}

TEST_F(Validate, AnMd5KeyIsBoundedByTheKernel) {
  dir_.write("long.md5", std::string(81, 'x'));
  EXPECT_THAT(findings(with(kDocument, "ipsec: {", "bgp: { md5_file: long.md5 }\n    ipsec: {")),
              ElementsAre(std::format(
                  "g.yaml:24:22: connections[0].bgp.md5_file: the secret in {} has 81 bytes (expected at most 80)",
                  dir_.file("long.md5"))));
  dir_.write("two.md5", "two words");
  EXPECT_THAT(findings(with(kDocument, "ipsec: {", "bgp: { md5_file: two.md5 }\n    ipsec: {")),
              ElementsAre(std::format(
                  "g.yaml:24:22: connections[0].bgp.md5_file: the secret in {} has blanks or characters that BGP "
                  "passwords cannot have (expected one word of printable ASCII)",
                  dir_.file("two.md5"))));
}

TEST_F(Validate, TheRangeOfInnerAddressesIsBounded) {
  std::string text = with(kDocument, "connections:\n" + kConnection, "");
  std::string devices;
  std::string connections = "connections:\n";
  for (int i = 0; i < 65; ++i) {
    devices += std::format("      - {{ name: d{}, address: 198.51.100.{} }}\n", i, i + 100);
    connections += std::format("  - {{ name: c{}, device: paris/d{}, secret: {{ psk_file: a.psk }} }}\n", i, i);
  }
  text += devices + connections;
  EXPECT_THAT(findings(text),
              ElementsAre(testing::HasSubstr(
                              "connections[64]: no inner addresses are left for c64/gw-a: the range of an instance "
                              "has 64 (expected bgp.addresses of its own)"),
                          testing::HasSubstr("no inner addresses are left for c64/gw-b")));
}

TEST_F(Validate, SeveralFaultsComeInTheTextsOrder) {
  const std::string text =
      with(with(with(kDocument, "GCMAES256", "DES"), "asn: 65515", "asn: 0"), "10.0.0.0/16", "10.0.0.0");
  EXPECT_THAT(findings(text), ElementsAre(testing::StartsWith("g.yaml:4:8:"), testing::StartsWith("g.yaml:13:15:"),
                                          testing::StartsWith("g.yaml:24:26:")));
}

TEST_F(Validate, ASyntaxErrorIsTheOnlyFinding) { EXPECT_EQ(findings("vnet: [\n").size(), 1U); }

TEST_F(Validate, MutatedDocumentsNeverCrash) {
  std::mt19937 random(99);
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  std::vector<std::string> lines;
  std::istringstream in(kDocument);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  for (int round = 0; round < 1500; ++round) {
    std::string text;
    for (const std::string& line : lines) {
      const std::size_t fate = below(20);
      if (fate == 0) continue;
      text += line;
      if (fate == 1) text.resize(text.size() - std::min(text.size(), below(8)));
      if (fate == 2) text += std::to_string(below(1'000'000'000));
      text += "\n";
      if (fate == 3) text += line + "\n";
    }
    for (const std::string& finding : findings(text)) EXPECT_FALSE(finding.empty());
  }
}

}  // namespace
}  // namespace gw::config
