// The reading half of the service: what gw-fastpath has and has counted.
#include "ebpf/abi/drop_names.hpp"
#include "ebpf/net/interface.hpp"
#include "ebpf/rpc/messages.hpp"
#include "ebpf/rpc/service.hpp"

namespace gw::rpc {
namespace {

std::uint64_t milliseconds(std::chrono::nanoseconds d) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
}

using DropList = google::protobuf::RepeatedPtrField<fp::DropCount>;

void add_drops(const worker::DropCounters& drops, DropList& out) {
  for (std::size_t i = 1; i < drops.size(); ++i) add_drop(drop_info(static_cast<gw_drop>(i)).name, drops[i].get(), out);
}

void add_drops(const std::array<std::uint64_t, GW_DROP_COUNT>& drops, DropList& out) {
  for (std::size_t i = 1; i < drops.size(); ++i) add_drop(drop_info(static_cast<gw_drop>(i)).name, drops[i], out);
}

void add_drops(const xdp::Counters& counters, DropList& out) {
  for (std::size_t i = 0; i < counters.size(); ++i)
    if (const auto name = xdp::drop_name(static_cast<gw_xdp_counter>(i)); !name.empty())
      add_drop(name, counters[i], out);
}

/// What ended in the port, and what the kernel counted between the interface and us.
void add_drops(const worker::Port& port, DropList& out) {
  add_drops(port.drops, out);
  const worker::Losses losses = port.losses();
  add_drop(drop_info(GW_DROP_NO_FRAME).name, losses.no_frame, out);
  add_drop(drop_info(GW_DROP_HANDOVER_FULL).name, losses.ring_full, out);
  add_drop(drop_info(GW_DROP_KERNEL_REASSEMBLY).name, losses.reassembly, out);
}

void fill(const worker::WorkerCounters& w, fp::WorkerCounters& out) {
  out.set_bursts(w.bursts.get());
  out.set_packets(w.packets.get());
  out.set_wakeups(w.wakeups.get());
  out.set_handed_over(w.handed_over.get());
  out.set_taken_over(w.taken_over.get());
  out.set_rejoined(w.rejoined.get());
  out.set_moved(w.moved.get());
  out.set_waited(w.waited.get());
  out.set_icmp_sent(w.icmp_sent.get());
  for (const worker::Counter& size : w.burst_sizes) out.add_burst_sizes(size.get());
  out.set_busy_ns(w.busy_ns.get());
  out.set_polling_ns(w.polling_ns.get());
  for (const worker::Counter& packets : w.latency.packets) out.add_latency(packets.get());
  out.set_latency_sum_ns(w.latency.sum_ns.get());
  out.set_latency_max_ns(w.latency.max_ns.get());
  std::uint64_t lost = 0;
  for (const worker::HandoverDrops& d : w.handover_drops)
    lost += d.in_full.get() + d.out_full.get() + d.in_no_frame.get() + d.out_no_frame.get();
  out.set_handover_drops(lost);
}

void add_ike_drops(const relay::IkeRelay::Counters& c, DropList& out) {
  add_drop(drop_info(GW_DROP_IKE_AWAY).name, c.away, out);
  add_drop(drop_info(GW_DROP_IKE_QUEUE_FULL).name, c.queue_full, out);
  add_drop(drop_info(GW_DROP_IKE_SEND_FAILED).name, c.send_failed, out);
  add_drop(drop_info(GW_DROP_NOT_IKE).name, c.not_ike, out);
  add_drop(drop_info(GW_DROP_STANDBY).name, c.not_ours, out);
}

std::string_view name_of(control::SaSync::State state) {
  switch (state) {
    case control::SaSync::State::kAway: return "away";
    case control::SaSync::State::kMeeting: return "meeting";
    case control::SaSync::State::kInSync: return "in sync";
    case control::SaSync::State::kRefused: break;
  }
  return "refused";
}

void fill(const control::SaSync& sync, fp::SaSyncCounters& out) {
  out.set_state(std::string(name_of(sync.state())));
  out.set_why(sync.why());
  out.set_shared_sas(static_cast<std::uint32_t>(sync.announced()));
  const auto us = [](std::chrono::microseconds d) { return static_cast<std::uint64_t>(d.count()); };
  const control::SyncLag lag = sync.lag();
  out.set_median_lag_us(us(lag.median));
  out.set_p99_lag_us(us(lag.p99));
  out.set_worst_lag_us(us(lag.worst));
  const control::SaSync::Counters& c = sync.counters();
  out.set_reports(c.reports);
  out.set_granted(c.granted);
  out.set_refused_grants(c.refused_grants);
  out.set_stale_frames(c.stale_frames);
}

}  // namespace

void Service::fill_sa(const control::SaEntry& e, fp::SaInfo& out) const {
  fill(e.key, *out.mutable_id());
  fill(e.src, *out.mutable_src());
  fill(e.dst, *out.mutable_dst());
  const bool inbound = e.direction == esp::Direction::kInbound;
  out.set_inbound(inbound);
  out.set_active(e.active);
  out.set_orphan(parts_.sas.table().is_orphan(e));
  out.set_tunnel_id(e.tunnel_id);
  out.set_algorithm(e.algorithm);
  out.set_esn(e.sequence_mode == esp::SequenceMode::kExtended);
  out.set_udp_encapsulation(e.encapsulation == esp::Encapsulation::kUdp);
  if (inbound) {
    out.set_replay_window(e.replay_window);
    out.set_sequence(esp::load_field(e.record->replay_top));
  } else {
    out.set_sequence(esp::load_field(e.record->next_sequence) - 1);
    out.set_iv_epoch(esp::load_field(e.record->iv_epoch));
  }
  fill(*e.record, *out.mutable_counters());
  out.set_standby(!parts_.sas.sends_for(e));
  out.set_waits_for_grant(!inbound && !esp::may_send(*e.record));
  out.set_age_ms(milliseconds(parts_.clock.now() - e.installed));
  out.set_reqid(e.reqid);
  for (int i = 1; e.drops && i < GW_DROP_COUNT; ++i) {
    const auto reason = static_cast<gw_drop>(i);
    add_drop(drop_info(reason).name, e.drops->get(reason), *out.mutable_drops());
  }
}

void Service::list_sas(fp::SaList& out) const {
  for (const auto& [key, entry] : parts_.sas.table().entries()) fill_sa(entry, *out.add_sas());
}

void Service::fill_tunnel(std::uint32_t id, const control::Tunnels::Tunnel& t, fp::TunnelInfo& out) const {
  out.set_tunnel_id(id);
  out.set_name(t.settings->name);
  out.set_device(t.settings->device);
  out.set_mtu(t.settings->mtu);
  out.set_path_mtu(t.room.outer);
  out.set_inner_mtu(control::Tunnels::inner_mtu(t));
  out.set_carrier(t.carrier.value_or(true));
  if (const control::SaEntry* sa = parts_.sas.table().active(id)) {
    fill(sa->src, *out.mutable_local());
    fill(sa->dst, *out.mutable_remote());
    out.set_udp_encapsulation(sa->encapsulation == esp::Encapsulation::kUdp);
    out.set_active_spi(sa->key.spi);
  }
  const worker::TunnelTotals c = parts_.workers.totals(t.slot);
  out.set_in_packets(c.in_packets);
  out.set_in_bytes(c.in_bytes);
  out.set_out_packets(c.out_packets);
  out.set_out_bytes(c.out_bytes);
  out.set_last_in_unix_ms(c.last_in_ms);
  out.set_last_out_unix_ms(c.last_out_ms);
  out.set_slow_path_packets(c.slow_path);
  out.set_slow_path_in_packets(c.slow_path_in);
  out.set_rate_in_bps(t.settings->rates.in.per_second * 8);
  out.set_rate_out_bps(t.settings->rates.out.per_second * 8);
  add_drops(c.in_drops, *out.mutable_drops());
  add_drops(c.out_drops, *out.mutable_out_drops());
}

void Service::list_tunnels(fp::TunnelList& out) const {
  for (const auto& [id, tunnel] : parts_.tunnels.all())
    if (tunnel.settings) fill_tunnel(id, tunnel, *out.add_tunnels());
}

void Service::list_ports(fp::PortList& out) const {
  for (const PortFacts& port : parts_.ports) {
    fp::PortInfo& info = *out.add_ports();
    info.set_interface(port.interface);
    info.set_side(port.side);
    info.set_kind(port.kind);
    info.set_driver(port.driver);
    info.set_mtu(net::interface_mtu(port.interface));
    info.set_attach_mode(port.attachment.mode);
    info.set_zero_copy(port.zero_copy);
    info.set_queues(port.queues);
    std::string reason = port.reason;
    for (const std::string* more : {&port.copy_reason, &port.attachment.reason})
      if (!more->empty()) reason += "; " + *more;
    info.set_reason(reason);
    const Traffic traffic = traffic_of(port.side);
    info.set_rx_packets(traffic.rx);
    info.set_tx_packets(traffic.tx);
    for (const auto& worker : parts_.workers.all())
      if (const worker::Port* p = port_of(*worker, port.side)) add_drops(*p, *info.mutable_drops());
    add_drops(port.side == "wan"    ? parts_.maps.wan_counters()
              : port.side == "vnet" ? parts_.maps.vnet_counters()
                                    : parts_.maps.circuit_counters(),
              *info.mutable_drops());
  }
}

Status Service::trace(const fp::Trace& m, fp::TraceReply& out) {
  GW_TRY_ASSIGN(const control::TraceQuery query, parse_trace(m));
  GW_TRY_ASSIGN(const control::Trace traced, parts_.tracer.trace(query));
  fill(traced, out);
  return {};
}

Status Service::read_forwarding(const fp::ReadForwarding& m, fp::RouteList& out) const {
  GW_TRY_ASSIGN(const auto addresses, parse_read_forwarding(m));
  for (const IpAddress& address : addresses) {
    const fib::Reading reading = parts_.forwarding.read(address);
    fib::Route route{Prefix::host(address), {reading.kind, {}, reading.gateways, GW_ZONE_VNET}};
    if (!reading.gateways.empty() && reading.kind == GW_NEXT_HOP_VNET) route.hop.behind = reading.behind;
    fp::Route& answer = *out.add_routes();
    fill(route, answer);
    for (const std::uint16_t slot : reading.slots) answer.add_tunnel_ids(parts_.tunnels.id_of(slot).value_or(0));
  }
  return {};
}

const worker::Port* Service::port_of(const worker::Worker& worker, std::string_view side) const {
  if (side == "circuit") return worker.circuit();
  return side == "wan" ? &worker.wan() : &worker.vnet();
}

/// What workers and BPF programs have got from a port and sent by it.
Service::Traffic Service::traffic_of(std::string_view side) const {
  Traffic t;
  // What a worker writes for the circuit counts when the program on the data TUN sends it.
  for (const auto& worker : parts_.workers.all()) {
    const worker::Port* const port = port_of(*worker, side);
    if (!port) continue;
    t.rx += port->rx_packets.get();
    if (side != "circuit") t.tx += port->tx_packets.get();
  }
  if (side == "wan") return t;
  const bool circuit = side == "circuit";
  const xdp::Counters vnet = parts_.maps.vnet_counters();
  const xdp::Counters from_circuit = parts_.maps.circuit_counters();
  const xdp::Counters& came = circuit ? from_circuit : vnet;
  t.rx += came[GW_XDP_FORWARDED_VNET] + came[GW_XDP_FORWARDED_CIRCUIT];
  const auto out = circuit ? GW_XDP_FORWARDED_CIRCUIT : GW_XDP_FORWARDED_VNET;
  t.tx += vnet[out] + from_circuit[out];
  if (circuit) t.tx += parts_.maps.decrypted_counters()[out];
  return t;
}

void Service::fill_worker(worker::WorkerIndex index, fp::WorkerCounters& out) const {
  const worker::Worker& worker = parts_.workers[index];
  fill(worker.counters(), out);
  out.set_worker(index);
  out.set_tunnels(static_cast<std::uint32_t>(parts_.workers.load(index)));
  if (worker.cpu()) out.add_cpus(static_cast<std::uint32_t>(*worker.cpu()));
  out.set_cpu_ns(worker.cpu_ns());
  for (const PortFacts& facts : parts_.ports) {
    const worker::Port* const port = port_of(worker, facts.side);
    if (!port) continue;
    fp::WorkerPort& p = *out.add_ports();
    p.set_side(facts.side);
    p.set_interface(facts.interface);
    p.set_kind(facts.kind);
    // As open_ports() deals them out; a gso port has one for each.
    for (std::size_t queue = index; queue < facts.queues; queue += parts_.workers.count())
      p.add_queues(static_cast<std::uint32_t>(queue));
    p.set_rx_packets(port->rx_packets.get());
    p.set_tx_packets(port->tx_packets.get());
  }
}

void Service::counters(fp::Counters& out) const {
  out.set_rate_in_bps(parts_.rates.rates().in.per_second * 8);
  out.set_rate_out_bps(parts_.rates.rates().out.per_second * 8);
  add_drops(parts_.tunnels.retired_drops(), *out.mutable_drops());
  for (std::size_t slot = 0; slot < parts_.workers.shared().tunnels(); ++slot) {
    const worker::TunnelTotals tunnel = parts_.workers.totals(static_cast<worker::TunnelSlot>(slot));
    add_drops(tunnel.in_drops, *out.mutable_drops());
    add_drops(tunnel.out_drops, *out.mutable_drops());
  }
  add_drops(parts_.maps.wan_counters(), *out.mutable_drops());
  add_drops(parts_.maps.vnet_counters(), *out.mutable_drops());
  add_drops(parts_.maps.circuit_counters(), *out.mutable_drops());
  add_drops(parts_.maps.decrypted_counters(), *out.mutable_drops());
  add_ike_drops(parts_.ike.counters(), *out.mutable_drops());
  for (const auto& worker : parts_.workers.all()) {
    add_drops(worker->counters().drops, *out.mutable_drops());
    add_drops(worker->wan(), *out.mutable_drops());
    add_drops(worker->vnet(), *out.mutable_drops());
    if (worker->circuit()) add_drops(*worker->circuit(), *out.mutable_drops());
    out.set_control_queue_full(out.control_queue_full() + worker->counters().notices_lost.get());
    const auto index = static_cast<worker::WorkerIndex>(out.workers_size());
    fill_worker(index, *out.add_workers());
  }
  const Traffic wan = traffic_of("wan");
  const Traffic vnet = traffic_of("vnet");
  out.set_wan_rx_packets(wan.rx);
  out.set_wan_tx_packets(wan.tx);
  out.set_vnet_rx_packets(vnet.rx);
  out.set_vnet_tx_packets(vnet.tx);
  if (parts_.circuit == CircuitPort::kThere) {
    const Traffic circuit = traffic_of("circuit");
    out.set_circuit_port(true);
    out.set_circuit_rx_packets(circuit.rx);
    out.set_circuit_tx_packets(circuit.tx);
  }
  fill(parts_.sas.sync(), *out.mutable_sa_sync());
  out.set_uptime_ms(milliseconds(parts_.clock.now() - started_));
}

}  // namespace gw::rpc
