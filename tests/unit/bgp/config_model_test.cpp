#include "bgp/config_model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using namespace std::chrono_literals;
using test::gateway;
using test::ip;
using test::joined;
using test::net;
using test::paris;
using test::printed;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Render, Golden) {
  BgpIntent g = gateway();
  g.peers[0].md5 = Secret("hunter2");
  EXPECT_EQ(joined(render(g)), R"(bgp route-map delay-timer 0
bgp community-list standard GW-GSHUT seq 5 permit graceful-shutdown
ip prefix-list GW-DEFAULT seq 5 permit 0.0.0.0/0
ipv6 prefix-list GW-DEFAULT6 seq 5 permit ::/0
hostname gw-a
ip prefix-list GW-REFUSED seq 303091728 permit 0.0.0.0/0
ipv6 prefix-list GW-REFUSED6 seq 4117914336 permit ::/0
ip prefix-list GW-REFUSED seq 437312680 permit 0.0.0.0/8 le 32
ip prefix-list GW-REFUSED seq 3298395262 permit 10.0.0.0/16 le 32
ip prefix-list GW-REFUSED seq 14724631 permit 127.0.0.0/8 le 32
ip prefix-list GW-REFUSED seq 2087542379 permit 169.254.0.0/16 le 32
ip prefix-list GW-REFUSED seq 3850629092 permit 224.0.0.0/4 le 32
ip prefix-list GW-REFUSED seq 1341680660 permit 240.0.0.0/4 le 32
ipv6 prefix-list GW-REFUSED6 seq 4252135288 permit ::/8 le 128
ipv6 prefix-list GW-REFUSED6 seq 2860801190 permit 2001:db8:10::/48 le 128
ipv6 prefix-list GW-REFUSED6 seq 1948159460 permit fe80::/10 le 128
ipv6 prefix-list GW-REFUSED6 seq 4140934455 permit ff00::/8 le 128
bgp as-path access-list GW-RESERVED-AS seq 5 permit _(0|8074|8075|12076|23456|64496|64497|64498|64499|64500|64501|64502|64503|64504|64505|64506|64507|64508|64509|64510|64511|65515|65517|65518|65519|65520|65535|65536|65537|65538|65539|65540|65541|65542|65543|65544|65545|65546|65547|65548|65549|65550|65551|4294967295)_
route-map GW-VPN-IN deny 10
match as-path GW-RESERVED-AS
exit
route-map GW-VPN-IN deny 20
match ip address prefix-list GW-REFUSED
exit
route-map GW-VPN-IN permit 30
match community GW-GSHUT
set local-preference 0
exit
route-map GW-VPN-IN permit 40
exit
route-map GW-VPN-IN6 deny 10
match as-path GW-RESERVED-AS
exit
route-map GW-VPN-IN6 deny 20
match ipv6 address prefix-list GW-REFUSED6
exit
route-map GW-VPN-IN6 permit 30
match community GW-GSHUT
set local-preference 0
on-match next
exit
route-map GW-VPN-IN6 permit 40
set ipv6 next-hop local fe80::1
exit
route-map GW-VPN-OUT deny 10
match ip address prefix-list GW-DEFAULT
exit
route-map GW-VPN-OUT permit 20
exit
route-map GW-VPN-OUT6 deny 10
match ipv6 address prefix-list GW-DEFAULT6
exit
route-map GW-VPN-OUT6 permit 20
exit
router bgp 65515
bgp log-neighbor-changes
no bgp default ipv4-unicast
no bgp ebgp-requires-policy
no bgp network import-check
bgp always-compare-med
bgp bestpath as-path multipath-relax
bgp bestpath compare-routerid
bgp graceful-restart
bgp graceful-restart preserve-fw-state
bgp graceful-restart select-defer-time 30
neighbor GW-TUNNELS peer-group
neighbor GW-TUNNELS timers connect 1
neighbor GW-TUNNELS advertisement-interval 0
neighbor GW-TUNNELS capability extended-nexthop
neighbor GW-TUNNELS sender-as-path-loop-detection
address-family ipv4 unicast
maximum-paths 8
maximum-paths ibgp 8
neighbor GW-TUNNELS activate
neighbor GW-TUNNELS soft-reconfiguration inbound
neighbor GW-TUNNELS route-map GW-VPN-IN in
neighbor GW-TUNNELS route-map GW-VPN-OUT out
exit-address-family
address-family ipv6 unicast
maximum-paths 8
maximum-paths ibgp 8
neighbor GW-TUNNELS activate
neighbor GW-TUNNELS soft-reconfiguration inbound
neighbor GW-TUNNELS route-map GW-VPN-IN6 in
neighbor GW-TUNNELS route-map GW-VPN-OUT6 out
exit-address-family
bgp router-id 203.0.113.10
bgp graceful-restart restart-time 120
neighbor 169.254.21.2 remote-as 65021
neighbor 169.254.21.2 peer-group GW-TUNNELS
neighbor 169.254.21.2 description paris-ce1/gw-a
neighbor 169.254.21.2 update-source 169.254.21.1
neighbor 169.254.21.2 timers 60 180
neighbor 169.254.21.2 password (secret)
bmp targets GW
bmp connect 127.0.0.1 port 1790 min-retry 100 max-retry 1000
bmp monitor ipv4 unicast pre-policy
bmp monitor ipv6 unicast pre-policy
exit
address-family ipv4 unicast
network 10.0.0.0/16
neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5
exit-address-family
address-family ipv6 unicast
network 2001:db8:10::/48
neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5
exit-address-family
exit
)");
}

TEST(Render, FileIsTheSameWithTheSecret) {
  BgpIntent g = gateway();
  g.peers[0].md5 = Secret("hunter2");
  const Secret file = render_file(g);
  EXPECT_TRUE(file.text().contains("neighbor 169.254.21.2 password hunter2\n"));
  EXPECT_TRUE(file.text().contains("\nfrr defaults traditional\n"));
  EXPECT_TRUE(file.text().ends_with("exit-address-family\nexit\n"));
}

TEST(Diff, NothingForNothing) {
  EXPECT_THAT(printed(diff(gateway(), gateway())), IsEmpty());
  EXPECT_THAT(printed(clears(gateway(), gateway())), IsEmpty());
}

TEST(Diff, ANewPeerStaysDownUntilItIsComplete) {
  BgpIntent before = gateway();
  before.peers.clear();
  EXPECT_THAT(
      printed(diff(before, gateway())),
      ElementsAre("router bgp 65515", "neighbor 169.254.21.2 remote-as 65021", "neighbor 169.254.21.2 shutdown",
                  "neighbor 169.254.21.2 peer-group GW-TUNNELS", "neighbor 169.254.21.2 description paris-ce1/gw-a",
                  "neighbor 169.254.21.2 update-source 169.254.21.1", "neighbor 169.254.21.2 timers 60 180",
                  "address-family ipv4 unicast", "neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5",
                  "exit-address-family", "address-family ipv6 unicast",
                  "neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5", "exit-address-family",
                  "no neighbor 169.254.21.2 shutdown", "exit"));
}

TEST(Diff, AGonePeerIsOneCommand) {
  BgpIntent after = gateway();
  after.peers.clear();
  EXPECT_THAT(printed(diff(gateway(), after)), ElementsAre("router bgp 65515", "no neighbor 169.254.21.2", "exit"));
}

TEST(Diff, OneChangedOfFiveHundredIsItsOwnCommandsOnly) {
  BgpIntent before = gateway();
  BgpIntent after = gateway();
  for (unsigned i = 1; i <= 500; ++i) {
    for (BgpIntent* g : {&before, &after}) {
      PeerIntent p = paris();
      p.name = std::format("site{}/gw-a", i);
      p.local = IpAddress::from_v4(0xa9fe1500 + 4 * i + 1);
      p.peer = IpAddress::from_v4(0xa9fe1500 + 4 * i + 2);
      p.md5 = Secret("k");
      g->peers.push_back(std::move(p));
    }
  }
  EXPECT_THAT(printed(diff(before, after)), IsEmpty());
  after.peers[250].hold = 9s;
  after.peers[250].keepalive = 3s;
  after.peers[250].md5 = Secret("other");
  const std::string name = after.peers[250].peer.to_string();
  EXPECT_THAT(printed(diff(before, after)), ElementsAre("router bgp 65515", std::format("neighbor {} timers 3 9", name),
                                                        std::format("neighbor {} password (secret)", name), "exit"));
  after.peers[250].md5 = {};
  test::change_policy(after, [&](routes::Policy& p) { p.peers[after.peers[250].name].max_routes = 0; });
  EXPECT_THAT(printed(diff(before, after)),
              ElementsAre("router bgp 65515", std::format("no neighbor {} password", name),
                          std::format("neighbor {} timers 3 9", name), "address-family ipv4 unicast",
                          std::format("no neighbor {} maximum-prefix", name), "exit-address-family",
                          "address-family ipv6 unicast", std::format("no neighbor {} maximum-prefix", name),
                          "exit-address-family", "exit"));
}

TEST(Diff, NetworksAndPolicy) {
  BgpIntent after = gateway();
  test::set_vnet(after, {net("10.0.0.0/16"), net("10.9.0.0/16")});
  EXPECT_THAT(printed(diff(gateway(), after)),
              ElementsAre("no ipv6 prefix-list GW-REFUSED6 seq 2860801190 permit 2001:db8:10::/48 le 128",
                          "ip prefix-list GW-REFUSED seq 4077604069 permit 10.9.0.0/16 le 32", "router bgp 65515",
                          "address-family ipv4 unicast", "network 10.9.0.0/16", "exit-address-family",
                          "address-family ipv6 unicast", "no network 2001:db8:10::/48", "exit-address-family", "exit"));
  EXPECT_THAT(printed(clears(gateway(), after)),
              ElementsAre("clear bgp ipv4 unicast * soft in", "clear bgp ipv6 unicast * soft in"));
}

TEST(Diff, BmpPortMoves) {
  BgpIntent after = gateway();
  after.bmp_port = 1791;
  EXPECT_THAT(printed(diff(gateway(), after)),
              ElementsAre("router bgp 65515", "bmp targets GW",
                          "no bmp connect 127.0.0.1 port 1790 min-retry 100 max-retry 1000",
                          "bmp connect 127.0.0.1 port 1791 min-retry 100 max-retry 1000", "exit", "exit"));
}

TEST(Diff, AnotherAsIsAnotherRouter) {
  BgpIntent after = gateway();
  after.asn = 65010;
  test::change_policy(after, [](routes::Policy& p) { p.safe.gateway_asn = 65010; });
  const auto commands = printed(diff(gateway(), after));
  EXPECT_EQ(commands.front(), "no router bgp 65515");
  EXPECT_EQ(commands.size(), render(after).size() + 1);
}

TEST(Validate, RefusalsNameTheField) {
  EXPECT_TRUE(validate(gateway()));
  struct Row {
    const char* field;
    std::function<void(BgpIntent&)> change;
  };
  const std::vector<Row> rows{
      {"instance", [](BgpIntent& g) { g.instance = "a\nb"; }},
      {"asn", [](BgpIntent& g) { g.asn = 0; }},
      {"router_id", [](BgpIntent& g) { g.router_id = ip("2001:db8::1"); }},
      {"restart_time", [](BgpIntent& g) { g.restart_time = 5000s; }},
      {"policy.safe.gateway_asn",
       [](BgpIntent& g) { test::change_policy(g, [](routes::Policy& p) { p.safe.gateway_asn = 1; }); }},
      {"peers[0].name", [](BgpIntent& g) { g.peers[0].name = "a\nno router bgp"; }},
      {"peers[0].remote_asn", [](BgpIntent& g) { g.peers[0].remote_asn = 12076; }},
      {"peers[0].remote_asn", [](BgpIntent& g) { g.peers[0].remote_asn = 65515; }},
      {"peers[0].remote_asn", [](BgpIntent& g) { g.peers[0].kind = routes::SourceKind::kPartner; }},
      {"peers[0].kind", [](BgpIntent& g) { g.peers[0].kind = routes::SourceKind::kSpoke; }},
      {"peers[0].peer", [](BgpIntent& g) { g.peers[0].peer = g.peers[0].local; }},
      {"peers[0].peer", [](BgpIntent& g) { g.peers[0].peer = ip("2001:db8::1"); }},
      {"peers[0].hold", [](BgpIntent& g) { g.peers[0].hold = 2s; }},
      {"peers[0].hold", [](BgpIntent& g) { g.peers[0].keepalive = 180s; }},
      {"peers[0].md5", [](BgpIntent& g) { g.peers[0].md5 = Secret("a\nb"); }},
      {"peers[0].md5", [](BgpIntent& g) { g.peers[0].md5 = Secret("two words"); }},
      {"peers[1].peer", [](BgpIntent& g) { g.peers.push_back(paris()); }},
  };
  for (const Row& row : rows) {
    BgpIntent g = gateway();
    row.change(g);
    const auto ok = validate(g);
    ASSERT_FALSE(ok) << row.field;
    EXPECT_EQ(ok.error().field, row.field);
  }
}

}  // namespace
}  // namespace gw::bgp
