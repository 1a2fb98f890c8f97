#include "gwd/metrics/metrics.hpp"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "gwd/api/ha.hpp"
#include "gwd/api/replies.hpp"
#include "gwd/metrics/families.hpp"
#include "gwd/metrics/ha_metrics.hpp"

namespace gw::gwd {
namespace {

using metrics::Families;
using metrics::Labels;

void add_tunnel(Families& out, const ::gw::api::v1::Tunnel& tunnel, const fp::TunnelInfo* info, double bandwidth) {
  const Labels labels{
      {"connection", tunnel.connection()}, {"remote_ip", tunnel.remote_address()}, {"instance", tunnel.instance()}};
  const bool up = tunnel.state() == "up";
  out.flag({"gw_tunnel_up", "1 when the tunnel has an installed CHILD_SA"}, labels, up);
  out.flag({"mmsa_count", "IKE SAs (main mode, in the cloud's words)"}, labels, up);
  out.flag({"qmsa_count", "CHILD SAs (quick mode, in the cloud's words)"}, labels, up);
  out.counter({"gw_tunnel_rekeys", "CHILD_SA rekeys since gwd started"}, labels, tunnel.rekeys());
  if (!tunnel.proof().method().empty())
    out.gauge({"gw_tunnel_proven_timestamp_seconds", "When the tunnel last carried a packet both ways; 0: never"},
              labels, static_cast<double>(tunnel.proof().proven_unix_ms()) / 1000);
  out.gauge({"tunnel_average_bandwidth", "Bits per second both ways since the previous scrape"}, labels, bandwidth);
  out.counter({"tunnel_egress_bytes", "Inner bytes sent into the tunnel"}, labels, tunnel.out_bytes());
  out.counter({"tunnel_ingress_bytes", "Inner bytes received from the tunnel"}, labels, tunnel.in_bytes());
  out.counter({"tunnel_egress_packets", "Packets sent into the tunnel"}, labels, tunnel.out_packets());
  out.counter({"tunnel_ingress_packets", "Packets received from the tunnel"}, labels, tunnel.in_packets());
  if (info == nullptr) return;
  std::uint64_t in = 0;
  std::uint64_t sent = 0;
  for (const auto& drop : info->drops()) in += drop.packets();
  for (const auto& drop : info->out_drops()) sent += drop.packets();
  const auto mismatch = [](const auto& list) {
    const auto it = std::ranges::find(list, "ts_mismatch", &fp::DropCount::reason);
    return it == list.end() ? 0 : it->packets();
  };
  out.counter({"tunnel_ingress_packet_drop_count", "Packets from the tunnel that were dropped"}, labels, in);
  out.counter({"tunnel_egress_packet_drop_count", "Packets for the tunnel that were dropped"}, labels, sent);
  out.counter({"tunnel_ingress_packet_drop_ts_mismatch", "Packets from the tunnel outside its traffic selectors"},
              labels, mismatch(info->drops()));
  out.counter({"tunnel_egress_packet_drop_ts_mismatch", "Packets for the tunnel outside its traffic selectors"}, labels,
              mismatch(info->out_drops()));
  if (tunnel.rate_in_bps() != 0)
    out.gauge({"gw_tunnel_ingress_rate_limit", "Bits per second that may come out of the tunnel"}, labels,
              static_cast<double>(tunnel.rate_in_bps()));
  if (tunnel.rate_out_bps() != 0)
    out.gauge({"gw_tunnel_egress_rate_limit", "Bits per second that may go into the tunnel"}, labels,
              static_cast<double>(tunnel.rate_out_bps()));
  out.counter({"gw_tunnel_ingress_over_rate", "Packets from the tunnel that were dropped for a rate limit"}, labels,
              tunnel.over_rate_in());
  out.counter({"gw_tunnel_egress_over_rate", "Packets for the tunnel that were dropped for a rate limit"}, labels,
              tunnel.over_rate_out());
}

void add_peer(Families& out, const ::gw::api::v1::BgpPeer& peer, const std::string& instance) {
  const Labels labels{
      {"peer", peer.neighbor()}, {"tunnel", peer.tunnel()}, {"source", peer.source()}, {"instance", instance}};
  out.flag({"bgp_peer_status", "1 when the BGP session is established"}, labels, peer.state() == "Established");
  if (!peer.bfd().empty() && peer.bfd() != "off")
    out.flag({"gw_bfd_up", "1 when the peer answers BFD; 0: the session is on BGP's timers"}, labels,
             peer.bfd().starts_with("up"));
  out.gauge({"bgp_routes_learned", "Routes accepted from the peer"}, labels, peer.routes_received());
  out.gauge({"bgp_routes_advertised", "Routes told to the peer"}, labels, peer.routes_advertised());
}

/// A class of bounds that double.
std::vector<double> doubling(double first, std::size_t classes) {
  std::vector<double> bounds;
  for (double bound = first; bounds.size() < classes; bound *= 2) bounds.push_back(bound);
  return bounds;
}

void add_worker_load(Families& out, const fp::WorkerCounters& worker, const Labels& labels) {
  using std::chrono::nanoseconds;
  const auto with = [&](const char* key, const char* value) {
    Labels more = labels;
    more.insert(more.begin() + 1, {key, value});
    return more;
  };
  out.seconds({"gw_worker_cpu_seconds", "CPU time of the packet thread"}, labels, nanoseconds(worker.cpu_ns()));
  for (const auto& [state, ns] : {std::pair("busy", worker.busy_ns()), std::pair("polling", worker.polling_ns())})
    out.seconds({"gw_worker_round_seconds",
                 "How long rounds of the packet thread took that had packets (busy) or none (polling); of one in 61"},
                with("state", state), nanoseconds(ns));
  static const std::vector<double> kBatches = doubling(1, 7);
  static const std::vector<double> kLatencies = doubling(5e-7, 16);
  const auto counts = [](const auto& field) { return std::span(field.data(), static_cast<std::size_t>(field.size())); };
  if (worker.burst_sizes_size() == 7)
    out.histogram({"gw_worker_batch_packets", "Packets of a burst"}, labels,
                  {kBatches, counts(worker.burst_sizes()), static_cast<double>(worker.packets())});
  if (worker.latency_size() == 17)
    out.histogram({"gw_worker_latency_seconds",
                   "How long packets took from the packet thread that received them to the kernel; of one burst in 17"},
                  labels,
                  {kLatencies, counts(worker.latency()),
                   std::chrono::duration<double>(nanoseconds(worker.latency_sum_ns())).count()});
}

void add_worker(Families& out, const fp::WorkerCounters& worker, const std::string& instance) {
  const Labels labels{{"worker", std::to_string(worker.worker())}, {"instance", instance}};
  out.gauge({"gw_worker_tunnels", "Tunnels that the packet thread owns"}, labels, worker.tunnels());
  out.counter({"gw_worker_packets", "Packets that the packet thread worked on"}, labels, worker.packets());
  out.counter({"gw_worker_bursts", "Bursts that the packet thread worked on"}, labels, worker.bursts());
  out.counter({"gw_worker_handed_over", "Packets handed to the worker that owns their tunnel"}, labels,
              worker.handed_over());
  out.counter({"gw_worker_handover_drops", "Packets lost between workers"}, labels, worker.handover_drops());
  out.counter({"gw_worker_moved", "Packets taken for a tunnel whose route led to a neighbour by then, forwarded there"},
              labels, worker.moved());
  add_worker_load(out, worker, labels);
}

void add_memory(Families& out, const fp::Memory& memory, const std::string& instance) {
  out.gauge({"gw_fastpath_resident_bytes", "Memory that gw-fastpath has"}, {{"instance", instance}},
            static_cast<double>(memory.resident_bytes()));
  for (const fp::MemoryPart& part : memory.parts()) {
    const Labels labels{{"part", part.part()}, {"instance", instance}};
    out.gauge({"gw_fastpath_memory_in_use", "How many places of this part are in use"}, labels,
              static_cast<double>(part.in_use()));
    if (part.capacity() != 0)
      out.gauge({"gw_fastpath_memory_capacity", "How many places were reserved at start"}, labels,
                static_cast<double>(part.capacity()));
  }
}

}  // namespace

double BandwidthMeter::bits_per_second(const std::string& tunnel, Bytes bytes, MonoTime at) {
  const std::uint64_t now = bytes.in + bytes.out;
  const auto [it, first] = last_.try_emplace(tunnel, now, at);
  const Last before = std::exchange(it->second, Last{now, at});
  const double seconds = std::chrono::duration<double>(at - before.at).count();
  if (first || now < before.bytes || seconds <= 0) return 0;
  return static_cast<double>(now - before.bytes) * 8 / seconds;
}

std::string render_metrics(const MetricsSnapshot& snapshot, BandwidthMeter& meter) {
  Families out;
  double total = 0;
  const std::string& instance = snapshot.instance;
  for (const auto& tunnel : snapshot.tunnels.tunnels()) {
    const auto& list = snapshot.fastpath_tunnels.tunnels();
    const auto info = std::ranges::find(list, tunnel.tunnel_id(), &fp::TunnelInfo::tunnel_id);
    const double bandwidth = meter.bits_per_second(tunnel.name(), {tunnel.in_bytes(), tunnel.out_bytes()}, snapshot.at);
    total += bandwidth;
    add_tunnel(out, tunnel, info == list.end() ? nullptr : &*info, bandwidth);
  }
  for (const auto& peer : snapshot.peers.peers()) add_peer(out, peer, instance);
  out.gauge({"average_bandwidth", "Bits per second of all tunnels since the previous scrape"}, {{"instance", instance}},
            total);
  out.gauge({"vnet_address_prefix_count", "Prefixes of the VNet"}, {{"instance", instance}},
            static_cast<double>(snapshot.vnet_prefixes));
  out.gauge({"gw_routes", "Prefixes with a route"}, {{"instance", instance}}, static_cast<double>(snapshot.routes));
  out.gauge({"gw_route_differences", "Prefixes that FRR would forward in another way, for a second or more"},
            {{"instance", instance}}, static_cast<double>(snapshot.route_differences));
  out.gauge({"gw_config_revision", "Running revision of the configuration"}, {{"instance", instance}},
            snapshot.revision);
  for (const auto& component : snapshot.components)
    out.flag({"gw_component_up", "1 when gwd is connected to the program"},
             {{"component", component.name}, {"instance", instance}}, component.connected);
  for (const auto& drop : snapshot.counters.drops())
    out.counter({"gw_drops", "Packets dropped by gw-fastpath, by reason"},
                {{"reason", drop.reason()}, {"instance", instance}}, drop.packets());
  if (snapshot.memory) add_memory(out, *snapshot.memory, instance);
  for (const auto& worker : snapshot.counters.workers()) add_worker(out, worker, instance);
  if (snapshot.ha) metrics::add_ha(out, *snapshot.ha, instance);
  if (snapshot.sync) metrics::add_sync(out, *snapshot.sync, instance);
  for (const pki::CertificateEnd& end : snapshot.certificates)
    out.gauge({"gw_certificate_expiry_seconds",
               "How long a certificate of the sync channel is still good; negative: it "
               "has expired"},
              {{"file", end.file}, {"instance", instance}},
              std::chrono::duration<double>(end.until - snapshot.wall).count());
  return out.text();
}

boost::asio::awaitable<HttpResponse> MetricsEndpoint::handle(HttpRequest request) {
  if (request.path != "/metrics") co_return HttpResponse{404, "text/plain", "only /metrics is here\n"};
  if (request.method != "GET") co_return HttpResponse{405, "text/plain", "GET only\n"};
  MetricsSnapshot snapshot;
  fp::ClientFrame list;
  list.mutable_list_tunnels();
  if (auto reply = co_await gateway_.fastpath().request(std::move(list))) snapshot.fastpath_tunnels = reply->tunnels();
  fp::ClientFrame count;
  count.mutable_get_counters();
  if (auto reply = co_await gateway_.fastpath().request(std::move(count))) snapshot.counters = reply->counters();
  fp::ClientFrame weigh;
  weigh.mutable_get_memory();
  if (auto reply = co_await gateway_.fastpath().request(std::move(weigh))) snapshot.memory = reply->memory();
  snapshot.tunnels = make_tunnels_reply(gateway_, snapshot.fastpath_tunnels);
  snapshot.peers = make_bgp_peers_reply(gateway_);
  snapshot.components = gateway_.components();
  snapshot.revision = config_.running_revision();
  if (const HaController* ha = gateway_.ha()) {
    if (auto reply = make_ha_reply(gateway_, config_, clock_)) snapshot.ha = *std::move(reply);
    snapshot.sync = ha->channel();
    snapshot.certificates = ha->certificates();
  }
  if (gateway_.model()) {
    snapshot.instance = gateway_.model()->instance;
    snapshot.vnet_prefixes = gateway_.model()->vnet_prefixes.size();
  }
  snapshot.routes = gateway_.routes().rib().size();
  snapshot.route_differences = gateway_.reconcile().differences().size();
  snapshot.at = clock_.now();
  snapshot.wall = clock_.wall();
  co_return HttpResponse{200, "text/plain; version=0.0.4", render_metrics(snapshot, meter_)};
}

}  // namespace gw::gwd
