// What Prometheus is told of two instances that are one gateway, and that the documentation has every metric.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>

#include "gwd/metrics/metrics.hpp"

namespace gw::gwd {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RenderMetrics, HasTheSecondsUntilACertificateEnds) {
  MetricsSnapshot snapshot;
  BandwidthMeter meter;
  EXPECT_THAT(render_metrics(snapshot, meter), Not(HasSubstr("gw_certificate")));
  snapshot.wall = WallTime(std::chrono::seconds(1'700'000'000));
  snapshot.certificates = {{"/etc/gw/ha/gw-a.crt", snapshot.wall + std::chrono::hours(2), ""},
                           {"/etc/gw/ha/ca.crt", snapshot.wall - std::chrono::seconds(5), ""}};
  const std::string text = render_metrics(snapshot, meter);
  EXPECT_THAT(text, HasSubstr(R"(gw_certificate_expiry_seconds{file="/etc/gw/ha/gw-a.crt",instance=""} 7200)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_certificate_expiry_seconds{file="/etc/gw/ha/ca.crt",instance=""} -5)"));
}

TEST(RenderMetrics, HasTheSyncChannelsLagByKind) {
  MetricsSnapshot snapshot;
  BandwidthMeter meter;
  EXPECT_THAT(render_metrics(snapshot, meter), Not(HasSubstr("gw_sync")));
  snapshot.sync.emplace();
  snapshot.sync->paths = {{.connected = true, .round_trip = std::chrono::microseconds(250)}, {}};
  snapshot.sync->sessions = 3;
  auto& kind = snapshot.sync->kinds[sync::index_of(sync::Kind::kFastpath)];
  kind.lag = std::chrono::microseconds(1500);
  kind.lag_histogram = {5, 2, 0, 1, 0, 0, 0, 0, 0, 4};
  kind.lag_sum_seconds = 9.5;
  const std::string text = render_metrics(snapshot, meter);
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_path_up{path="1",instance=""} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_path_up{path="2",instance=""} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_round_trip_seconds{path="1",instance=""} 0.00025)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_sessions{instance=""} 3)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_lag_seconds{kind="fastpath",instance=""} 0.0015)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_acknowledged_seconds_bucket{kind="fastpath",instance="",le="0.002"} 7)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_acknowledged_seconds_bucket{kind="fastpath",instance="",le="0.01"} 8)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_acknowledged_seconds_bucket{kind="fastpath",instance="",le="+Inf"} 12)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_sync_acknowledged_seconds_sum{kind="fastpath",instance=""} 9.5)"));
}

::gw::api::v1::HaReply pair() {
  ::gw::api::v1::HaReply ha;
  ha.set_instance("gw-a");
  ha.mutable_ike()->set_synced(true);
  auto& peer = *ha.add_peers();
  peer.set_instance("gw-b");
  peer.set_sync(true);
  peer.set_unfit("no port on the wan");
  auto& here = *ha.add_endpoints();
  here.set_address("203.0.113.10");
  here.set_home("gw-a");
  here.set_owner("gw-a");
  here.set_state("owned");
  here.set_term(7);
  here.set_move("bgp");
  here.add_announced_to("wan:edge1/gw-a");
  auto& there = *ha.add_endpoints();
  there.set_address("203.0.113.11");
  there.set_home("gw-b");
  there.set_preferred("gw-a");
  there.set_owner("gw-b");
  there.set_state("standby");
  auto& alarm = *ha.add_alarms();
  alarm.set_kind("PeerDead");
  alarm.set_severity("error");
  return ha;
}

TEST(RenderMetrics, WhoHasWhichEndpoint) {
  MetricsSnapshot snapshot;
  snapshot.instance = "gw-a";
  BandwidthMeter meter;
  EXPECT_THAT(render_metrics(snapshot, meter), Not(HasSubstr("gw_ha")));
  snapshot.ha = pair();
  const std::string text = render_metrics(snapshot, meter);
  const std::string here = R"({address="203.0.113.10",home="gw-a",instance="gw-a"})";
  const std::string there = R"({address="203.0.113.11",home="gw-b",instance="gw-a"})";
  EXPECT_THAT(text, HasSubstr("gw_ha_endpoint_owned" + here + " 1\n"));
  EXPECT_THAT(text, HasSubstr("gw_ha_endpoint_owned" + there + " 0\n"));
  EXPECT_THAT(text, HasSubstr("gw_ha_endpoint_at_home" + here + " 1\n"));
  EXPECT_THAT(text, HasSubstr("gw_ha_endpoint_at_home" + there + " 0\n")) << "gw-a is preferred";
  EXPECT_THAT(text, HasSubstr("gw_ha_endpoint_moves" + here + " 7\n"));
  EXPECT_THAT(text, HasSubstr("gw_ha_endpoint_announced_sessions" + here + " 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("gw_ha_endpoint_announced_sessions" + there))) << "it does not move by BGP";
  EXPECT_THAT(text, HasSubstr(R"(gw_ha_peer_heard{peer="gw-b",by="sync",instance="gw-a"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_ha_peer_heard{peer="gw-b",by="data",instance="gw-a"} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_ha_peer_fit{peer="gw-b",instance="gw-a"} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_ha_fit{instance="gw-a"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_ha_ike_synced{instance="gw-a"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_ha_alarm{kind="PeerDead",address="",severity="error",instance="gw-a"} 1)"));
}

/// With at least one sample of each metric.
MetricsSnapshot everything() {
  MetricsSnapshot all;
  auto& tunnel = *all.tunnels.add_tunnels();
  tunnel.set_tunnel_id(7);
  tunnel.mutable_proof()->set_method("echo");
  tunnel.set_rate_in_bps(1);
  tunnel.set_rate_out_bps(1);
  all.fastpath_tunnels.add_tunnels()->set_tunnel_id(7);
  all.peers.add_peers()->set_bfd("not answered");
  all.components.push_back({"charon", false, ""});
  all.counters.add_drops()->set_reason("replay");
  auto& worker = *all.counters.add_workers();
  for (int i = 0; i < 7; ++i) worker.add_burst_sizes(0);
  for (int i = 0; i < 17; ++i) worker.add_latency(0);
  auto& part = *all.memory.emplace().add_parts();
  part.set_capacity(1);
  all.ha = pair();
  all.sync.emplace().paths.resize(1);
  all.sync->certificate_ends = WallTime();
  all.certificates = {{"/etc/gw/ha/ca.crt", WallTime(), ""}};
  return all;
}

std::set<std::string> names_in(const std::string& text, const std::regex& pattern) {
  std::set<std::string> names;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) names.insert((*it)[1]);
  return names;
}

TEST(RenderMetrics, TheDocumentationHasThemAllAndNoOthers) {
  std::ifstream file("docs/metrics.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  BandwidthMeter meter;
  const auto said = names_in(render_metrics(everything(), meter), std::regex("# HELP ([a-z_]+) "));
  const auto documented = names_in(page, std::regex(R"(\n\| `([a-z_]+)` \|)"));
  EXPECT_THAT(documented, ElementsAreArray(said));
  // Rules for alarms are of no use if they ask for what is not there.
  std::ifstream rules_file("docs/alerts.yaml");
  const std::string rules(std::istreambuf_iterator<char>(rules_file), {});
  const auto asked = names_in(rules, std::regex(R"(\b((?:gw|bgp|tunnel)_[a-z_]+)\b)"));
  EXPECT_FALSE(asked.empty());
  for (const std::string& name : asked) EXPECT_TRUE(said.contains(name)) << name;
}

}  // namespace
}  // namespace gw::gwd
