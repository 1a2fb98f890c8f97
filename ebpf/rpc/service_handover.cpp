// What clients have put and what was counted, from one gw-fastpath to the one that takes its place (ADR 20): the
// requests themselves, as they are in force, so that a newer release reads them like any client's.
#include "base/log.hpp"
#include "base/secret.hpp"
#include "ebpf/abi/drop_names.hpp"
#include "ebpf/rpc/messages.hpp"
#include "ebpf/rpc/service.hpp"

namespace gw::rpc {
namespace {

constexpr std::size_t kRoutesInAPart = 2000;

std::int64_t to_ns(MonoTime t) { return t.time_since_epoch().count(); }
MonoTime from_ns(std::int64_t ns) { return MonoTime(std::chrono::nanoseconds(ns)); }

Result<fp::HandoverSa> describe(const control::SaEntry& e) {
  fp::HandoverSa out;
  fp::AddSa& m = *out.mutable_add();
  if (!m.ParseFromArray(e.request.bytes().data(), static_cast<int>(e.request.size())) || e.request.empty())
    return fail(Errc::kInternal, std::format("the request of SPI {:08x} is not there", e.key.spi));
  fill(e.key, *m.mutable_id());
  fill(e.src, *m.mutable_src());
  fill(e.dst, *m.mutable_dst());
  m.set_udp_encapsulation(e.encapsulation == esp::Encapsulation::kUdp);
  m.set_fresh(false);
  out.set_owner_epoch(e.owner_epoch);
  out.set_active(e.active);
  out.set_installed_ns(to_ns(e.installed));
  if (e.confirmed) out.set_confirmed_ns(to_ns(*e.confirmed));
  out.set_raised(e.raised);
  return out;
}

}  // namespace

// --- the process that leaves ---------------------------------------------------------------------------------

Status Service::export_parts(const PartSink& sink) const {
  fp::HandoverPart part;
  fp::PutSettings& settings = *part.mutable_request()->mutable_put_settings();
  settings.set_circuit_transit(parts_.maps.transit() == xdp::Transit::kOpen);
  settings.set_rate_in_bps(parts_.rates.rates().in.per_second * 8);
  settings.set_rate_out_bps(parts_.rates.rates().out.per_second * 8);
  GW_TRY(sink(part));
  for (const auto& [id, request] : tunnel_requests_) {
    *part.mutable_request()->mutable_put_tunnel() = request;
    GW_TRY(sink(part));
  }
  fp::HandoverPathMtus& mtus = *part.mutable_path_mtus();
  for (const auto& report : parts_.path_mtus.reports()) {
    fp::HandoverPathMtu& m = *mtus.add_path_mtus();
    m.set_tunnel_id(report.tunnel_id);
    m.set_peer(report.peer.bytes_string());
    m.set_mtu(report.mtu);
    m.set_reported_ns(to_ns(report.at));
  }
  GW_TRY(sink(part));
  part.set_ike_epoch(parts_.sas.ike_epoch());
  GW_TRY(sink(part));
  for (const auto& [key, until] : parts_.sas.reserved()) {
    fill(key, *part.mutable_reserved());
    GW_TRY(sink(part));
  }
  GW_TRY(export_endpoints(sink));
  for (const auto& [key, entry] : parts_.sas.table().entries()) {
    if (entry.leaving) continue;
    GW_TRY_ASSIGN(*part.mutable_sa(), describe(entry));
    Status sent = sink(part);
    wipe_keys(*part.mutable_sa()->mutable_add());
    GW_TRY(std::move(sent));
  }
  return {};
}

/// Before the SAs: a tunnel's device has carrier only where its endpoint is owned.
Status Service::export_endpoints(const PartSink& sink) const {
  if (parts_.sas.endpoints().all().empty()) return {};
  fp::HandoverPart part;
  for (const auto& [address, endpoint] : parts_.sas.endpoints().all()) {
    fp::HandoverEndpoint& m = *part.mutable_endpoints()->add_endpoints();
    fill(endpoint.claim, *m.mutable_claim());
    m.set_lost_to_epoch(parts_.sas.lost_to_epoch(endpoint));
  }
  return sink(part);
}

Status Service::export_routes(std::span<const fib::Route> routes, const PartSink& sink) const {
  while (!routes.empty()) {
    const auto some = routes.first(std::min(routes.size(), kRoutesInAPart));
    routes = routes.subspan(some.size());
    fp::HandoverPart part;
    fp::UpdateRoutes& update = *part.mutable_request()->mutable_update_routes();
    for (const fib::Route& route : some)
      if (route.hop.kind != GW_NEXT_HOP_LOCAL) fill(route, *update.add_add());
    GW_TRY(sink(part));
  }
  return {};
}

Status Service::export_changes(const PartSink& sink) {
  GW_TRY_ASSIGN(const auto changes, parts_.forwarding.take_changes());
  GW_TRY(export_parts(sink));
  std::vector<fib::Route> added;
  fp::HandoverPart part;
  fp::UpdateRoutes& update = *part.mutable_request()->mutable_update_routes();
  for (const auto& [prefix, route] : changes) {
    if (route) {
      added.push_back(*route);
      continue;
    }
    fp::Route& gone = *update.add_remove();
    gone.set_prefix(prefix.address().bytes_string());
    gone.set_prefix_length(prefix.length());
    if (static_cast<std::size_t>(update.remove_size()) < kRoutesInAPart) continue;
    GW_TRY(sink(part));
    update.clear_remove();
  }
  GW_TRY(sink(part));
  return export_routes(added, sink);
}

void Service::export_final(fp::HandoverFinal& out) {
  if (const auto c = parts_.liveness.continuation(); c && !peer_request_.empty()) {
    fp::HandoverHeartbeat& h = *out.mutable_heartbeat();
    (void)h.mutable_peer()->ParseFromArray(peer_request_.bytes().data(), static_cast<int>(peer_request_.size()));
    h.set_nonce(c->nonce.data(), c->nonce.size());
    h.set_sequence(c->sequence);
    if (c->peer) {
      h.set_peer_nonce(c->peer->nonce.data(), c->peer->nonce.size());
      h.set_peer_sequence(c->peer->sequence);
    }
    if (c->lease_since) h.set_last_sent_ns(to_ns(*c->lease_since));
  }
  parts_.liveness.snapshot_bfd(*out.mutable_bfd());
  export_counters(out);
  out.set_started_ns(to_ns(started_));
}

bool Service::endpoints_move() const {
  // What still arrives for one that has gone is decapsulated for longer than packets for it wait here.
  static_assert(control::Endpoints::kStillReceives > std::chrono::milliseconds(worker::kForEndpoints.longest_ms));
  return endpoints_moved_ && parts_.clock.now() - *endpoints_moved_ < control::Endpoints::kStillReceives;
}

// --- the process that comes ------------------------------------------------------------------------------------

Status Service::import_part(const fp::HandoverPart& part) {
  switch (part.body_case()) {
    case fp::HandoverPart::kRequest: {
      const Client client{fp::ROLE_CONTROL, "the gw-fastpath before", 0, generation_};
      const fp::ClientFrame& request = part.request();
      if (request.has_put_settings()) return put_settings(client, request.put_settings());
      if (request.has_put_tunnel()) return put_tunnel(client, request.put_tunnel());
      if (request.has_update_routes()) return update_routes(client, request.update_routes());
      return fail(Errc::kUnsupported, "a request that is no part of a handover");
    }
    case fp::HandoverPart::kSa: return import_sa(part.sa());
    case fp::HandoverPart::kReserved: {
      GW_TRY_ASSIGN(const control::SaKey key, parse_sa_id(part.reserved()));
      return parts_.sas.reserve(key);
    }
    case fp::HandoverPart::kIkeEpoch:
      if (parts_.sas.ike_epoch() != part.ike_epoch()) parts_.sas.on_hello(part.ike_epoch());
      return {};
    case fp::HandoverPart::kEndpoints: return import_endpoints(part.endpoints());
    case fp::HandoverPart::kPathMtus: return import_path_mtus(part.path_mtus());
    case fp::HandoverPart::BODY_NOT_SET: break;
  }
  return fail(Errc::kUnsupported, "a part that this release does not know");
}

Status Service::import_sa(const fp::HandoverSa& m) {
  GW_TRY_ASSIGN(const control::SaRequest request, parse_add_sa(m.add(), parts_.transforms));
  GW_TRY(parts_.sas.add(request, m.owner_epoch()));
  std::string kept = m.add().SerializeAsString();
  parts_.sas.keep_request(request.key(), Secret(std::string_view(kept)));
  wipe(kept);
  control::SaManager::Past past{
      .installed = from_ns(m.installed_ns()), .confirmed = {}, .raised = static_cast<std::uint8_t>(m.raised())};
  if (m.confirmed_ns() != 0) past.confirmed = from_ns(m.confirmed_ns());
  parts_.sas.set_past(request.key(), past);
  imported_.insert(request.key());
  return m.active() ? parts_.sas.activate(request.key()) : Status{};
}

Status Service::import_endpoints(const fp::HandoverEndpoints& m) {
  fp::PutEndpoints claims;
  for (const fp::HandoverEndpoint& e : m.endpoints()) *claims.add_endpoints() = e.claim();
  GW_TRY_ASSIGN(const auto parsed, parse_put_endpoints(claims));
  std::vector<control::SaManager::InheritedEndpoint> endpoints;
  for (int i = 0; i < m.endpoints_size(); ++i)
    endpoints.push_back({parsed[static_cast<std::size_t>(i)], m.endpoints(i).lost_to_epoch()});
  GW_TRY(parts_.sas.inherit_endpoints(endpoints));
  parts_.liveness.set_claims(parts_.sas.endpoints());
  return {};
}

Status Service::import_path_mtus(const fp::HandoverPathMtus& m) {
  std::vector<control::PathMtus::Report> reports;
  for (const fp::HandoverPathMtu& r : m.path_mtus()) {
    const auto peer = IpAddress::from_bytes(std::string_view(r.peer()));
    if (!peer) return fail(Errc::kMalformed, "a path MTU without an address");
    reports.push_back({r.tunnel_id(), *peer, r.mtu(), from_ns(r.reported_ns())});
  }
  parts_.path_mtus.inherit(reports);
  return {};
}

void Service::end_pass() {
  std::vector<control::SaKey> gone;
  for (const auto& [key, entry] : parts_.sas.table().entries())
    if (!imported_.contains(key)) gone.push_back(key);
  for (const control::SaKey& key : gone) (void)parts_.sas.remove(key);
  imported_.clear();
}

Status Service::import_peer(const fp::HandoverFinal& final) {
  if (!final.has_heartbeat()) return {};
  const fp::HandoverHeartbeat& h = final.heartbeat();
  GW_TRY_ASSIGN(const auto settings, parse_put_peer(h.peer()));
  liveness::Partner::Continuation from;
  if (!settings || h.nonce().size() != from.nonce.size() ||
      (!h.peer_nonce().empty() && h.peer_nonce().size() != from.nonce.size()))
    return fail(Errc::kMalformed, "the heartbeat that was handed over does not parse");
  std::ranges::copy(h.nonce(), from.nonce.begin());
  from.sequence = h.sequence();
  if (!h.peer_nonce().empty()) {
    auto& peer = from.peer.emplace();
    std::ranges::copy(h.peer_nonce(), peer.nonce.begin());
    peer.sequence = h.peer_sequence();
  }
  if (h.last_sent_ns() != 0) from.lease_since = from_ns(h.last_sent_ns());
  std::string kept = h.peer().SerializeAsString();
  peer_request_ = Secret(std::string_view(kept));
  wipe(kept);
  return parts_.liveness.go_on_with_peer(*settings, Secret(h.peer().key()), from);
}

// --- counters --------------------------------------------------------------------------------------------------

namespace {

/// Calls `visit(name, counter)` for each of them.
template <class Counters, class Visit>
void visit_drops(Counters& drops, std::string_view prefix, const Visit& visit) {
  for (std::size_t i = 1; i < drops.size(); ++i)
    visit(std::string(prefix) + std::string(drop_info(static_cast<gw_drop>(i)).name), drops[i]);
}

template <class Tunnel, class Visit>
void visit_tunnel(Tunnel& t, const Visit& visit) {
  visit("in_packets", t.in_packets);
  visit("in_bytes", t.in_bytes);
  visit("out_packets", t.out_packets);
  visit("out_bytes", t.out_bytes);
  visit("slow_path", t.slow_path);
  visit("slow_path_in", t.slow_path_in);
  visit("last_in_ms", t.last_in_ms);
  visit("last_out_ms", t.last_out_ms);
  visit_drops(t.in_drops, "in.", visit);
  visit_drops(t.out_drops, "out.", visit);
}

template <class Worker, class Visit>
void visit_worker(Worker& w, const Visit& visit) {
  visit("bursts", w.bursts);
  visit("packets", w.packets);
  visit("wakeups", w.wakeups);
  visit("handed_over", w.handed_over);
  visit("taken_over", w.taken_over);
  visit("moved", w.moved);
  visit("notices_lost", w.notices_lost);
  visit("rejoined", w.rejoined);
  visit("icmp_sent", w.icmp_sent);
  for (std::size_t i = 0; i < w.burst_sizes.size(); ++i) visit(std::format("burst.{}", i), w.burst_sizes[i]);
  for (std::size_t i = 0; i < w.latency.packets.size(); ++i) visit(std::format("latency.{}", i), w.latency.packets[i]);
  visit("latency_sum_ns", w.latency.sum_ns);
  visit("busy_ns", w.busy_ns);
  visit("polling_ns", w.polling_ns);
  visit_drops(w.drops, "drop.", visit);
}

template <class P, class Visit>
void visit_port(P& port, const Visit& visit) {
  visit("rx_packets", port.rx_packets);
  visit("tx_packets", port.tx_packets);
  visit_drops(port.drops, "drop.", visit);
}

/// Sums what it visits into one list.
class Sum {
 public:
  Sum(fp::HandoverFinal& out, std::string of) : out_(*out.add_counters()) { out_.set_of(std::move(of)); }
  void operator()(std::string_view name, const worker::Counter& c) const { add(name, c.get()); }
  void operator()(std::string_view name, std::uint64_t value) const { add(name, value); }

 private:
  void add(std::string_view name, std::uint64_t value) const {
    if (value != 0) (*out_.mutable_values())[std::string(name)] += value;
  }
  fp::HandoverCounters& out_;
};

/// Adds to what it visits. On the thread that counts, or while that rests.
struct Add {
  const fp::HandoverCounters& from;
  void operator()(std::string_view name, worker::Counter& c) const {
    if (const auto it = from.values().find(std::string(name)); it != from.values().end()) c.add(it->second);
  }
};

/// By its name here; as ListSas calls it.
std::string name_of(const control::SaKey& key) { return std::format("sa {:08x} {}", key.spi, key.dst.to_string()); }

std::uint32_t number_in(std::string_view of, std::string_view prefix) {
  return static_cast<std::uint32_t>(std::strtoul(std::string(of.substr(prefix.size())).c_str(), nullptr, 10));
}

std::map<std::string, const fp::HandoverCounters*> drops_of_sas(const fp::HandoverFinal& final) {
  std::map<std::string, const fp::HandoverCounters*> drops;
  for (const fp::HandoverCounters& block : final.counters())
    if (block.of().starts_with("sa ")) drops.emplace(block.of(), &block);
  return drops;
}

void add(const fp::HandoverCounters& from, esp::SaDrops& to) {
  for (int i = 1; i < GW_DROP_COUNT; ++i) {
    const auto reason = static_cast<gw_drop>(i);
    if (const auto it = from.values().find(std::string(drop_info(reason).name)); it != from.values().end())
      to.add(reason, it->second);
  }
}

constexpr std::array<xdp::CounterMap, 4> kMaps = {xdp::CounterMap::kWan, xdp::CounterMap::kVnet,
                                                  xdp::CounterMap::kCircuit, xdp::CounterMap::kDecrypted};

}  // namespace

void Service::export_counters(fp::HandoverFinal& out) const {
  for (const auto& [id, tunnel] : parts_.tunnels.all()) {
    const worker::TunnelTotals totals = parts_.workers.totals(tunnel.slot);
    visit_tunnel(totals, Sum(out, std::format("tunnel {}", id)));
  }
  for (const auto& [key, entry] : parts_.sas.table().entries())
    if (entry.drops && entry.drops->any()) {
      const Sum sum(out, name_of(key));
      for (int i = 1; i < GW_DROP_COUNT; ++i) {
        const auto reason = static_cast<gw_drop>(i);
        sum(drop_info(reason).name, entry.drops->get(reason));
      }
    }
  visit_drops(parts_.tunnels.retired_drops(), "drop.", Sum(out, "workers"));
  for (std::size_t i = 0; i < parts_.workers.count(); ++i) {
    const auto& worker = parts_.workers.all()[i];
    const Sum sum(out, std::format("worker {}", i));
    visit_worker(worker->counters(), sum);
    sum("cpu_ns", worker->cpu_ns());
    sum("latency_max_ns", worker->counters().latency.max_ns.get());
    for (const std::string_view side : {"wan", "vnet", "circuit"})
      if (const worker::Port* port = port_of(*worker, side)) visit_port(*port, Sum(out, std::format("port {}", side)));
  }
  for (const xdp::CounterMap map : kMaps) {
    const Sum sum(out, std::format("bpf {}", static_cast<int>(map)));
    const xdp::Counters counters = parts_.maps.counters(map);
    for (std::size_t i = 0; i < counters.size(); ++i) sum(std::to_string(i), counters[i]);
  }
}

/// As many run as in the process before this one.
void Service::import_worker(std::uint32_t index, const fp::HandoverCounters& block) {
  if (index >= parts_.workers.count()) return;
  parts_.workers[static_cast<worker::WorkerIndex>(index)].count([&](worker::WorkerCounters& w) {
    visit_worker(w, Add{block});
    Add{block}("cpu_ns", w.cpu_ns_before);
    if (const auto it = block.values().find("latency_max_ns"); it != block.values().end())
      w.latency.max_ns.set(std::max(w.latency.max_ns.get(), it->second));
  });
}

void Service::import_counters(const fp::HandoverFinal& final) {
  started_ = from_ns(final.started_ns());
  worker::Worker& first = parts_.workers[0];
  const std::map<std::string, const fp::HandoverCounters*> drops = drops_of_sas(final);
  for (const auto& [key, entry] : parts_.sas.table().entries()) {
    const auto found = drops.find(name_of(key));
    if (found == drops.end() || !entry.drops) continue;
    parts_.workers.call(entry.slot, [&](worker::DataPath&) { add(*found->second, *entry.drops); });
  }
  for (const fp::HandoverCounters& block : final.counters()) {
    const std::string_view of = block.of();
    if (of.starts_with("tunnel ")) {
      if (const auto* tunnel = parts_.tunnels.find(number_in(of, "tunnel ")))
        parts_.workers.add_counters(tunnel->slot, [&](worker::TunnelCounters& t) { visit_tunnel(t, Add{block}); });
    } else if (of == "workers") {  // of tunnels that are gone
      first.count([&](worker::WorkerCounters& w) { visit_worker(w, Add{block}); });
    } else if (of.starts_with("worker ")) {
      import_worker(number_in(of, "worker "), block);
    } else if (of.starts_with("port ")) {
      const std::string_view side = of.substr(5);
      worker::Port* const port = side == "circuit" ? first.circuit() : side == "wan" ? &first.wan() : &first.vnet();
      if (port) first.call([&](worker::DataPath&) { visit_port(*port, Add{block}); });
    } else if (of.starts_with("bpf ")) {
      const std::uint32_t map = number_in(of, "bpf ");
      if (map >= kMaps.size()) continue;
      for (const auto& [name, value] : block.values()) parts_.maps.add_counter(kMaps[map], number_in(name, ""), value);
    }
  }
}

}  // namespace gw::rpc
