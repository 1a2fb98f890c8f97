// Two instances that are one gateway: what the document becomes, and every rule of its validation once, by one edit.
#include <gmock/gmock.h>

#include "gwd/config/compile.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

const std::string kPair = R"(version: 1
gateway:
  name: hub-east
  mode: active-standby
  preferred: gw-b
  lease: { kind: embedded }
  ha: { failback: manual, heartbeat: 100ms, port: 9700 }
  instances:
    - name: gw-a
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.10 } ] }
      vnet: { interface: eth1, address: 10.0.0.4 }
      sync: [ 10.255.0.1, "2001:db8:ff::1" ]
    - name: gw-b
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.11, move: hook, hook: /opt/move } ] }
      vnet: { interface: eth1, address: 10.0.0.5 }
      sync: [ 10.255.0.2, "2001:db8:ff::2" ]
vnet:
  prefixes: [ 10.0.0.0/16 ]
)";

std::optional<HaModel> ha_of(const std::string& text, const std::string& instance) {
  const Compiled compiled = compile({text, "/etc/gw/gateway.yaml", instance});
  for (const Finding& finding : compiled.findings) ADD_FAILURE() << finding.describe();
  return compiled.model ? compiled.model->ha : std::nullopt;
}

TEST(HaModel, IsTheDocumentsWithDefaults) {
  const auto ha = ha_of(kPair, "gw-b");
  ASSERT_TRUE(ha.has_value());
  EXPECT_EQ(ha->self, 1U);
  EXPECT_EQ(ha->peer(), 0U);
  EXPECT_EQ(ha->mode, HaMode::kActiveStandby);
  EXPECT_EQ(ha->preferred, 1U);
  ASSERT_EQ(ha->instances.size(), 2U);
  EXPECT_THAT(ha->instances[0].sync,
              ElementsAre(IpAddress::parse("10.255.0.1").value(), IpAddress::parse("2001:db8:ff::1").value()));
  EXPECT_EQ(ha->instances[0].vnet_address, IpAddress::parse("10.0.0.4").value());
  ASSERT_EQ(ha->endpoints.size(), 2U);
  EXPECT_EQ(ha->endpoints[0].home, 0U);
  EXPECT_EQ(ha->endpoints[0].move, MoveBy::kGarp);
  EXPECT_EQ(ha->endpoints[1].home, 1U);
  EXPECT_EQ(ha->endpoints[1].move, MoveBy::kHook);
  EXPECT_EQ(ha->endpoints[1].hook, "/opt/move");
  EXPECT_EQ(ha->failback, Failback::kManual);
  EXPECT_EQ(ha->failback_delay, milliseconds(60'000));
  EXPECT_EQ(ha->heartbeat, milliseconds(100));
  EXPECT_EQ(ha->multiplier, 3U);
  EXPECT_EQ(ha->port, 9700);
  EXPECT_EQ(ha->tls_dir, "/etc/gw/ha");
}

TEST(HaModel, DiffersOnTheOtherInstanceInSelfAlone) {
  auto one = ha_of(kPair, "gw-a");
  const auto other = ha_of(kPair, "gw-b");
  ASSERT_TRUE(one && other);
  EXPECT_NE(*one, *other);
  one->self = other->self;
  EXPECT_EQ(*one, *other);
}

TEST(HaModel, IsAbsentWithoutSync) {
  EXPECT_FALSE(ha_of(R"(version: 1
gateway:
  name: hub-east
  instances:
    - name: gw-a
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.10 } ] }
      vnet: { interface: eth1 }
vnet: { prefixes: [ 10.0.0.0/16 ] }
)",
                     "gw-a")
                   .has_value());
}

TEST(HaModel, HasEtcd) {
  const TempDir dir;
  dir.write("ca.crt", "x");
  const std::string text = with(kPair, "{ kind: embedded }",
                                "{ kind: etcd, endpoints: [ 'https://192.0.2.1:2379', 'https://[2001:db8::1]:2379' ], "
                                "tls: { ca_file: ca.crt } }");
  const Compiled compiled = compile({text, dir.file("gateway.yaml"), "gw-a"});
  ASSERT_TRUE(compiled.model.has_value());
  const HaModel& ha = compiled.model->ha.value();
  EXPECT_EQ(ha.lease, LeaseKind::kEtcd);
  EXPECT_THAT(ha.etcd.endpoints, ElementsAre("https://192.0.2.1:2379", "https://[2001:db8::1]:2379"));
  EXPECT_EQ(ha.etcd.ca_file, dir.file("ca.crt"));
  EXPECT_EQ(ha.etcd.ttl, std::chrono::seconds(5));
}

struct Edit {
  std::string from;
  std::string to;
  std::string finding;
};

class HaRule : public testing::TestWithParam<Edit> {};

TEST_P(HaRule, IsReportedOnce) {
  const TempDir dir;
  EXPECT_THAT(findings_of(with(kPair, GetParam().from, GetParam().to), dir.path()), ElementsAre(GetParam().finding));
}

INSTANTIATE_TEST_SUITE_P(
    Sync, HaRule,
    testing::Values(
        Edit{"      sync: [ 10.255.0.2, \"2001:db8:ff::2\" ]\n", "",
             "g.yaml:13:7: gateway.instances[1].sync: is missing (expected one or two addresses: both need them)"},
        Edit{"10.255.0.2, \"2001:db8:ff::2\"", "10.255.0.2",
             "g.yaml:16:7: gateway.instances[1].sync: gw-a has 2, gw-b has 1 (expected as many sync addresses on both "
             "instances)"},
        Edit{"10.255.0.2, \"2001:db8:ff::2\"", "10.255.0.2, 10.255.1.2",
             "g.yaml:16:27: gateway.instances[1].sync[1]: 2001:db8:ff::1 and 10.255.1.2 cannot reach each other "
             "(expected two of one family)"},
        Edit{"10.255.0.2", "10.255.0.1",
             "g.yaml:16:15: gateway.instances[1].sync[0]: 10.255.0.1 is also gateway.instances[0].sync[0] (expected an "
             "address of its own)"},
        Edit{
            "10.255.0.2", "203.0.113.10",
            "g.yaml:16:15: gateway.instances[1].sync[0]: 203.0.113.10 is an endpoint of gw-a, which moves (expected an "
            "address that stays with this instance)"},
        Edit{"10.255.0.2", "10.0.0.4",
             "g.yaml:16:15: gateway.instances[1].sync[0]: 10.0.0.4 is the VNet address of gw-a (expected an address "
             "that stays with this instance)"},
        Edit{"10.255.0.2, \"2001:db8:ff::2\"", "10.255.0.2, \"2001:db8:ff::2\", 10.1.1.1",
             "g.yaml:16:7: gateway.instances[1].sync: there are 3 (expected one or two addresses)"},
        Edit{", address: 10.0.0.5", "",
             "g.yaml:15:7: gateway.instances[1].vnet.address: is missing: the heartbeat of the data path goes between "
             "the VNet addresses (expected the instance's own address on the VNet)"}));

INSTANTIATE_TEST_SUITE_P(
    Gateway, HaRule,
    testing::Values(
        Edit{"active-standby", "active-active",
             "g.yaml:5:14: gateway.preferred: is for active-standby: in active-active each has its own endpoints "
             "(expected `mode: active-standby`, or no `preferred`)"},
        Edit{"preferred: gw-b", "preferred: gw-c",
             "g.yaml:5:14: gateway.preferred: there is no instance 'gw-c' (expected a name of gateway.instances)"},
        Edit{"heartbeat: 100ms", "failback_delay: 2s",
             "g.yaml:7:43: warning: gateway.ha.failback_delay: a site's router that has not heard all routes again by "
             "then drops them for seconds (RFC 4724 4.2) (expected 10s or more)"},
        Edit{"heartbeat: 100ms", "heartbeat: 10ms",
             "g.yaml:7:38: gateway.ha.heartbeat: 10ms is out of range (expected 20ms to 5000ms)"},
        Edit{"port: 9700", "port: 70000", "g.yaml:7:51: gateway.ha.port: 70000 is out of range (expected 1 to 65535)"},
        Edit{"port: 9700", "multiplier: 1", "g.yaml:7:57: gateway.ha.multiplier: 1 is out of range (expected 2 to 50)"},
        Edit{
            ", hook: /opt/move", "",
            "g.yaml:14:44: gateway.instances[1].wan.endpoints[0].hook: is missing (expected the program that moves the "
            "address)"},
        Edit{"move: hook, ", "",
             "g.yaml:14:75: gateway.instances[1].wan.endpoints[0].hook: is run by `move: hook` only (expected `move: "
             "hook`, or no `hook`)"},
        Edit{"hook: /opt/move", "hook: move --now",
             "g.yaml:14:87: gateway.instances[1].wan.endpoints[0].hook: 'move --now' is not an absolute path (expected "
             "a program, e.g. /usr/local/lib/gw/move-address)"}));

INSTANTIATE_TEST_SUITE_P(
    Lease, HaRule,
    testing::Values(
        Edit{"kind: embedded", "ttl: 5s",
             "g.yaml:6:17: gateway.lease.ttl: is for etcd (expected `kind: etcd`, or no such key)"},
        Edit{"kind: embedded", "kind: etcd",
             "g.yaml:6:3: gateway.lease.endpoints: is missing (expected etcd's addresses)"},
        Edit{"kind: embedded", "kind: etcd, endpoints: [ 'https://192.0.2.1:2379' ]",
             "g.yaml:6:3: gateway.lease.tls: is missing (expected { ca_file }: whom to believe to be etcd)"},
        Edit{"kind: embedded", "kind: etcd, endpoints: [ 'http://192.0.2.1:2379' ]",
             "g.yaml:6:24: warning: gateway.lease.endpoints: whoever is on the way to etcd can take the gateway over "
             "(expected https, and `tls`)"}));

// Keys that mean nothing while each instance is on its own.
TEST(HaRules, NeedTwoInstancesWithSync) {
  const TempDir dir;
  std::string text = with(kPair, "      sync: [ 10.255.0.1, \"2001:db8:ff::1\" ]\n", "");
  text = with(text, "      sync: [ 10.255.0.2, \"2001:db8:ff::2\" ]\n", "");
  const auto alone = [](std::string_view at, std::string_view key) {
    return std::format(
        "g.yaml:{}: gateway.{}: needs two instances with `sync`: without it, each is on its own (expected `sync: [ "
        "address ]` in both instances)",
        at, key);
  };
  EXPECT_THAT(findings_of(text, dir.path()),
              ElementsAre(alone("4:9", "mode"), alone("5:14", "preferred"), alone("6:3", "lease"), alone("7:3", "ha")));
}

// A site that has no other way than the endpoint that is taken over.
TEST(HaRules, WarnOfBfdThatIsSoonerThanATakeover) {
  const TempDir dir;
  dir.write("a.psk", "x");
  const std::string pair = with(kPair, "heartbeat: 100ms, ", "") + R"(sites:
  - { name: paris, asn: 65021, devices: [ { name: ce1, address: 198.51.100.1 } ] }
  - { name: lyon, static: [ 172.16.0.0/16 ], devices: [ { name: fw, address: 198.51.100.2 } ] }
connections:
  - { name: paris-ce1, device: paris/ce1, secret: { psk_file: a.psk }, bgp: { hold: 9s } }
  - { name: lyon, device: lyon/fw, secret: { psk_file: a.psk } }
)";
  const auto found = [&](const std::string& text) { return findings_of(text, dir.path()); };
  const auto warning = [](int takeover, int least) {
    return testing::AllOf(testing::StartsWith("g.yaml:23:"),
                          testing::EndsWith(std::format(" warning: connections[0].bgp.bfd: notices a takeover (about "
                                                        "{} ms) after 300 ms: BGP with site paris may end "
                                                        "then, takes about 3 s to be back, and nothing else leads "
                                                        "there meanwhile (expected `bfd: {{ interval: {}ms, "
                                                        "multiplier: 3 }}`, at the devices as well)",
                                                        takeover, least)));
  };
  EXPECT_THAT(found(pair), ElementsAre(warning(350, 300)));
  EXPECT_THAT(found(with(pair, "failback: manual", "failback: manual, heartbeat: 100ms")),
              ElementsAre(warning(500, 400)));
  for (const char* enough : {"bfd: { interval: 300ms }", "bfd: { multiplier: 7 }", "no_bfd: true"})
    EXPECT_THAT(found(with(pair, "hold: 9s", enough)), testing::IsEmpty()) << enough;
  const std::string both = with(pair, "  mode: active-standby\n  preferred: gw-b\n", "");
  EXPECT_THAT(found(both), testing::IsEmpty()) << "the other tunnel is another way";
  // gw-b has no endpoint of this family.
  const std::string one = with(with(both, "198.51.100.1 ", "'2001:db8:1::1' "), "{ address: 203.0.113.10 }",
                               "{ address: 203.0.113.10 }, { address: '2001:db8::10' }");
  EXPECT_THAT(found(one), testing::Contains(testing::HasSubstr("connections[0].bgp.bfd: notices a takeover")));
}

// Whoever takes over has both tunnels, and bgpd knows sessions by the peer's address alone.
TEST(HaRules, WarnOfOnePeerBehindBothInstancesTunnels) {
  const TempDir dir;
  dir.write("a.psk", "x");
  const std::string pair = with(kPair, "  mode: active-standby\n  preferred: gw-b\n", "") + R"(sites:
  - { name: paris, asn: 65021, devices: [ { name: ce1, address: 198.51.100.1, loopback: 10.10.30.254 } ] }
connections:
  - { name: paris-ce1, device: paris/ce1, secret: { psk_file: a.psk } }
)";
  const auto found = [&](const std::string& text) { return findings_of(text, dir.path()); };
  EXPECT_THAT(found(pair), ElementsAre(testing::HasSubstr(
                               "warning: connections[0].device: paris-ce1/gw-a and paris-ce1/gw-b have one BGP peer, "
                               "10.10.30.254")));
  EXPECT_THAT(found(with(pair, ", loopback: 10.10.30.254", "")), testing::IsEmpty());
}

TEST(HaRules, NameSomeOfManySitesInOneWarning) {
  const TempDir dir;
  dir.write("a.psk", "x");
  std::string sites = "sites:\n";
  std::string connections = "connections:\n";
  for (int i = 1; i <= 5; ++i) {
    sites += std::format("  - {{ name: s{}, asn: 65021, devices: [ {{ name: a, address: 198.51.100.{} }} ] }}\n", i, i);
    connections += std::format("  - {{ name: c{}, device: s{}/a, secret: {{ psk_file: a.psk }} }}\n", i, i);
  }
  EXPECT_THAT(findings_of(kPair + sites + connections, dir.path()),
              ElementsAre(testing::HasSubstr("BGP with sites s1, s2, s3 and 2 more may end")));
}

class EtcdAddress : public testing::TestWithParam<const char*> {};

TEST_P(EtcdAddress, IsRefused) {
  const TempDir dir;
  dir.write("ca.crt", "x");
  const auto findings = findings_of(
      with(kPair, "kind: embedded",
           std::format("kind: etcd, endpoints: [ '{}', 'https://192.0.2.1:2379' ], tls: {{ ca_file: ca.crt }}",
                       GetParam())),
      dir.path());
  EXPECT_THAT(findings, ElementsAre(testing::HasSubstr("is no address of etcd")));
}

INSTANTIATE_TEST_SUITE_P(All, EtcdAddress,
                         testing::Values("https://192.0.2.1", "192.0.2.1:2379", "https://:2379", "https://a b:2379",
                                         "ftp://192.0.2.1:2379", "https://192.0.2.1:23790000", "https://192.0.2.1:x",
                                         "https://192.0.2.1/x:1"));

}  // namespace
}  // namespace gw::config
