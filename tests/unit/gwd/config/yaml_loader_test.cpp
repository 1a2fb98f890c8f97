// The loader's faults, one by one, in the exact words that operators see; and that no text whatever makes it
// crash or run away.
#include "gwd/config/yaml_loader.hpp"

#include <gmock/gmock.h>

#include <chrono>
#include <random>

#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> faults(const std::string& text) {
  std::vector<std::string> out;
  for (const Finding& finding : load_document(text, "g.yaml").findings) out.push_back(finding.describe());
  return out;
}

TEST(YamlLoader, AValidDocumentIsLoadedWithPositions) {
  const Document document = load_document(kDocument, "g.yaml");
  EXPECT_THAT(document.findings, IsEmpty());
  EXPECT_EQ(document.config.gateway().asn(), 65515U);
  EXPECT_EQ(document.config.gateway().instances(1).wan().endpoints(0).address(), "203.0.113.11");
  EXPECT_EQ(document.config.connections(0).ipsec().encryption(), "GCMAES256");
  EXPECT_EQ(document.source.find("connections[0].ipsec.encryption"), (Position{24, 26}));
  EXPECT_EQ(document.source.find("connections[0].ipsec"), (Position{24, 5}));
  // What is missing stands where its mapping begins.
  EXPECT_EQ(document.source.find("connections[0].ipsec.pfs"), (Position{24, 5}));
  EXPECT_EQ(document.source.find("sites[0].devices[1].identity"), (Position{19, 9}));
  EXPECT_EQ(document.source.find("nothing"), (Position{1, 1}));
}

TEST(YamlLoader, EveryKindOfValueIsRead) {
  const Document document = load_document(R"(
sites: [ { name: "quoted", static: [ 10.1.0.0/16, 10.2.0.0/16 ] } ]
gateway: { instances: [ { wan: { endpoints: [ { public: 203.0.113.1 } ] } } ] }
connections:
  - initiate: default
  - initiate: initiator-only
    udp_encapsulation: true
    disabled: false
    ipsec: { lifetime_kb: 18446744073709551615 }
    bgp: { addresses: { gw-a: { local: 169.254.21.1, peer: 169.254.21.2 } } }
  - initiate: responder-only
    bgp: {}
)",
                                          "g.yaml");
  EXPECT_THAT(document.findings, IsEmpty());
  EXPECT_EQ(document.config.sites(0).static_(1), "10.2.0.0/16");
  EXPECT_EQ(document.config.gateway().instances(0).wan().endpoints(0).public_(), "203.0.113.1");
  const v1::Connection& second = document.config.connections(1);
  EXPECT_EQ(document.config.connections(0).initiate(), v1::INITIATE_DEFAULT);
  EXPECT_EQ(second.initiate(), v1::INITIATOR_ONLY);
  EXPECT_TRUE(second.udp_encapsulation());
  EXPECT_EQ(second.ipsec().lifetime_kb(), 18446744073709551615ULL);
  EXPECT_EQ(second.bgp().addresses().at("gw-a").peer(), "169.254.21.2");
  EXPECT_EQ(document.config.connections(2).initiate(), v1::RESPONDER_ONLY);
  EXPECT_TRUE(document.config.connections(2).has_bgp());
}

struct Fault {
  const char* text;
  const char* message;
};

class YamlFault : public testing::TestWithParam<Fault> {};

TEST_P(YamlFault, IsNamedExactly) { EXPECT_THAT(faults(GetParam().text), ElementsAre(GetParam().message)); }

INSTANTIATE_TEST_SUITE_P(
    Keys, YamlFault,
    testing::Values(
        Fault{"version: 1\nvnett: {}\n",
              "g.yaml:2:1: unknown key 'vnett', did you mean 'vnet'? (expected one of version, gateway, vnet, sites, "
              "connections, profiles, management, circuits, coexistence, policy)"},
        Fault{"vnet:\n  next-hop: 10.0.0.1\n",
              "g.yaml:2:3: vnet: unknown key 'next-hop', did you mean 'next_hop'? (expected one of prefixes, next_hop, "
              "routers, peerings, next_hop6)"},
        Fault{"vnet: { zzz: 1 }\n",
              "g.yaml:1:9: vnet: unknown key 'zzz' (expected one of prefixes, next_hop, routers, peerings, next_hop6)"},
        Fault{"management: { port: 1 }\n", "g.yaml:1:15: management: unknown key 'port' (expected metrics)"},
        Fault{"vnet:\n  next_hop: 10.0.0.1\n  next_hop: 10.0.0.2\n",
              "g.yaml:3:3: vnet: duplicate key 'next_hop', first in line 2 (expected each key once)"},
        Fault{"? [ a ]\n: b\n", "g.yaml:1:3: a key is a list (expected a word)"},
        Fault{
            "connections: [ { bgp: { addresses: { a: {}, a: {} } } } ]\n",
            "g.yaml:1:45: connections[0].bgp.addresses: duplicate key 'a', first in line 1 (expected each key once)"}));

INSTANTIATE_TEST_SUITE_P(
    Values, YamlFault,
    testing::Values(
        Fault{"version: one\n",
              "g.yaml:1:10: version: 'one' is not a number (expected a whole number from 0 to 4294967295)"},
        Fault{"version: '1'\n",
              "g.yaml:1:10: version: '1' is text because of its quotes (expected a whole number from 0 to 4294967295)"},
        Fault{"version: -1\n",
              "g.yaml:1:10: version: -1 is out of range (expected a whole number from 0 to 4294967295)"},
        Fault{"version: 4294967296\n",
              "g.yaml:1:10: version: 4294967296 is out of range (expected a whole number from 0 to 4294967295)"},
        Fault{"version: 010\n",
              "g.yaml:1:10: version: '010' has a leading zero (expected a whole number from 0 to 4294967295)"},
        Fault{"version: 0x1\n",
              "g.yaml:1:10: version: '0x1' is not a number (expected a whole number from 0 to 4294967295)"},
        Fault{"version: [ 1 ]\n", "g.yaml:1:10: version: is a list (expected a whole number)"},
        Fault{"connections: [ { ipsec: { lifetime_kb: 18446744073709551616 } } ]\n",
              "g.yaml:1:40: connections[0].ipsec.lifetime_kb: 18446744073709551616 is out of range (expected a whole "
              "number from 0 to "
              "18446744073709551615)"},
        Fault{"vnet: 10.0.0.0/16\n",
              "g.yaml:1:7: vnet: is a single value (expected a mapping with prefixes, next_hop, routers, peerings, "
              "next_hop6)"},
        Fault{"vnet: { prefixes: 10.0.0.0/16 }\n",
              "g.yaml:1:19: vnet.prefixes: is a single value (expected a list: [ ... ] or lines that begin with '- ')"},
        Fault{"vnet: { prefixes: [ { a: b } ] }\n", "g.yaml:1:21: vnet.prefixes[0]: is a mapping (expected text)"},
        Fault{"vnet: { prefixes: [ [ a ] ] }\n", "g.yaml:1:21: vnet.prefixes[0]: is a list (expected text)"},
        Fault{"sites: [ paris ]\n",
              "g.yaml:1:10: sites[0]: is a single value (expected a mapping with name, asn, devices, static, kind, "
              "isolate)"},
        Fault{"sites:\n", "g.yaml:1:1: sites: has no value (expected a list, or leave the key out)"},
        Fault{"sites: [ ~ ]\n", "g.yaml:1:10: sites[0]: has no value (expected a mapping (key: value))"},
        Fault{"gateway: { name: }\n", "g.yaml:1:12: gateway.name: has no value (expected text, or leave the key out)"},
        Fault{"gateway: { name: \"a\\nneighbor 1.2.3.4\" }\n",
              "g.yaml:1:18: gateway.name: has a line break or control character in it (expected one line of text)"},
        Fault{"connections: [ { disabled: yes } ]\n",
              "g.yaml:1:28: connections[0].disabled: 'yes' is not true or false (expected true or false)"},
        Fault{"connections: [ { initiate: initiator_only } ]\n",
              "g.yaml:1:28: connections[0].initiate: unknown value 'initiator_only', did you mean 'initiator-only'? "
              "(expected one of default, "
              "initiator-only, responder-only)"},
        Fault{"connections: [ { initiate: 1 } ]\n",
              "g.yaml:1:28: connections[0].initiate: unknown value '1' (expected one of default, initiator-only, "
              "responder-only)"},
        Fault{"connections: [ { bgp: { addresses: [] } } ]\n",
              "g.yaml:1:36: connections[0].bgp.addresses: is a list (expected a mapping (name: value))"}));

INSTANTIATE_TEST_SUITE_P(
    Text, YamlFault,
    testing::Values(
        Fault{"",
              "g.yaml:1:1: the document is empty (expected version, gateway, vnet, ...; see docs/configuration.md)"},
        Fault{"# nothing\n",
              "g.yaml:1:1: the document is empty (expected version, gateway, vnet, ...; see docs/configuration.md)"},
        Fault{"just words\n",
              "g.yaml:1:1: is a single value (expected a mapping with version, gateway, vnet, sites, connections, "
              "profiles, management, circuits, coexistence, policy)"},
        Fault{"version: 1\n---\nversion: 1\n",
              "g.yaml:3:1: a second document begins here (expected one document a file (no '---' in between))"},
        Fault{"vnet:\n\tnext_hop: 10.0.0.1\n", "g.yaml:2:1: tab used for indentation (expected spaces)"},
        Fault{"vnet: [ 1, 2\n", "g.yaml:2:1: not valid YAML: end of sequence flow not found"},
        Fault{"a: b: c\n",
              "g.yaml:1:5: not valid YAML: illegal map value (expected `key: value`, keys of one mapping in the same "
              "column)"},
        Fault{"version: \"\xff\"\n",
              "g.yaml:1:11: the file is not text: invalid UTF-8 (expected a YAML document in UTF-8)"},
        Fault{"version: \x01\n", "g.yaml:1:10: control character 0x01 (expected text)"},
        Fault{"vnet: &a { next_hop: 10.0.0.1 }\n",
              "g.yaml:1:7: anchors (&name) are not supported (expected the value without an anchor)"},
        Fault{"vnet: { next_hop: !secret x }\n",
              "g.yaml:1:19: tags (!name) are not supported (expected the value without a tag)"}));

// A mistake in `secret` may have put the secret itself into the document.
INSTANTIATE_TEST_SUITE_P(
    SecretsAreNotShown, YamlFault,
    testing::Values(
        Fault{"connections: [ { secret: hunter2 } ]\n",
              "g.yaml:1:26: connections[0].secret: is a single value (expected a mapping with psk_file)"},
        Fault{"connections: [ { secret: { hunter2: x } } ]\n",
              "g.yaml:1:28: connections[0].secret: unknown key (expected psk_file)"},
        Fault{"connections: [ { secret: { psk: hunter2 } } ]\n",
              "g.yaml:1:28: connections[0].secret: unknown key 'psk', did you mean 'psk_file'? (expected psk_file)"},
        Fault{"connections: [ { secret: { psk_file: [ hunter2 ] } } ]\n",
              "g.yaml:1:38: connections[0].secret.psk_file: is a list (expected text)"}));

TEST(YamlLoader, AllFaultsAreCollected) {
  EXPECT_THAT(
      faults("version: x\nfoo: 1\nvnet:\n  prefixes: 3\n"),
      ElementsAre(testing::StartsWith("g.yaml:1:10: version:"), testing::StartsWith("g.yaml:2:1: unknown key 'foo'"),
                  testing::StartsWith("g.yaml:4:13: vnet.prefixes:")));
}

TEST(YamlLoader, AliasesAreRefusedWhereTheyStand) {
  EXPECT_THAT(faults("gateway: { name: &x a }\nvnet: { next_hop: *x }\n"),
              ElementsAre("g.yaml:1:18: anchors (&name) are not supported (expected the value without an anchor)",
                          "g.yaml:2:19: aliases (*name) are not supported (expected the value itself)"));
}

TEST(YamlLoader, BillionLaughsIsShortWork) {
  std::string bomb = "a0: &a0 [ lol ]\n";
  for (int i = 1; i < 40; ++i) bomb += std::format("a{}: &a{} [ *a{}, *a{}, *a{} ]\n", i, i, i - 1, i - 1, i - 1);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_LE(load_document(bomb, "g.yaml").findings.size(), kMaxFindings);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(YamlLoader, DepthSizeAndNumberOfValuesAreBounded) {
  EXPECT_THAT(faults("a: " + std::string(100'000, '[')),
              ElementsAre(testing::EndsWith("the document is nested too deeply (expected at most 32 levels)")));
  std::string deep = "a:\n";
  for (std::size_t i = 1; i <= kMaxDepth; ++i) deep += std::string(i, ' ') + "b:\n";
  EXPECT_THAT(faults(deep),
              ElementsAre("g.yaml:33:33: the document is nested too deeply (expected at most 32 levels)"));
  EXPECT_THAT(faults(std::string(kMaxDocumentBytes + 1, ' ')),
              ElementsAre("g.yaml: the file has 4194305 bytes (expected at most 4194304)"));
  std::string many = "vnet:\n  prefixes:\n";
  for (std::size_t i = 0; i < kMaxValues + 10; ++i) many += "    - a\n";
  EXPECT_THAT(faults(many),
              ElementsAre(testing::HasSubstr("the document is too large (expected at most 200000 values)")));
  std::string wrong;
  for (int i = 0; i < 1000; ++i) wrong += std::format("key{}: 1\n", i);
  EXPECT_EQ(faults(wrong).size(), kMaxFindings);
}

// Random edits of a valid document: it loads or is refused, and does not crash (the sanitizers watch).
TEST(YamlLoader, MutatedDocumentsNeverCrash) {
  std::mt19937 random(20260101);
  const std::string alphabet = "{}[]:,-&*!|>'\"%@`#? \n\t0aZ\\~\xc3\xa9";
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = kDocument;
    for (std::size_t edits = 1 + below(8); edits > 0; --edits) {
      const std::size_t at = below(text.size());
      switch (below(4)) {
        case 0: text[at] = alphabet[below(alphabet.size())]; break;
        case 1: text.insert(at, 1, alphabet[below(alphabet.size())]); break;
        case 2: text.erase(at, 1 + below(12)); break;
        default: text.insert(at, text.substr(below(text.size()), below(60))); break;
      }
    }
    const Document document = load_document(text, "g.yaml");
    if (!document.findings.empty()) ++refused;
    for (const Finding& finding : document.findings) EXPECT_FALSE(finding.message.empty());
  }
  EXPECT_GT(refused, 1500);  // the edits do bite
}

TEST(YamlLoader, RandomBytesNeverCrash) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(std::uniform_int_distribution<std::size_t>(1, 200)(random), ' ');
    const bool ascii = round % 2 == 0;
    for (char& c : text)
      c = static_cast<char>(std::uniform_int_distribution<int>(ascii ? 9 : 0, ascii ? 126 : 255)(random));
    EXPECT_FALSE(load_document(text, "g.yaml").findings.empty());
  }
}

}  // namespace
}  // namespace gw::config
