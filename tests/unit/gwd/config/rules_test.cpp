// Every rule of validation once, by one edit of a valid document and the exact finding that follows.
#include <gmock/gmock.h>

#include "gwd/config/validate.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;

struct Edit {
  const char* from;
  const char* to;
  const char* finding;
};

class Rule : public testing::TestWithParam<Edit> {
 protected:
  void SetUp() override {
    dir_.write("a.psk", "secret-of-a\n");
    dir_.write("b.psk", "secret-of-b\n");
  }
  TempDir dir_;
};

TEST_P(Rule, IsReportedOnce) {
  EXPECT_THAT(findings_of(with(kDocument, GetParam().from, GetParam().to), dir_.path()),
              ElementsAre(GetParam().finding));
}

INSTANTIATE_TEST_SUITE_P(
    Gateway, Rule,
    testing::Values(
        Edit{"version: 1\n", "\n", "g.yaml:1:1: version: is missing (expected 1)"},
        Edit{"version: 1\n", "version: 2\n",
             "g.yaml:1:10: version: 2 is not a version of this file that gwd knows (expected 1)"},
        Edit{"name: hub-east", "name: \"\"", "g.yaml:3:9: gateway.name: is empty (expected a name)"},
        Edit{"name: hub-east", "name: Hub_East",
             "g.yaml:3:9: gateway.name: 'Hub_East' is not a name (expected a-z, 0-9, '.' and '-', at most 63 "
             "characters, beginning with a letter "
             "or digit)"},
        Edit{"name: hub-east", "nmae: hub-east",
             "g.yaml:3:3: gateway: unknown key 'nmae', did you mean 'name'? (expected one of name, asn, instances, "
             "mode, preferred, lease, ha, sku, rate, rate_in, rate_out)"},
        Edit{"asn: 65515", "asn: 23456",
             "g.yaml:4:8: gateway.asn: 23456 is AS_TRANS (RFC 6793) (expected e.g. 65515, or 64512 to 65534)"},
        Edit{"asn: 65515", "asn: 0",
             "g.yaml:4:8: gateway.asn: 0 is reserved (RFC 7607) (expected e.g. 65515, or 64512 to 65534)"},
        Edit{"asn: 65515", "asn: 12076",
             "g.yaml:4:8: gateway.asn: 12076 is reserved by the cloud (expected e.g. 65515, or 64512 to 65534)"},
        Edit{"name: gw-b", "name: gw-a",
             "g.yaml:9:13: gateway.instances[1].name: the name 'gw-a' is used twice (expected each name once)"},
        Edit{"203.0.113.11", "203.0.113.10",
             "g.yaml:10:55: gateway.instances[1].wan.endpoints[0].address: 203.0.113.10 is also "
             "gateway.instances[0].wan.endpoints[0].address "
             "(expected an address of its own)"},
        Edit{"203.0.113.11", "203.0.113.256",
             "g.yaml:10:55: gateway.instances[1].wan.endpoints[0].address: '203.0.113.256' is not an IP address "
             "(expected an address, e.g. "
             "192.0.2.1 or 2001:db8::1)"},
        Edit{"203.0.113.11", "224.0.0.5",
             "g.yaml:10:55: gateway.instances[1].wan.endpoints[0].address: 224.0.0.5 is no address of a host on a "
             "network (expected a unicast "
             "address)"},
        Edit{"address: 203.0.113.11", "address: 10.9.0.11, public: 2001:db8::1",
             "g.yaml:10:74: gateway.instances[1].wan.endpoints[0].public: 2001:db8::1 and 10.9.0.11 are of different "
             "families (expected an IPv4 "
             "address)"},
        Edit{"endpoints: [ { address: 203.0.113.11 } ]", "endpoints: []",
             "g.yaml:10:31: gateway.instances[1].wan.endpoints: is empty (expected at least one { address })"},
        Edit{"interface: eth1 }\nvnet", "interface: eth0 }\nvnet",
             "g.yaml:11:26: gateway.instances[1].vnet.interface: eth0 is the wan interface (expected another "
             "interface)"},
        Edit{"interface: eth1 }\nvnet", "interface: a-very-long-name }\nvnet",
             "g.yaml:11:26: gateway.instances[1].vnet.interface: 'a-very-long-name' is not an interface name (expected "
             "at most 15 letters, "
             "digits, '.', '_', '-')"},
        Edit{"      vnet: { interface: eth1 }\nvnet", "vnet",
             "g.yaml:9:7: gateway.instances[1].vnet: is missing (expected { interface })"},
        Edit{"      vnet: { interface: eth1 }\nvnet",
             "      vnet: { interface: eth1 }\n      router_id: \"2001:db8::1\"\nvnet",
             "g.yaml:12:18: gateway.instances[1].router_id: 2001:db8::1 is not an IPv4 address (expected an IPv4 "
             "address)"},
        Edit{"vnet:\n  prefixes: [ 10.0.0.0/16 ]\n", "", "g.yaml:1:1: vnet: is missing (expected { prefixes })"},
        Edit{"prefixes: [ 10.0.0.0/16 ]", "prefixes: []",
             "g.yaml:13:3: vnet.prefixes: is empty (expected at least one prefix)"},
        Edit{"[ 10.0.0.0/16 ]", "[ 10.0.0.1/16 ]",
             "g.yaml:13:15: vnet.prefixes[0]: '10.0.0.1/16' has host bits set; the network is 10.0.0.0/16 (expected a "
             "prefix, e.g. 10.0.0.0/16 or "
             "2001:db8::/48)"},
        Edit{"[ 10.0.0.0/16 ]", "[ 0.0.0.0/0 ]",
             "g.yaml:13:15: vnet.prefixes[0]: is the default route (expected the VNet's own prefixes)"},
        Edit{"[ 10.0.0.0/16 ]", "[ 169.254.0.0/16 ]",
             "g.yaml:13:15: vnet.prefixes[0]: 169.254.0.0/16 cannot be routed through the gateway (expected a unicast "
             "prefix)"},
        Edit{
            "[ 10.0.0.0/16 ]", "[ 10.0.0.0/16, 10.0.3.0/24 ]",
            "g.yaml:13:28: vnet.prefixes[1]: 10.0.3.0/24 overlaps 10.0.0.0/16 (expected prefixes that do not overlap)"},
        Edit{"[ 10.0.0.0/16 ]", "[ 10.0.0.0/16 ]\n  next_hop6: 10.0.0.1",
             "g.yaml:14:14: vnet.next_hop6: 10.0.0.1 is an IPv4 address (expected an IPv6 address; vnet.next_hop is "
             "for IPv4)"},
        Edit{"[ 10.0.0.0/16 ]", "[ 10.0.0.0/16 ]\n  next_hop: 2001:db8::1\n  next_hop6: 2001:db8::2",
             "g.yaml:15:14: vnet.next_hop6: 2001:db8::1 is the next hop for IPv6 already (expected vnet.next_hop with "
             "an "
             "IPv4 address)"},
        Edit{"sites:", "management: { metrics: \"0.0.0.0:9620\" }\nsites:",
             "g.yaml:14:24: management.metrics: 0.0.0.0 is not a loopback address (expected a loopback address and "
             "port, e.g. 127.0.0.1:9620 or "
             "[::1]:9620)"},
        Edit{"sites:", "management: { metrics: localhost }\nsites:",
             "g.yaml:14:24: management.metrics: 'localhost' is not an address and port (expected a loopback address "
             "and port, e.g. "
             "127.0.0.1:9620 or [::1]:9620)"}));

INSTANTIATE_TEST_SUITE_P(
    Sites, Rule,
    testing::Values(
        Edit{"    asn: 65021\n", "",
             "g.yaml:15:5: sites[0].asn: is missing (expected the site's AS number for BGP, or `static` prefixes)"},
        Edit{"asn: 65021", "asn: 65515",
             "g.yaml:16:10: sites[0].asn: 65515 is reserved for cloud gateways (expected e.g. 64512 to 65514, 65516, "
             "65521 to 65534)"},
        Edit{"asn: 65021", "asn: 64500",
             "g.yaml:16:10: sites[0].asn: 64500 is reserved for documentation (RFC 5398) (expected e.g. 64512 to "
             "65514, 65516, 65521 to 65534)"},
        Edit{"asn: 65021", "asn: 4294967295",
             "g.yaml:16:10: sites[0].asn: 4294967295 is reserved by IANA (RFC 7300) (expected e.g. 64512 to 65514, "
             "65516, 65521 to 65534)"},
        Edit{"asn: 65515", "asn: 65021",
             "g.yaml:16:10: sites[0].asn: 65021 is the gateway's own (expected an ASN other than the gateway's)"},
        Edit{"name: ce2", "name: ce1",
             "g.yaml:19:17: sites[0].devices[1].name: the name 'ce1' is used twice (expected each name once)"},
        Edit{"198.51.100.2", "203.0.113.11",
             "g.yaml:19:31: sites[0].devices[1].address: 203.0.113.11 is an endpoint of gw-b (expected the device's "
             "own address)"},
        Edit{"address: 198.51.100.2 }", "address: 198.51.100.2, identity: \"%any\" }",
             "g.yaml:19:55: sites[0].devices[1].identity: '%any' is not an IKE identity (expected an address, a host "
             "name, an e-mail address or a "
             "distinguished name)"},
        Edit{"connections:", "    static: [ 10.0.4.0/24 ]\nconnections:",
             "g.yaml:20:15: sites[0].static[0]: 10.0.4.0/24 is inside the VNet's 10.0.0.0/16 (expected prefixes "
             "outside the VNet)"},
        Edit{"connections:", "    static: [ 10.1.0.0/24, 10.1.0.0/24 ]\nconnections:",
             "g.yaml:20:28: sites[0].static[1]: 10.1.0.0/24 is there twice (expected each prefix once)"},
        Edit{"connections:",
             "  - { name: lyon, asn: 65022, devices: [ { name: a, address: 198.51.100.3 } ] }\nconnections:",
             "g.yaml:20:5: warning: sites[1]: no connection leads to site lyon (expected `connections` with `device: "
             "lyon/a`, or no such site)"},
        Edit{"connections:",
             "  - { name: paris, asn: 65022, devices: [ { name: ce1, address: 198.51.100.3 } ] }\nconnections:",
             "g.yaml:20:13: sites[1].name: the name 'paris' is used twice (expected each name once)"}));

INSTANTIATE_TEST_SUITE_P(
    Connections, Rule,
    testing::Values(
        Edit{"device: paris/ce1", "device: paris/ce1\n    outer_header: { dont_fragment: always }",
             "g.yaml:23:36: connections[0].outer_header.dont_fragment: unknown value 'always' (expected one of set, "
             "copy, clear)"},
        Edit{"device: paris/ce1", "device: paris/ce3",
             "g.yaml:22:13: connections[0].device: there is no device 'paris/ce3', did you mean 'paris/ce1'? (expected "
             "\"site/device\" of "
             "`sites`)"},
        Edit{"    secret: { psk_file: a.psk }\n", "",
             "g.yaml:21:5: connections[0].secret: is missing (expected { psk_file })"},
        Edit{"{ psk_file: a.psk }", "{}",
             "g.yaml:23:5: connections[0].secret.psk_file: is missing (expected the file with the pre-shared key)"},
        Edit{"ipsec: {", "profile: azure-defualt\n    ipsec: {",
             "g.yaml:24:14: connections[0].profile: there is no profile 'azure-defualt', did you mean 'azure-default'? "
             "(expected one of "
             "azure-default, other-cloud)"},
        Edit{"GCMAES256", "RC4",
             "g.yaml:24:26: connections[0].ipsec.encryption: 'RC4' is not offered by this gateway (expected one of "
             "GCMAES256, GCMAES192, GCMAES128, CHACHA20POLY1305, AES256, AES192, AES128, DES3)"},
        Edit{"GCMAES256", "DES3",
             "g.yaml:24:26: connections[0].ipsec.encryption: DES3 is too weak (expected AES, or `allow_legacy: true` "
             "here and --allow-legacy-crypto of gw-fastpath)"},
        Edit{"GCMAES256", "DES3, allow_legacy: true",
             "g.yaml:24:26: warning: connections[0].ipsec.encryption: DES3 is weak; use it only for a device that has "
             "nothing better (expected GCMAES256, or AES256)"},
        Edit{"GCMAES256", "AES256, integrity: MD5",
             "g.yaml:24:45: connections[0].ipsec.integrity: 'MD5' is not offered by this gateway (expected one of "
             "SHA512, SHA384, SHA256, SHA1)"},
        Edit{"GCMAES256", "GCMAES256, integrity: SHA256",
             "g.yaml:24:48: connections[0].ipsec.integrity: GCMAES256 has its own integrity; SHA256 is one too many "
             "(expected no `integrity`, or an encryption that wants one)"},
        Edit{"encryption: GCMAES256", "proposals: [ aes128gcm16-ecp256, 3des-sha1 ]",
             "g.yaml:24:47: connections[0].ipsec.proposals[1]: '3des' is too weak (expected AES, or `allow_legacy: "
             "true` here and --allow-legacy-crypto of gw-fastpath)"},
        Edit{"encryption: GCMAES256", "proposals: [ aes256 ]",
             "g.yaml:24:27: connections[0].ipsec.proposals[0]: 'aes256' has no integrity algorithm (expected "
             "'aes256-sha256', for example)"},
        Edit{"encryption: GCMAES256", "proposals: [ chacha20poly1305-modp1024 ]",
             "g.yaml:24:27: warning: connections[0].ipsec.proposals[0]: modp1024 is weak; use it only for a device "
             "that has nothing better (expected e.g. aes256gcm16-ecp384, or aes256-sha256-modp2048)"},
        Edit{"GCMAES256", "GCMAES256, proposals: [ aes256gcm16 ]",
             "g.yaml:24:26: connections[0].ipsec.encryption: `proposals` says it already (expected either `proposals` "
             "or the three single values)"},
        Edit{"GCMAES256", "GCMAES256, tfc_padding: 9000",
             "g.yaml:24:50: connections[0].ipsec.tfc_padding: 9000 is out of range (expected 0 to 1690)"},
        Edit{"ipsec: {", "outer_header: { dscp: 64 }\n    ipsec: {",
             "g.yaml:24:27: connections[0].outer_header.dscp: '64' is no DSCP (expected copy, none, or 0 to 63)"},
        Edit{"GCMAES256", "GCMAES256, pfs: ecp384",
             "g.yaml:24:42: connections[0].ipsec.pfs: 'ecp384' is not offered by this gateway, did you mean 'ECP384'? "
             "(expected one of None, "
             "PFS14, PFS2048, ECP256, ECP384, PFS24, PFS2)"},
        Edit{"GCMAES256", "GCMAES256, pfs: PFS2",
             "g.yaml:24:42: warning: connections[0].ipsec.pfs: PFS2 is weak; use it only for a device that has nothing "
             "better (expected one of PFS14, PFS2048, ECP256, ECP384)"},
        Edit{"GCMAES256", "GCMAES256, lifetime: 5s",
             "g.yaml:24:47: warning: connections[0].ipsec.lifetime: 5s is shorter than clouds allow; fit for tests "
             "only (expected 300s or more)"},
        Edit{"GCMAES256", "GCMAES256, lifetime: 3600",
             "g.yaml:24:47: connections[0].ipsec.lifetime: '3600' has no unit (expected 1s to 172799s, with a unit: "
             "9s, 5m, 1h)"},
        Edit{"GCMAES256", "GCMAES256, lifetime: 300ms",
             "g.yaml:24:47: connections[0].ipsec.lifetime: 300ms is not a whole number of seconds (expected 1s to "
             "172799s)"},
        Edit{"GCMAES256", "GCMAES256, lifetime: 3d",
             "g.yaml:24:47: connections[0].ipsec.lifetime: 3d is out of range (expected 1s to 172799s)"},
        Edit{"GCMAES256", "GCMAES256, lifetime: 1h, rekey_margin: 30m",
             "g.yaml:24:65: connections[0].ipsec.rekey_margin: a rekey margin of 30m does not fit a lifetime of 1h "
             "(expected a margin of less "
             "than half the lifetime)"},
        Edit{"GCMAES256", "GCMAES256, lifetime_kb: 1023",
             "g.yaml:24:50: connections[0].ipsec.lifetime_kb: 1023 is out of range (expected 1024 to 2147483647)"},
        Edit{"GCMAES256", "GCMAES256, replay_window: 0",
             "g.yaml:24:52: connections[0].ipsec.replay_window: 0 is out of range (expected 64 to 4096)"},
        Edit{"ipsec: {", "ike: { version: 3 }\n    ipsec: {",
             "g.yaml:24:21: connections[0].ike.version: there is no IKEv3 (expected 2, or 1 for devices without it)"},
        Edit{
            "ipsec: {", "ike: { version: 1 }\n    ipsec: {",
            "g.yaml:24:21: warning: connections[0].ike.version: IKEv1 is obsolete (RFC 9395); use it only for a device "
            "that has nothing better (expected 2)"},
        Edit{"ipsec: {", "ike: { version: 1, encryption: GCMAES256 }\n    ipsec: {",
             "g.yaml:24:36: connections[0].ike.encryption: IKEv1 has no GCMAES256 for its own messages (expected "
             "`ike: { encryption }` of AES256, AES192 or AES128; ESP keeps its own)"},
        Edit{"ipsec: {", "ike: { integrity: MD5 }\n    ipsec: {",
             "g.yaml:24:23: connections[0].ike.integrity: 'MD5' is not offered by this gateway (expected one of "
             "SHA384, SHA256, SHA1)"},
        Edit{"ipsec: {", "ike: { encryption: DES3 }\n    ipsec: {",
             "g.yaml:24:24: connections[0].ike.encryption: 'DES3' is not offered by this gateway (expected one of "
             "GCMAES256, GCMAES128, AES256, "
             "AES192, AES128)"},
        Edit{"ipsec: {", "ike: { dh_group: DHGroup2 }\n    ipsec: {",
             "g.yaml:24:22: warning: connections[0].ike.dh_group: DHGroup2 is weak; use it only for a device that has "
             "nothing better (expected one of DHGroup14, ECP256, ECP384)"},
        Edit{"ipsec: {", "dpd: { delay: 2h }\n    ipsec: {",
             "g.yaml:24:19: connections[0].dpd.delay: 2h is out of range (expected 1s to 3600s)"},
        Edit{"ipsec: {", "dpd: { delay: 1s }\n    ipsec: {",
             "g.yaml:24:19: warning: connections[0].dpd.delay: 1s is shorter than clouds allow (expected 9s to 3600s)"},
        Edit{"    secret: { psk_file: a.psk }\n",
             "    secret: { psk_file: a.psk }\n    encapsulation: native\n    udp_encapsulation: true\n",
             "g.yaml:25:24: connections[0].udp_encapsulation: `true` contradicts `encapsulation: native` (expected no "
             "`udp_encapsulation`, which is the older spelling)"},
        Edit{"    secret: { psk_file: a.psk }\n",
             "    secret: { psk_file: a.psk }\n    encapsulation: auto\n    udp_encapsulation: true\n",
             "g.yaml:25:24: connections[0].udp_encapsulation: `true` contradicts `encapsulation: auto` (expected no "
             "`udp_encapsulation`, which is the older spelling)"},
        Edit{"    secret: { psk_file: a.psk }\n",
             "    secret: { psk_file: a.psk }\n    encapsulation: udp\n    udp_encapsulation: false\n",
             "g.yaml:25:24: connections[0].udp_encapsulation: `false` contradicts `encapsulation: udp` (expected no "
             "`udp_encapsulation`, which is the older spelling)"},
        Edit{"    secret: { psk_file: a.psk }\n",
             "    secret: { psk_file: a.psk }\n    encapsulation: udp\n    udp_encapsulation: true\n",
             "g.yaml:25:24: warning: connections[0].udp_encapsulation: `encapsulation: udp` says it already (expected "
             "no "
             "`udp_encapsulation`)"},
        Edit{"ipsec: {", "rate: 0Mbit/s\n    ipsec: {",
             "g.yaml:24:11: connections[0].rate: '0Mbit/s' would let nothing pass (expected e.g. 500Mbit/s or "
             "1.25Gbit/s; leave it out for no limit)"},
        Edit{
            "ipsec: {", "rate: 500\n    ipsec: {",
            "g.yaml:24:11: connections[0].rate: '500' has no unit (expected e.g. 500Mbit/s or 1.25Gbit/s; leave it out "
            "for no limit)"},
        Edit{"ipsec: {", "rate_in: -5Mbit/s\n    ipsec: {",
             "g.yaml:24:14: connections[0].rate_in: '-5Mbit/s' is not a rate (expected e.g. 500Mbit/s or 1.25Gbit/s; "
             "leave it out for no limit)"},
        Edit{"ipsec: {", "rate_out: 1Tbit/s\n    ipsec: {",
             "g.yaml:24:15: connections[0].rate_out: '1Tbit/s' is not a rate (expected e.g. 500Mbit/s or 1.25Gbit/s; "
             "leave it out for no limit)"},
        Edit{"ipsec: {", "rate: 500Gbit/s\n    ipsec: {",
             "g.yaml:24:11: connections[0].rate: '500Gbit/s' is more than 400Gbit/s, the most there is (expected e.g. "
             "500Mbit/s or 1.25Gbit/s; leave it out for no limit)"},
        Edit{"ipsec: {", "rate: 1kbit/s\n    ipsec: {",
             "g.yaml:24:11: connections[0].rate: '1kbit/s' is less than 64kbit/s, a packet every 0.2 s (expected e.g. "
             "500Mbit/s or 1.25Gbit/s; leave it out for no limit)"},
        Edit{"  asn: 65515\n", "  asn: 65515\n  sku: VpnGw9\n",
             "g.yaml:5:8: gateway.sku: there is no SKU 'VpnGw9', did you mean 'VpnGw1'? (expected one of Unlimited, "
             "Basic, VpnGw1, VpnGw2, VpnGw3, VpnGw4, VpnGw5)"},
        Edit{"  asn: 65515\n", "  asn: 65515\n  sku: Basic\n",
             "g.yaml:5:8: gateway.sku: Basic has no BGP, and site paris wants it (expected another SKU, or sites "
             "without `asn`)"},
        Edit{"  asn: 65515\n", "  asn: 65515\n  rate: 0\n",
             "g.yaml:5:9: gateway.rate: '0' has no unit (expected e.g. 500Mbit/s or 1.25Gbit/s; leave it out for no "
             "limit)"},
        Edit{"ipsec: {", "mtu: 100\n    ipsec: {",
             "g.yaml:24:10: connections[0].mtu: 100 is out of range (expected 576 to 9000)"},
        Edit{"ipsec: {", "mtu: 1200\n    ipsec: {",
             "g.yaml:24:10: warning: connections[0].mtu: 1200 is too small for IPv6 in the tunnel (expected 1280 or "
             "more)"},
        Edit{"ipsec: {", "mss: 0\n    ipsec: {",
             "g.yaml:24:10: connections[0].mss: 0 is out of range (expected 500 to 1360)"},
        Edit{"ipsec: {", "mtu: 1300\n    mss: 1300\n    ipsec: {",
             "g.yaml:25:10: connections[0].mss: 1300 is out of range (expected 500 to 1260)"},
        Edit{"connections:", "profiles: [ { name: azure-default } ]\nconnections:",
             "g.yaml:20:21: profiles[0].name: 'azure-default' is built in (expected another name)"},
        Edit{"connections:", "profiles: [ { name: p, dpd: { delay: 0s } } ]\nconnections:",
             "g.yaml:20:38: profiles[0].dpd.delay: 0s is out of range (expected 1s to 3600s)"}));

INSTANTIATE_TEST_SUITE_P(
    Tunnels, Rule,
    testing::Values(
        Edit{"ipsec: {", "endpoint: 203.0.113.99\n    ipsec: {",
             "g.yaml:24:15: connections[0].endpoint: 203.0.113.99 is no endpoint of any instance (expected an address "
             "of "
             "gateway.instances[].wan.endpoints)"},
        Edit{"ipsec: {", "endpoint: \"2001:db8::1\"\n    ipsec: {",
             "g.yaml:24:15: connections[0].endpoint: 2001:db8::1 is of another family than the device's 198.51.100.1 "
             "(expected an IPv4 endpoint)"},
        Edit{"address: 198.51.100.1 ", "address: \"2001:db8:1::1\" ",
             "g.yaml:22:13: connections[0].device: no instance has an endpoint of the family of 2001:db8:1::1 "
             "(expected a wan endpoint for it)"},
        Edit{"connections:\n", "connections:\n  - { name: other, device: paris/ce1, secret: { psk_file: a.psk } }\n",
             "g.yaml:23:13: connections[1].device: the same tunnel as connection other: from 203.0.113.10 to "
             "198.51.100.1 (expected another "
             "device, endpoint or identity)"},
        Edit{"ipsec: {", "bgp: { addresses: { gw-c: { local: 169.254.21.1, peer: 169.254.21.2 } } }\n    ipsec: {",
             "g.yaml:24:25: connections[0].bgp.addresses[gw-c]: there is no instance 'gw-c' (expected a name of "
             "gateway.instances)"},
        Edit{"ipsec: {", "bgp: { addresses: { gw-a: { local: 169.254.21.1 } } }\n    ipsec: {",
             "g.yaml:24:25: connections[0].bgp.addresses[gw-a].peer: is missing (expected the site's address in the "
             "tunnel)"},
        Edit{"ipsec: {", "bgp: { addresses: { gw-a: { local: 169.254.21.1, peer: \"fe80::1\" } } }\n    ipsec: {",
             "g.yaml:24:60: connections[0].bgp.addresses[gw-a].peer: 169.254.21.1 and fe80::1 are of different "
             "families (expected two of one "
             "family)"},
        Edit{"ipsec: {", "bgp: { addresses: { gw-a: { local: 169.254.21.1, peer: 169.254.21.1 } } }\n    ipsec: {",
             "g.yaml:24:60: connections[0].bgp.addresses[gw-a].peer: 169.254.21.1 is also `local` (expected the site's "
             "address)"},
        Edit{"ipsec: {", "bgp: { addresses: { gw-a: { local: 169.254.21.1, peer: 198.51.100.1 } } }\n    ipsec: {",
             "g.yaml:24:60: connections[0].bgp.addresses[gw-a].peer: 198.51.100.1 is the device's address outside the "
             "tunnel (expected its "
             "address inside)"},
        Edit{"ipsec: {", "bgp: { addresses: { gw-a: { local: 169.254.30.1, peer: 169.254.30.2 } } }\n    ipsec: {",
             "g.yaml:24:40: warning: connections[0].bgp.addresses[gw-a].local: 169.254.30.1 is outside the clouds' "
             "range for gateways (expected "
             "169.254.21.0 to 169.254.22.255, or no link-local address)"},
        Edit{"ipsec: {",
             "bgp:\n      addresses:\n        gw-a: { local: 169.254.21.1, peer: 169.254.21.2 }\n        gw-b: { "
             "local: 169.254.21.1, peer: "
             "169.254.21.2 }\n    ipsec: {",
             "g.yaml:27:24: connections[0].bgp.addresses[gw-b].local: 169.254.21.1 is also "
             "connections[0].bgp.addresses[gw-a].local (expected an "
             "address of its own for each instance)"},
        Edit{"ipsec: {", "bgp: { hold: 2s }\n    ipsec: {",
             "g.yaml:24:18: connections[0].bgp.hold: 2s is out of range (expected 3s to 65535s)"},
        Edit{"ipsec: {", "bgp: { keepalive: 5s, hold: 9s }\n    ipsec: {",
             "g.yaml:24:23: connections[0].bgp.keepalive: three keepalives of 5s do not fit the hold time of 9s "
             "(expected at most a third of "
             "`hold`)"},
        Edit{"ipsec: {", "bgp: { max_routes: 0 }\n    ipsec: {",
             "g.yaml:24:24: connections[0].bgp.max_routes: 0 is out of range (expected 1 to 1000000)"},
        Edit{
            "ipsec: {",
            "bgp: { unnumbered: true, addresses: { gw-a: { local: 169.254.21.1, peer: 169.254.21.2 } } }\n    ipsec: {",
            "g.yaml:24:30: connections[0].bgp.addresses: an unnumbered session has link-local addresses only "
            "(expected either `addresses` or `unnumbered`)"},
        Edit{"ipsec: {", "bgp: { bfd: { interval: 10ms } }\n    ipsec: {",
             "g.yaml:24:29: connections[0].bgp.bfd.interval: 10ms is out of range (expected 50ms to 60000ms)"},
        Edit{"ipsec: {", "bgp: { bfd: { interval: 100 } }\n    ipsec: {",
             "g.yaml:24:29: connections[0].bgp.bfd.interval: '100' has no unit (expected 50ms to 60000ms, with a unit: "
             "100ms, 1s)"},
        Edit{"ipsec: {", "bgp: { bfd: { multiplier: 1 } }\n    ipsec: {",
             "g.yaml:24:31: connections[0].bgp.bfd.multiplier: 1 is out of range (expected 2 to 255)"}));

}  // namespace
}  // namespace gw::config
