#include "gwd/metrics/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

MonoTime at(int seconds) { return MonoTime(std::chrono::seconds(seconds)); }

TEST(BandwidthMeter, IsTheDifferenceBetweenTwoScrapes) {
  BandwidthMeter meter;
  EXPECT_EQ(meter.bits_per_second("a", {1000, 1000}, at(10)), 0);
  EXPECT_EQ(meter.bits_per_second("a", {2000, 1500}, at(12)), 1500.0 * 8 / 2);
  EXPECT_EQ(meter.bits_per_second("b", {5, 5}, at(12)), 0);
  EXPECT_EQ(meter.bits_per_second("a", {0, 10}, at(13)), 0) << "gw-fastpath restarted: no negative bandwidth";
  EXPECT_EQ(meter.bits_per_second("a", {0, 10}, at(13)), 0) << "no time passed";
}

TEST(RenderMetrics, HasTheCloudsNamesAndLabels) {
  MetricsSnapshot snapshot;
  snapshot.instance = "gw-a";
  auto& tunnel = *snapshot.tunnels.add_tunnels();
  tunnel.set_connection("paris-ce1");
  tunnel.set_instance("gw-a");
  tunnel.set_remote_address("198.51.100.1");
  tunnel.set_name("paris-ce1/gw-a");
  tunnel.set_state("up");
  tunnel.set_tunnel_id(7);
  tunnel.set_in_bytes(1234);
  auto& info = *snapshot.fastpath_tunnels.add_tunnels();
  info.set_tunnel_id(7);
  auto& drop = *info.add_drops();
  drop.set_reason("ts_mismatch");
  drop.set_packets(3);
  auto& other = *info.add_drops();
  other.set_reason("replay");
  other.set_packets(2);
  auto& peer = *snapshot.peers.add_peers();
  peer.set_neighbor("169.254.21.2");
  peer.set_tunnel("paris-ce1/gw-a");
  peer.set_source("paris-ce1/gw-a");
  peer.set_bfd("not answered");
  peer.set_state("Established");
  snapshot.components.push_back({"charon", false, ""});
  BandwidthMeter meter;
  const std::string text = render_metrics(snapshot, meter);
  const std::string labels = R"({connection="paris-ce1",remote_ip="198.51.100.1",instance="gw-a"})";
  EXPECT_THAT(text, HasSubstr("tunnel_ingress_bytes" + labels + " 1234\n"));
  EXPECT_THAT(text, HasSubstr("tunnel_ingress_packet_drop_count" + labels + " 5\n"));
  EXPECT_THAT(text, HasSubstr("tunnel_ingress_packet_drop_ts_mismatch" + labels + " 3\n"));
  EXPECT_THAT(text, HasSubstr("tunnel_egress_packet_drop_ts_mismatch" + labels + " 0\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE tunnel_ingress_bytes counter\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          R"(bgp_peer_status{peer="169.254.21.2",tunnel="paris-ce1/gw-a",source="paris-ce1/gw-a",instance="gw-a"} 1)"));
  EXPECT_THAT(
      text,
      HasSubstr(R"(gw_bfd_up{peer="169.254.21.2",tunnel="paris-ce1/gw-a",source="paris-ce1/gw-a",instance="gw-a"} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_component_up{component="charon",instance="gw-a"} 0)"));
}

TEST(RenderMetrics, MemoryOfGwFastpath) {
  MetricsSnapshot snapshot;
  BandwidthMeter meter;
  EXPECT_THAT(render_metrics(snapshot, meter), Not(HasSubstr("gw_fastpath_resident_bytes"))) << "it did not answer";
  fp::Memory& memory = snapshot.memory.emplace();
  memory.set_resident_bytes(1000);
  fp::MemoryPart& buffers = *memory.add_parts();
  buffers.set_part("packet buffers");
  buffers.set_in_use(3);
  buffers.set_capacity(4096);
  memory.add_parts()->set_part("IPv4 routes, as they were told");
  const std::string text = render_metrics(snapshot, meter);
  EXPECT_THAT(text, HasSubstr("gw_fastpath_resident_bytes{instance=\"\"} 1000\n"));
  EXPECT_THAT(text, HasSubstr(R"(gw_fastpath_memory_in_use{part="packet buffers",instance=""} 3)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_fastpath_memory_capacity{part="packet buffers",instance=""} 4096)"));
  EXPECT_THAT(text, Not(HasSubstr(R"(gw_fastpath_memory_capacity{part="IPv4 routes)"))) << "it grows as needed";
}

TEST(RenderMetrics, WorkersHaveHistograms) {
  MetricsSnapshot snapshot;
  auto& worker = *snapshot.counters.add_workers();
  worker.set_worker(3);
  worker.set_packets(500);
  for (const unsigned bursts : {60U, 30U, 9U, 0U, 0U, 0U, 1U}) worker.add_burst_sizes(bursts);
  for (int i = 0; i < 17; ++i) worker.add_latency(i == 2 ? 50 : i == 16 ? 1 : 0);
  worker.set_latency_sum_ns(250'000'000);
  worker.set_cpu_ns(1'500'000'000);
  worker.set_busy_ns(2'000'000'000);
  BandwidthMeter meter;
  const std::string text = render_metrics(snapshot, meter);
  EXPECT_THAT(text, HasSubstr("# TYPE gw_worker_batch_packets histogram\n"));
  const auto bucket = [](const std::string& name, const std::string& le, int value) {
    return name + R"(_bucket{worker="3",instance="",le=")" + le + "\"} " + std::to_string(value) + "\n";
  };
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_batch_packets", "1", 60)));
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_batch_packets", "4", 99)));
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_batch_packets", "64", 100)));
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_batch_packets", "+Inf", 100)));
  EXPECT_THAT(text, HasSubstr(R"(gw_worker_batch_packets_sum{worker="3",instance=""} 500)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_worker_batch_packets_count{worker="3",instance=""} 100)"));
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_latency_seconds", "1e-06", 0)));
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_latency_seconds", "2e-06", 50)));
  EXPECT_THAT(text, HasSubstr(bucket("gw_worker_latency_seconds", "+Inf", 51)));
  EXPECT_THAT(text, HasSubstr(R"(gw_worker_latency_seconds_sum{worker="3",instance=""} 0.25)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_worker_cpu_seconds{worker="3",instance=""} 1.5)"));
  EXPECT_THAT(text, HasSubstr(R"(gw_worker_round_seconds{worker="3",state="busy",instance=""} 2)"));
}

TEST(RenderMetrics, ATunnelThatGwFastpathDoesNotKnowHasNoDropCounters) {
  MetricsSnapshot snapshot;
  snapshot.tunnels.add_tunnels()->set_connection("x");
  BandwidthMeter meter;
  EXPECT_THAT(render_metrics(snapshot, meter), Not(HasSubstr("drop_count")));
}

}  // namespace
}  // namespace gw::gwd
