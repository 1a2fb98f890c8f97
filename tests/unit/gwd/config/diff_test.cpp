// The lines of a diff, kind by kind.
#include "gwd/config/diff.hpp"

#include <gmock/gmock.h>

#include "gwd/config/yaml_loader.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> between(const std::string& from, const std::string& to) {
  return diff(load_document(from, "a").config, load_document(to, "b").config);
}

TEST(Diff, EqualDocumentsHaveNone) {
  EXPECT_THAT(between(kDocument, kDocument), IsEmpty());
  EXPECT_THAT(between(kDocument, "# a comment\n" + kDocument), IsEmpty());
}

TEST(Diff, Values) {
  EXPECT_THAT(between(kDocument, with(kDocument, "asn: 65515", "asn: 65001")),
              ElementsAre("~ gateway.asn: 65515 -> 65001"));
  const std::string longer = with(kDocument, "GCMAES256", "GCMAES256, lifetime: 27000s");
  EXPECT_THAT(between(kDocument, longer), ElementsAre("+ connections[paris-ce1].ipsec.lifetime: 27000s"));
  EXPECT_THAT(between(longer, with(longer, "27000s", "3600s")),
              ElementsAre("~ connections[paris-ce1].ipsec.lifetime: 27000s -> 3600s"));
  EXPECT_THAT(between(longer, kDocument), ElementsAre("- connections[paris-ce1].ipsec.lifetime: 27000s"));
  const std::string more = kDocument + "    initiate: responder-only\n    disabled: true\n";
  EXPECT_THAT(between(kDocument, more), ElementsAre("+ connections[paris-ce1].initiate: responder-only",
                                                    "+ connections[paris-ce1].disabled: true"));
}

TEST(Diff, ListsAreKeyedByName) {
  const std::string lyon = "  - { name: lyon, asn: 65022, devices: [ { name: fw, address: 198.51.100.3 } ] }\n";
  const std::string two = with(kDocument, "connections:", lyon + "connections:");
  EXPECT_THAT(between(kDocument, two), ElementsAre("+ sites[lyon]"));
  EXPECT_THAT(between(two, kDocument), ElementsAre("- sites[lyon]"));
  EXPECT_THAT(between(two, with(two, "198.51.100.3", "198.51.100.4")),
              ElementsAre("~ sites[lyon].devices[fw].address: 198.51.100.3 -> 198.51.100.4"));
  EXPECT_THAT(between(kDocument, with(kDocument, "203.0.113.10", "203.0.113.12")),
              ElementsAre("- gateway.instances[gw-a].wan.endpoints[203.0.113.10]",
                          "+ gateway.instances[gw-a].wan.endpoints[203.0.113.12]"));
}

TEST(Diff, OrderMattersToAllocationSoItIsShown) {
  const std::string one = "connections: [ { name: a }, { name: b }, { name: c } ]\n";
  EXPECT_THAT(between(one, "connections: [ { name: b }, { name: a }, { name: c } ]\n"),
              ElementsAre("~ connections: order changed"));
  EXPECT_THAT(between(one, "connections: [ { name: a }, { name: c } ]\n"), ElementsAre("- connections[b]"));
}

TEST(Diff, TextListsMapsAndWholeSections) {
  EXPECT_THAT(between(kDocument, with(kDocument, "[ 10.0.0.0/16 ]", "[ 10.1.0.0/16 ]")),
              ElementsAre("- vnet.prefixes: 10.0.0.0/16", "+ vnet.prefixes: 10.1.0.0/16"));
  const std::string bgp = kDocument + "    bgp: { addresses: { gw-a: { local: 169.254.21.1, peer: 169.254.21.2 } } }\n";
  EXPECT_THAT(between(kDocument, bgp), ElementsAre("+ connections[paris-ce1].bgp"));
  EXPECT_THAT(between(bgp, with(bgp, "169.254.21.2", "169.254.21.6")),
              ElementsAre("~ connections[paris-ce1].bgp.addresses[gw-a].peer: 169.254.21.2 -> 169.254.21.6"));
  EXPECT_THAT(
      between(bgp, with(bgp, "gw-a: { local", "gw-b: { local")),
      ElementsAre("- connections[paris-ce1].bgp.addresses[gw-a]", "+ connections[paris-ce1].bgp.addresses[gw-b]"));
}

}  // namespace
}  // namespace gw::config
