// What operators see: golden tables.
#include "cli/render.hpp"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include "cli/render_workers.hpp"

namespace gw::cli {
namespace {

using testing::HasSubstr;

const View kView{WallTime(std::chrono::seconds(1'700'000'000)), Style::kPlain};

template <class Message>
Message from_json(const std::string& json) {
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return message;
}

TEST(Render, Tunnels) {
  const auto reply = from_json<api::TunnelsReply>(R"({"tunnels": [
    {"name": "paris-ce1/gw-a", "state": "up", "remote_address": "198.51.100.1", "device": "tun7", "esp_proposal": "AES_GCM_16-256",
     "up_since_unix_ms": 1699999808000, "in_bytes": 1288490189, "out_bytes": 12, "dropped_packets": 3, "mtu": 1326, "path_mtu": 1380, "bgp_state": "Established", "routes_received": 4,
     "proof": {"method": "echo", "proven_unix_ms": 1699999997000}},
    {"name": "lyon/gw-a", "state": "connecting", "remote_address": "198.51.100.77", "device": "tun9", "udp_encapsulation": true,
     "reason": "authentication failed: the pre-shared keys differ", "fault": "Authentication"}]})");
  EXPECT_EQ(
      render(reply, kView),
      "Tunnel          State          Up  Proven  Remote         Device  ESP              Mtu       In   Out  Dropped  "
      "Bgp     "
      "     Routes\n"
      "paris-ce1/gw-a  up          3m12s      3s  198.51.100.1   tun7    AES_GCM_16-256  1326  1.2 GiB  12 B        3  "
      "Established       4\n"
      "    the path to 198.51.100.1 takes packets of 1380 bytes: 1326 inside\n"
      "lyon/gw-a       connecting      -       -  198.51.100.77  tun9    -                  0      0 B   0 B        0  "
      "-      "
      "           0\n"
      "    authentication failed: the pre-shared keys differ (Authentication)\n");
  EXPECT_FALSE(all_up(reply));
  EXPECT_EQ(render(api::TunnelsReply(), kView), "no tunnels\n");
  EXPECT_TRUE(all_up(from_json<api::TunnelsReply>(R"({"tunnels": [{"state": "up"}, {"state": "disabled"}]})")));
}

TEST(Render, TunnelsInDetail) {
  const auto reply = from_json<api::TunnelsReply>(R"({"tunnels": [
    {"name": "a", "state": "up", "local_address": "192.0.2.1", "ike_proposal": "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384",
     "encapsulation_reason": "in UDP: configured"}, {"name": "b", "state": "down", "local_address": "192.0.2.1", "reason": "no answer"}]})");
  const std::string text = render(reply, {kView.now, Style::kPlain, Detail::kLong});
  EXPECT_NE(
      text.find("\n    from 192.0.2.1, IKE AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384\n    ESP in UDP: configured\nb "),
      std::string::npos)
      << text;
  EXPECT_TRUE(text.ends_with("\n    from 192.0.2.1\n    no answer\n")) << text;
}

TEST(Render, WhenABackupWasProven) {
  const auto reply = from_json<api::TunnelsReply>(R"({"tunnels": [
    {"name": "a", "state": "up", "proof": {"method": "echo", "small_sent": 20, "full_bytes": 1400, "full_sent": 3}},
    {"name": "b", "state": "up", "proof": {"method": "bfd", "proven_unix_ms": 1699999700000, "small_sent": 20,
     "small_answered": 19, "round_trip_us": 31240, "full_bytes": 1400, "full_sent": 4, "largest_answered_bytes": 1240}},
    {"name": "c", "state": "disabled", "proof": {"method": "echo"}}]})");
  const std::string text = render(reply, {kView.now, Style::kPlain, Detail::kLong});
  EXPECT_NE(text.find(" never "), std::string::npos) << text;
  EXPECT_NE(text.find(" 5m00s "), std::string::npos) << text;
  EXPECT_NE(
      text.find("\n    proven by bfd; echoes: 19 of 20 answered, the last in 31.2 ms; of 1400 bytes 0 of 4, of 1240 "
                "bytes yes\n"),
      std::string::npos)
      << text;
}

TEST(Render, ATunnelThatIsUpAndCarriesNoRoutesSaysWhyADisabledOneSaysNothing) {
  const auto reply = from_json<api::TunnelsReply>(R"({"tunnels": [
    {"name": "a", "state": "up", "fault": "NoFault", "reason": "no routes: BGP is Idle"}, {"name": "b", "state": "disabled", "fault": "NoFault"}]})");
  const std::string text = render(reply, kView);
  EXPECT_NE(text.find("\n    no routes: BGP is Idle\nb "), std::string::npos) << text;
  EXPECT_EQ(text.find("NoFault"), std::string::npos) << text;
  EXPECT_TRUE(all_up(from_json<api::BgpPeersReply>(R"({"peers": [{"state": "Established"}, {"state": "Disabled"}]})")));
}

TEST(Render, BgpPeersHaveTheCloudsColumns) {
  const auto reply = from_json<api::BgpPeersReply>(R"({"peers": [
    {"neighbor": "169.254.21.2", "asn": 65021, "state": "Established", "connected_seconds": 7500, "routes_received": 4, "messages_sent": 10,
     "messages_received": 11, "local_address": "169.254.21.1", "bfd": "up 100ms x 3", "source": "paris-ce1/gw-a"},
    {"neighbor": "169.254.21.6", "asn": 65022, "state": "Active", "last_error": "Hold Timer Expired", "local_address": "169.254.21.5"}]})");
  EXPECT_EQ(render(reply, kView),
            "Neighbor        Asn  State        ConnectedDuration  RoutesReceived  MessagesSent  MessagesReceived  "
            "LocalAddress  Bfd           Session\n"
            "169.254.21.2  65021  Established              2h05m               4            10                11  "
            "169.254.21.1  up 100ms x 3  paris-ce1/gw-a\n"
            "169.254.21.6  65022  Active                       -               0             0                 0  "
            "169.254.21.5  -             -\n"
            "    Hold Timer Expired\n");
  EXPECT_FALSE(all_up(reply));
}

TEST(Render, BgpRoutesHaveTheCloudsColumns) {
  const auto reply = from_json<api::BgpRoutesReply>(
      R"({"routes": [{"network": "10.20.0.0/16", "next_hop": "169.254.21.2", "local_address": "169.254.21.1",
    "source_peer": "169.254.21.2", "origin": "EBgp", "as_path": "65021", "weight": 32768}]})");
  EXPECT_EQ(render(reply, kView),
            "Network       NextHop       LocalAddress  SourcePeer    Origin  AsPath  Weight\n"
            "10.20.0.0/16  169.254.21.2  169.254.21.1  169.254.21.2  EBgp    65021    32768\n");
}

TEST(Render, RoutesSayWhyTheOthersLose) {
  const auto reply =
      from_json<api::RoutesReply>(R"({"routes": [{"prefix": "10.20.0.0/16", "in_fastpath": true, "candidates": [
    {"source": "paris-ce1/gw-a", "next_hop": "169.254.21.2", "as_path": [65021], "path": "65021", "local_preference": 100, "best": true, "place": "best", "decided_by": "AS-path length", "since_unix_ms": 1699999990000},
    {"source": "paris-ce2/gw-a", "next_hop": "169.254.21.6", "as_path": [65021, 65021], "path": "65021 65021", "local_preference": 100, "place": "not used", "decided_by": "AS-path length"}]}]})");
  EXPECT_EQ(
      render(reply, kView),
      "   Prefix        Source          NextHop       AsPath       LocPref  Med  Weight  Age  Why\n"
      ">  10.20.0.0/16  paris-ce1/gw-a  169.254.21.2  65021            100    0       0  10s  best: AS-path length\n"
      "                 paris-ce2/gw-a  169.254.21.6  65021 65021      100    0       0    -  not used: AS-path "
      "length\n");
}

TEST(Render, DetailsOfRoutesNameTheLineOfPolicyAndRefusedOnesAreThere) {
  const auto reply = from_json<api::RoutesReply>(R"({"routes": [{"prefix": "10.20.0.0/16", "candidates": [
    {"source": "paris-ce1/gw-a", "next_hop": "169.254.21.2", "as_path": [65021], "path": "65021", "local_preference": 150, "weight": 100, "place": "not used", "decided_by": "weight", "policy": "policy paris-lp", "peer": "169.254.21.2", "site": "paris"},
    {"source": "paris-ce2/gw-a", "place": "refused", "decided_by": "safe prefixes: equal to a VNet prefix", "policy": "safe prefixes: equal to a VNet prefix"}]}]})");
  View details = kView;
  details.detail = Detail::kLong;
  const std::string text = render(reply, details);
  EXPECT_NE(text.find("not used: weight"), std::string::npos) << text;
  EXPECT_NE(text.find("policy paris-lp; from 169.254.21.2, site paris"), std::string::npos) << text;
  EXPECT_NE(text.find("refused: safe prefixes: equal to a VNet prefix"), std::string::npos) << text;
  EXPECT_EQ(text.find("kernel"), std::string::npos) << "nothing of it is used: " << text;
  EXPECT_EQ(render(reply, kView).find("paris-lp"), std::string::npos);
}

TEST(Render, WhatIfSaysWhoIsCutOffFirst) {
  const auto reply = from_json<api::WhatIfReply>(R"({"prefixes": 9, "moved": 1, "lost": 1, "moves": [
    {"prefix": "10.20.0.0/16", "kind": "moves", "from": ["er1"], "to": ["paris-ce1/gw-a", "paris-ce2/gw-a"]}],
    "limits": [{"source": "paris-ce1/gw-a", "family": "ipv4", "before": 10, "after": 90, "limit": 100, "state": "near", "of": "learned"}],
    "cut_off": [{"site": "berlin", "prefixes": 1, "lost": 1}, {"site": "lyon", "prefixes": 3, "lost": 2}]})");
  EXPECT_EQ(render(reply, kView),
            "of 9 prefixes 1 would move, 1 would be lost, 0 would appear\n"
            "site berlin would be cut off: all of its 1 prefixes\n"
            "site lyon would lose 2 of its 3 prefixes\n"
            "paris-ce1/gw-a: 90 ipv4 routes learned (now 10), the limit of 100 would be near\n\n"
            "Prefix        What   From  To\n"
            "10.20.0.0/16  moves  er1   paris-ce1/gw-a, paris-ce2/gw-a\nand 1 more\n");
}

TEST(Render, StatusShowsWhatWaitsForAConfirmation) {
  const auto reply = from_json<api::StatusReply>(
      R"({"gateway": "hub-east", "instance": "gw-a", "version": "0.1.0", "revision": 7, "uptime_seconds": 61,
    "pending_confirm_seconds": 120, "components": [{"name": "charon", "connected": true, "detail": "6.0.1"}, {"name": "bgpd", "detail": "no such socket"}]})");
  EXPECT_EQ(render(reply, kView),
            "hub-east / gw-a, gwd 0.1.0, up 1m01s\nrevision 7\nnot confirmed: returns to the previous revision in "
            "2m00s (gwctl confirm)\n\n"
            "Component  State      For  Detail\n"
            "charon     connected    -  6.0.1\n"
            "bgpd       away         -  no such socket\n");
  EXPECT_FALSE(all_up(reply));
}

TEST(Render, StatusShowsWhatIsWrongWithAConnectedComponent) {
  const auto reply = from_json<api::StatusReply>(
      R"({"gateway": "hub-east", "instance": "gw-a", "version": "0.1.0", "revision": 7, "uptime_seconds": 61,
    "components": [{"name": "gw-fastpath", "connected": true, "detail": "crypto x", "problem": "its wan port is eth0"}]})");
  EXPECT_EQ(render(reply, kView),
            "hub-east / gw-a, gwd 0.1.0, up 1m01s\nrevision 7\n\n"
            "Component    State   For  Detail\n"
            "gw-fastpath  faulty    -  its wan port is eth0\n");
  EXPECT_FALSE(all_up(reply)) << "scripts have to notice";
}

TEST(Render, CountersShowEachWorker) {
  const auto reply = from_json<api::CountersReply>(R"({"crypto_backend": "x", "workers": [
    {"worker": 0, "tunnels": 3, "packets": 100, "bursts": 10, "handed_over": 7, "taken_over": 2, "moved": 4},
    {"worker": 1, "tunnels": 2, "handover_drops": 1}]})");
  EXPECT_EQ(render(reply, kView),
            "crypto x, up 0s\n\nSide  Received  Sent\nwan          0     0\nvnet         0     0\n\n"
            "Worker  Tunnels  Packets  Per burst  Handed over  Taken over  Lost between  Moved\n"
            "     0        3      100         10            7           2             0      4\n"
            "     1        2        0          0            0           0             1      0\n\n"
            "no packet was dropped\n");
}

TEST(Render, WorkersShowShareOfACpuAndPercentiles) {
  const auto reply = from_json<api::WorkersReply>(R"({"window_ms": 10000, "workers": [
    {"worker": 0, "tunnels": 3, "packets": 500, "bursts": 100, "cpu": 2, "cpu_ns": 4000000000, "busy_ns": 300, "polling_ns": 100,
     "burst_sizes": [60, 30, 9, 0, 0, 0, 1], "latency": [0, 0, 50, 49, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
     "latency_sum_ns": 1, "latency_max_ns": 17000000,
     "ports": [{"side": "wan", "interface": "eth0", "kind": "xsk", "queues": [0, 2], "rx_packets": 7, "tx_packets": 8},
               {"side": "vnet", "interface": "eth1", "kind": "gso", "queues": [0], "rx_packets": 9}]},
    {"worker": 1}]})");
  EXPECT_EQ(render(reply, kView),
            "since the start, 10s\n\n"
            "Worker  On       Queues           Tunnels  Packets     CPU    Busy  Polling  Bursts  p50  p99   Max  "
            "Latency p50     p99    Max\n"
            "     0  CPU 2    wan 0,2, vnet 0        3      500  40.0 %  30.0 %   10.0 %     100  <=1  <=4  <=64       "
            "<=2 us  <=4 us  17 ms\n"
            "     1  any CPU  -                      0        0   0.0 %   0.0 %    0.0 %       0    -    -     -       "
            "     -       -      -\n");
  View details = kView;
  details.detail = Detail::kLong;
  EXPECT_THAT(render(reply, details),
              HasSubstr("    wan 0,2 (eth0, xsk): received 7, sent 8\n"
                        "    vnet 0 (eth1, gso): received 9, sent 0\n"
                        "    bursts by packets: <=1: 60, <=2: 30, <=4: 9, <=8: 0, <=16: 0, <=32: 0, <=64: 1\n"
                        "    packets by latency, of one burst in 17: <=2 us: 50, <=4 us: 49"));
}

TEST(Render, WorkersOfAnIntervalAreDifferences) {
  const auto earlier = from_json<api::WorkersReply>(R"({"window_ms": 10000, "workers": [
    {"packets": 100, "bursts": 10, "cpu_ns": 1000000000, "burst_sizes": [10, 0], "latency": [5, 0, 1], "latency_max_ns": 99,
     "ports": [{"side": "wan", "rx_packets": 5}]}]})");
  const auto later = from_json<api::WorkersReply>(R"({"window_ms": 12000, "workers": [
    {"packets": 130, "bursts": 20, "cpu_ns": 2500000000, "burst_sizes": [10, 10], "latency": [5, 4, 1], "latency_max_ns": 99,
     "ports": [{"side": "wan", "rx_packets": 8}]}]})");
  const api::WorkersReply interval = between(earlier, later);
  EXPECT_TRUE(interval.interval());
  EXPECT_EQ(interval.window_ms(), 2000U);
  const api::WorkerCounters& w = interval.workers(0);
  EXPECT_EQ(w.packets(), 30U);
  EXPECT_EQ(w.burst_sizes(0), 0U);
  EXPECT_EQ(w.burst_sizes(1), 10U);
  EXPECT_EQ(w.latency(1), 4U);
  EXPECT_EQ(w.latency_max_ns(), 0U) << "the longest is of before";
  EXPECT_EQ(w.ports(0).rx_packets(), 3U);
  EXPECT_THAT(render(interval, kView), HasSubstr("in 2.0 s\n"));
  EXPECT_THAT(render(interval, kView), HasSubstr("75.0 %"));
  EXPECT_THAT(render(interval, kView), HasSubstr("<=1 us")) << "the class has a bound, where the figure is not known";

  EXPECT_FALSE(between(later, earlier).interval()) << "gw-fastpath began anew: no difference";
  EXPECT_EQ(between(later, earlier).workers(0).packets(), 100U);
}

TEST(Render, CountersShowOnlyWhatWasDropped) {
  const auto reply = from_json<api::CountersReply>(R"({"wan_rx_packets": 5, "crypto_backend": "openssl 3.5", "drops": [
    {"reason": "replay", "packets": 2, "meaning": "seen before"}, {"reason": "ttl", "packets": 0}]})");
  EXPECT_EQ(render(reply, kView),
            "crypto openssl 3.5, up 0s\n\nSide  Received  Sent\nwan          5     0\nvnet         0     0\n\n"
            "Dropped  Reason  Meaning\n      2  replay  seen before\n");
}

TEST(Render, CountersOfACircuitPortWhereThereIsOne) {
  const auto reply =
      from_json<api::CountersReply>(R"({"crypto_backend": "x", "circuit_rx_packets": "7", "circuit_tx_packets": "0"})");
  EXPECT_EQ(render(reply, kView),
            "crypto x, up 0s\n\nSide     Received  Sent\nwan             0     0\nvnet            0     0\n"
            "circuit         7     0\n\nno packet was dropped\n");
}

TEST(Render, RevisionsAndSas) {
  EXPECT_EQ(
      render(from_json<api::RevisionsReply>(
                 R"({"revisions": [{"number": 2, "applied_unix_ms": 1700000000000, "running": true, "origin": "apply",
    "comment": "paris moves"}, {"number": 1, "applied_unix_ms": 1700000000000, "origin": "start"}]})"),
             kView),
      "   Revision  Applied               Origin  Comment\n"
      "*         2  2023-11-14 22:13:20Z  apply   paris moves\n"
      "          1  2023-11-14 22:13:20Z  start   -\n");
  EXPECT_EQ(
      render(
          from_json<api::SasReply>(
              R"({"sas": [{"tunnel": "p/a", "direction": "in", "spi": "c1234567", "source": "1.1.1.1", "destination": "2.2.2.2",
    "algorithm": "AES_GCM_16-256", "esn": true, "state": "active", "sequence": 9, "packets": 9, "bytes": 900, "age_seconds": 3,
    "drops": [{"reason": "replay", "packets": 3}, {"reason": "icv", "packets": 1}]}]})"),
          kView),
      "Tunnel  Dir  SPI       Source   Destination  Algorithm       Esn  Udp  State   Sequence  Packets  Bytes  Age\n"
      "p/a     in   c1234567  1.1.1.1  2.2.2.2      AES_GCM_16-256  yes  -    active         9        9  900 B   3s\n"
      "    dropped: 3 replay, 1 icv\n");
}

TEST(Render, Findings) {
  EXPECT_EQ(
      render(from_json<api::Finding>(
          R"({"file": "/etc/gw/gateway.yaml", "line": 3, "column": 5, "field": "gateway.asn", "message": "0 is reserved",
    "expected": "65515", "severity": "error"})")),
      "/etc/gw/gateway.yaml:3:5: gateway.asn: 0 is reserved (expected 65515)");
  EXPECT_EQ(render(from_json<api::Finding>(R"({"file": "g", "message": "m", "severity": "warning"})")),
            "g: warning: m");
  EXPECT_EQ(render(from_json<api::ErrorReply>(
                R"({"error": {"message": "2 faults", "findings": [{"message": "a"}, {"message": "b"}]}})")),
            "a\nb\n2 faults\n");
}

TEST(Render, MemorySaysWhatWasReservedAndWhatGrows) {
  const auto reply = from_json<api::MemoryReply>(R"({
    "parts": [{"part": "packet buffers", "bytes": 8388608, "in_use": 7, "capacity": 4096},
              {"part": "IPv4 routes, as they were told", "bytes": 34000, "in_use": 2000},
              {"part": "IPv6 routes, as they were told", "bytes": 64, "in_use": 0}],
    "processes": [{"name": "gw-fastpath", "resident_bytes": 104857600, "peak_resident_bytes": 115343360, "heap_bytes": 1048576}]})");
  EXPECT_EQ(render(reply, kView), R"(gw-fastpath                     In use   Room for  Each    Memory
packet buffers                       7       4096  2048   8.0 MiB
IPv4 routes, as they were told    2000  as needed    17  33.2 KiB
IPv6 routes, as they were told       0  as needed     -      64 B

reserved at start: 8.0 MiB; no traffic changes that

Process       Resident  Most since start     Heap
gw-fastpath  100.0 MiB         110.0 MiB  1.0 MiB
)");
}

TEST(Render, InterfacesSayWhyTheyAreOfTheirKind) {
  const auto reply = from_json<api::InterfacesReply>(R"({"interfaces": [{"name": "eth0", "side": "wan", "kind": "gso",
    "attach_mode": "tcx", "driver": "veth", "mtu": 1500, "queues": 3, "rx_packets": 7, "tx_packets": 5,
    "reason": "the driver veth offers no zero-copy AF_XDP", "drops": [{"reason": "unknown_spi", "packets": 2}]}]})");
  EXPECT_EQ(render(reply, kView),
            "Interface  Side  Kind  Mode  Driver   MTU  Queues  Received  Sent  Dropped\n"
            "eth0       wan   gso   tcx   veth    1500       3         7     5        2\n"
            "\n"
            "eth0 is gso: the driver veth offers no zero-copy AF_XDP\n");
}

}  // namespace
}  // namespace gw::cli
