#include "gwd/api/replies.hpp"

#include <algorithm>
#include <format>

#include "ebpf/abi/drop_names.hpp"
#include "gwd/control/encapsulation.hpp"
#include "gwd/control/kernel_net.hpp"
#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace {

/// As bgpd counts them: those that policy let in.
std::uint32_t routes_received(const Gateway& gateway, std::string_view tunnel) {
  const auto peer = gateway.routes().peer_routes(tunnel);
  return peer ? static_cast<std::uint32_t>(peer->count.accepted()) : 0;
}

using DropList = google::protobuf::RepeatedPtrField<fp::DropCount>;

/// By a limit on the rate, the tunnel's or the gateway's.
std::uint64_t over_rate(const DropList& drops) {
  std::uint64_t packets = 0;
  for (const auto& drop : drops)
    if (drop.reason() == "rate_tunnel" || drop.reason() == "rate_gateway") packets += drop.packets();
  return packets;
}

std::string hex_spi(std::uint32_t spi) { return std::format("{:08x}", spi); }

std::string address_text(const std::string& bytes) {
  const auto address = IpAddress::from_bytes(bytes);
  return address ? address->to_string() : std::string{};
}

// IKE's last word says little while gw-fastpath or charon itself is away.
void explain_absence(api::Tunnel& out, const Gateway& gateway) {
  if (out.state() == to_string(TunnelState::kDisabled)) return;
  if (!gateway.fastpath().connected()) {
    out.set_state(std::string(to_string(TunnelState::kDown)));
    out.clear_up_since_unix_ms();
    out.set_reason(std::format("nothing passes: gw-fastpath {}", kFastpathAway));
  } else if (!gateway.ike().connected()) {
    const bool up = out.state() == to_string(TunnelState::kUp);
    out.set_reason(std::format(
        "{}: charon {}", up ? "goes on until its SAs are due for rekeying" : "cannot be brought up", kCharonAway));
  } else {
    return;
  }
  out.set_fault(std::string(ike::to_string(ike::Fault::kServiceNotRunning)));
}

// charon has no IKE SA, but gw-fastpath still has ESP SAs: of a charon that ended. Packets pass.
void explain_orphan(api::Tunnel& out, const fp::TunnelInfo& info, const config::TunnelModel& model) {
  const bool without_ike =
      out.state() == to_string(TunnelState::kDown) || out.state() == to_string(TunnelState::kConnecting);
  if (!without_ike || !info.carrier()) return;
  out.set_state("esp-only");
  if (!out.reason().empty()) return;
  out.set_reason(std::format("packets pass with the SAs of before; {}",
                             model.initiate != config::Initiate::kResponderOnly
                                 ? "IKE is being set up again"
                                 : "IKE comes back when the site, which alone initiates, notices"));
}

// charon sends nothing from an address that the machine does not have, and says nothing.
void explain_missing_address(api::Tunnel& out, const IpAddress& local) {
  if (out.state() != to_string(TunnelState::kConnecting) || KernelNet::has_address(local)) return;
  out.set_reason(std::format("this machine does not have the endpoint address {}: nothing can be sent from it",
                             local.to_string()));
  out.set_fault(std::string(ike::to_string(ike::Fault::kPeerReachability)));
}

/// Why a session that is not established is not, in words that name what to look at.
enum class Way : std::uint8_t { kTunnel, kLink };
std::string bgp_trouble(const bgp::PeerStatus& status, const config::BgpSettings& bgp, Way way) {
  const IpAddress& peer = bgp.unnumbered ? status.learned : bgp.peer;
  if (bgp.unnumbered && status.learned.is_unspecified() && !status.established())
    return std::format("no router advertisement has come through {}: does the device send them on its tunnel?",
                       status.name);
  // Connect and Active: no TCP connection. What bgpd calls the last error is then of an earlier time, or its own wait.
  if (status.state == "Connect" || status.state == "Active")
    return way == Way::kTunnel
               ? std::format(
                     "{} does not answer in the tunnel: compare `local`, `peer` and the MD5 password with the device's "
                     "own",
                     peer)
               : std::format(
                     "{} does not answer: is it on the link, and does it have this side as a neighbour, with the same "
                     "MD5 password?",
                     peer);
  const std::string& last_error = status.last_error;
  return last_error.empty() ? "no answer yet" : last_error;
}

std::string bfd_text(const config::BgpSettings& bgp, const bgp::BfdStates& states) {
  if (!bgp.bfd) return "off";
  const auto state = states.find(bgp.peer);
  if (state == states.end()) return {};
  if (state->second.up) return std::format("up {}ms x {}", bgp.bfd->interval.count(), bgp.bfd->multiplier);
  return "not answered";
}

}  // namespace

std::uint64_t unix_ms(WallTime time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

api::TunnelsReply make_tunnels_reply(const Gateway& gateway, const fp::TunnelList& tunnels) {
  api::TunnelsReply reply;
  if (!gateway.model()) return reply;
  for (const auto& model : gateway.model()->tunnels) {
    auto& out = *reply.add_tunnels();
    out.set_name(model.name);
    out.set_connection(model.connection);
    out.set_instance(gateway.model()->instance);
    out.set_device(model.device);
    out.set_tunnel_id(model.tunnel_id);
    out.set_mtu(model.mtu);
    out.set_local_address(model.local.to_string());
    out.set_remote_address(model.remote.to_string());
    out.set_ike_version(model.ike.version == 1 ? "IKEv1" : "IKEv2");
    if (const IkeStatus* ike = gateway.ike().status(model.name)) {
      out.set_state(std::string(to_string(ike->state)));
      out.set_reason(ike->diagnosis.sentence);
      out.set_fault(std::string(ike::to_string(ike->diagnosis.fault)));
      out.set_ike_proposal(ike->ike_proposal);
      out.set_esp_proposal(ike->esp_proposal);
      out.set_udp_encapsulation(ike->udp_encapsulation);
      if (ike->state == TunnelState::kUp)
        out.set_encapsulation_reason(
            std::string(encapsulation_reason({.configured = model.encapsulation,
                                              .by_default = gateway.ike().default_encapsulation(),
                                              .agreed = ike->udp_encapsulation ? EspForm::kInUdp : EspForm::kNative})));
      out.set_rekeys(ike->rekeys);
      if (ike->up_since) out.set_up_since_unix_ms(unix_ms(*ike->up_since));
    }
    explain_missing_address(out, model.local);
    explain_absence(out, gateway);
    if (model.bgp) {
      const auto& sessions = gateway.bgp().sessions();
      const auto session = sessions.find(model.bgp->peer);
      const bool known = session != sessions.end() && gateway.bgp().connected();
      out.set_bgp_state(model.disabled ? "Disabled" : known ? session->second.state : "Unknown");
      if (known && out.state() == to_string(TunnelState::kUp) && !session->second.established() && out.reason().empty())
        out.set_reason(std::format("no routes: BGP with {} is {}: {}", session->second.name, session->second.state,
                                   bgp_trouble(session->second, *model.bgp, Way::kTunnel)));
      out.set_routes_received(routes_received(gateway, model.name));
    }
    if (const PathProof* proof = gateway.paths().proof(model.tunnel_id)) fill_proof(*proof, *out.mutable_proof());
    const auto info = std::ranges::find(tunnels.tunnels(), model.tunnel_id, &fp::TunnelInfo::tunnel_id);
    if (info == tunnels.tunnels().end()) continue;
    explain_orphan(out, *info, model);
    out.set_mtu(info->inner_mtu());
    out.set_path_mtu(info->path_mtu());
    out.set_in_packets(info->in_packets());
    out.set_in_bytes(info->in_bytes());
    out.set_out_packets(info->out_packets());
    out.set_out_bytes(info->out_bytes());
    std::uint64_t dropped = 0;
    for (const auto& drop : info->drops()) dropped += drop.packets();
    for (const auto& drop : info->out_drops()) dropped += drop.packets();
    out.set_dropped_packets(dropped);
    out.set_rate_in_bps(info->rate_in_bps());
    out.set_rate_out_bps(info->rate_out_bps());
    out.set_over_rate_in(over_rate(info->drops()));
    out.set_over_rate_out(over_rate(info->out_drops()));
  }
  return reply;
}

api::SasReply make_sas_reply(const Gateway& gateway, const fp::SaList& sas) {
  api::SasReply reply;
  for (const auto& sa : sas.sas()) {
    auto& out = *reply.add_sas();
    out.set_tunnel(std::format("id {}", sa.tunnel_id()));
    if (gateway.model())
      for (const auto& tunnel : gateway.model()->tunnels)
        if (tunnel.tunnel_id == sa.tunnel_id()) out.set_tunnel(tunnel.name);
    out.set_direction(sa.inbound() ? "in" : "out");
    out.set_spi(hex_spi(sa.id().spi()));
    out.set_source(address_text(sa.src().address()));
    out.set_destination(address_text(sa.dst().address()));
    out.set_algorithm(sa.algorithm());
    out.set_esn(sa.esn());
    out.set_udp_encapsulation(sa.udp_encapsulation());
    out.set_state(sa.orphan() ? "orphan" : sa.inbound() || sa.active() ? "active" : "standby");
    out.set_sequence(sa.sequence());
    out.set_iv_epoch(sa.iv_epoch());
    out.set_replay_window(sa.replay_window());
    out.set_packets(sa.counters().packets());
    out.set_bytes(sa.counters().bytes());
    out.set_age_seconds(sa.age_ms() / 1000);
    out.set_last_used_unix_ms(sa.counters().last_used_unix_ms());
    for (const auto& drop : sa.drops()) {
      api::DropCounter& counter = *out.add_drops();
      counter.set_reason(drop.reason());
      counter.set_packets(drop.packets());
    }
  }
  return reply;
}

namespace {

void fill_session(api::BgpPeer& out, const SessionSource& session, const Gateway& gateway,
                  const bgp::PeerStatus& status) {
  out.set_state(status.state);
  if (status.established()) out.set_connected_seconds(static_cast<std::uint64_t>(status.uptime.count()));
  out.set_bfd(bfd_text(*session.bgp, gateway.bfd().states()));
  out.set_messages_sent(status.messages_sent);
  out.set_messages_received(status.messages_received);
  out.set_routes_advertised(static_cast<std::uint32_t>(status.advertised_v4 + status.advertised_v6));
  out.set_last_error(status.established()
                         ? status.last_error
                         : bgp_trouble(status, *session.bgp, session.tunnel != nullptr ? Way::kTunnel : Way::kLink));
}

}  // namespace

std::string neighbour_text(const SessionSource& session) {
  return session.bgp->unnumbered ? session.tunnel->device : session.bgp->peer.to_string();
}

api::BgpPeersReply make_bgp_peers_reply(const Gateway& gateway) {
  api::BgpPeersReply reply;
  if (!gateway.model()) return reply;
  const auto& sessions = gateway.bgp().sessions();
  for (const SessionSource& session : session_sources(*gateway.model())) {
    auto& out = *reply.add_peers();
    out.set_neighbor(neighbour_text(session));
    out.set_local_address(session.bgp->local.to_string());
    out.set_asn(session.bgp->peer_asn);
    if (session.tunnel != nullptr) out.set_tunnel(session.tunnel->name);
    out.set_source(session.source.name);
    out.set_kind(std::string(routes::to_string(session.source.kind)));
    out.set_routes_received(routes_received(gateway, session.source.name));
    const auto status = sessions.find(session.bgp->peer);
    if (session.disabled) {
      out.set_state("Disabled");
    } else if (!gateway.bgp().connected()) {
      out.set_state("Unknown");
      out.set_last_error(std::format("bgpd {}", kBgpdAway));
    } else if (status == sessions.end()) {
      out.set_state("Unknown");
    } else {
      fill_session(out, session, gateway, status->second);
    }
  }
  return reply;
}

namespace {

void fill_candidate(api::RouteCandidate& out, const routes::Explanation& explained) {
  const routes::Candidate& candidate = explained.candidate;
  const routes::Attributes& attributes = *candidate.attributes;
  out.set_source(candidate.source->name);
  if (candidate.source->type != routes::PeerType::kLocal) out.set_next_hop(attributes.next_hop.to_string());
  for (const auto& segment : attributes.as_path.segments())
    for (const std::uint32_t asn : segment.asns) out.add_as_path(asn);
  out.set_path(attributes.as_path.to_string());
  out.set_local_preference(attributes.local_preference.value_or(routes::kDefaultLocalPreference));
  out.set_med(attributes.med.value_or(0));
  out.set_weight(attributes.weight);
  out.set_origin(std::string(routes::to_string(attributes.origin)));
  out.set_best(explained.ranked.place != routes::Place::kNotUsed);
  const bool refused = explained.action == routes::Action::kRefuse;
  out.set_place(refused ? "refused" : std::string(routes::to_string(explained.ranked.place)));
  out.set_stale(explained.stale);
  out.set_decided_by(refused ? explained.line : std::string(routes::to_string(explained.ranked.step)));
  out.set_policy(explained.line);
  if (candidate.source->type != routes::PeerType::kLocal) out.set_peer(candidate.source->peer_address.to_string());
  out.set_site(candidate.source->site);
}

}  // namespace

void add_effective_route(const Gateway& gateway, const Clock& clock, const Prefix& prefix,
                         google::protobuf::RepeatedPtrField<api::EffectiveRoute>& out) {
  const auto explained = gateway.routes().rib().explain(prefix);
  if (explained.empty()) return;
  auto& route = *out.Add();
  route.set_prefix(prefix.to_string());
  route.set_in_fastpath(gateway.forwarding().has_route(prefix));
  for (const auto& one : explained) {
    auto& candidate = *route.add_candidates();
    fill_candidate(candidate, one);
    const auto age = std::chrono::duration_cast<WallTime::duration>(clock.now() - one.since);
    candidate.set_since_unix_ms(unix_ms(clock.wall() - age));
  }
}

std::string advertised_origin(const Gateway& gateway, const bgp::RouteRow& row) {
  const auto explained = gateway.routes().rib().explain(row.network);
  const auto best = std::ranges::find(explained, routes::Place::kBest, [](const auto& e) { return e.ranked.place; });
  if (best == explained.end()) return row.origin;
  switch (best->candidate.source->type) {
    case routes::PeerType::kLocal: return "Network";
    case routes::PeerType::kEbgp: return "EBgp";
    case routes::PeerType::kIbgp: return "IBgp";
  }
  return row.origin;
}

void fill_proof(const PathProof& proof, api::PathProof& out) {
  out.set_method(std::string(to_string(proof.method)));
  if (proof.proven) out.set_proven_unix_ms(unix_ms(*proof.proven));
  if (proof.watched_since) out.set_watched_since_unix_ms(unix_ms(*proof.watched_since));
  out.set_small_sent(proof.small.sent);
  out.set_small_answered(proof.small.answered);
  out.set_round_trip_us(static_cast<std::uint32_t>(proof.round_trip.count()));
  out.set_full_bytes(proof.full_bytes);
  out.set_full_sent(proof.full.sent);
  out.set_full_answered(proof.full.answered);
  out.set_largest_answered_bytes(proof.largest_answered);
}

void fill_finding(api::Finding& out, const config::Finding& finding) {
  out.set_file(finding.file);
  out.set_line(finding.at.line);
  out.set_column(finding.at.column);
  out.set_field(finding.field);
  out.set_message(finding.message);
  out.set_expected(finding.expected);
  out.set_severity(finding.severity == config::Severity::kWarning ? "warning" : "error");
}

void fill_drop(const fp::DropCount& drop, api::DropCounter& out) {
  out.set_reason(drop.reason());
  out.set_packets(drop.packets());
  if (const auto reason = drop_by_name(drop.reason())) out.set_meaning(std::string(drop_info(*reason).meaning));
}

namespace {

void fill_worker(const fp::WorkerCounters& worker, api::WorkerCounters& out) {
  out.set_worker(worker.worker());
  out.set_tunnels(worker.tunnels());
  out.set_packets(worker.packets());
  out.set_bursts(worker.bursts());
  out.set_handed_over(worker.handed_over());
  out.set_taken_over(worker.taken_over());
  out.set_handover_drops(worker.handover_drops());
  out.set_moved(worker.moved());
  *out.mutable_burst_sizes() = worker.burst_sizes();
  if (worker.cpus_size() > 0) out.set_cpu(worker.cpus(0));
  out.set_cpu_ns(worker.cpu_ns());
  out.set_busy_ns(worker.busy_ns());
  out.set_polling_ns(worker.polling_ns());
  *out.mutable_latency() = worker.latency();
  out.set_latency_sum_ns(worker.latency_sum_ns());
  out.set_latency_max_ns(worker.latency_max_ns());
  for (const auto& port : worker.ports()) {
    auto& p = *out.add_ports();
    p.set_side(port.side());
    p.set_interface(port.interface());
    p.set_kind(port.kind());
    *p.mutable_queues() = port.queues();
    p.set_rx_packets(port.rx_packets());
    p.set_tx_packets(port.tx_packets());
  }
}

}  // namespace

api::CountersReply make_counters_reply(const Gateway& gateway, const fp::Counters& counters) {
  api::CountersReply reply;
  for (const auto& drop : counters.drops()) fill_drop(drop, *reply.add_drops());
  reply.set_wan_rx_packets(counters.wan_rx_packets());
  reply.set_wan_tx_packets(counters.wan_tx_packets());
  reply.set_vnet_rx_packets(counters.vnet_rx_packets());
  reply.set_vnet_tx_packets(counters.vnet_tx_packets());
  if (counters.circuit_port()) {
    reply.set_circuit_rx_packets(counters.circuit_rx_packets());
    reply.set_circuit_tx_packets(counters.circuit_tx_packets());
  }
  for (const auto& worker : counters.workers()) fill_worker(worker, *reply.add_workers());
  reply.set_crypto_backend(gateway.crypto_backend());
  reply.set_uptime_seconds(counters.uptime_ms() / 1000);
  return reply;
}

api::MemoryReply make_memory_reply(const fp::Memory& memory, const ProcessMemory& own) {
  api::MemoryReply reply;
  for (const fp::MemoryPart& part : memory.parts()) {
    api::MemoryPart& out = *reply.add_parts();
    out.set_part(part.part());
    out.set_bytes(part.bytes());
    out.set_in_use(part.in_use());
    if (part.capacity() != 0) out.set_capacity(part.capacity());
  }
  const auto add = [&](const char* name, const ProcessMemory& of) {
    api::ProcessMemory& out = *reply.add_processes();
    out.set_name(name);
    out.set_resident_bytes(of.resident_bytes);
    out.set_peak_resident_bytes(of.peak_resident_bytes);
    out.set_heap_bytes(of.heap_bytes);
  };
  add("gw-fastpath", {memory.resident_bytes(), memory.peak_resident_bytes(), memory.heap_bytes()});
  add("gwd", own);
  return reply;
}

api::WorkersReply make_workers_reply(const fp::Counters& counters) {
  api::WorkersReply reply;
  for (const auto& worker : counters.workers()) fill_worker(worker, *reply.add_workers());
  reply.set_window_ms(counters.uptime_ms());
  return reply;
}

api::InterfacesReply make_interfaces_reply(const fp::PortList& ports) {
  api::InterfacesReply reply;
  for (const auto& port : ports.ports()) {
    auto& out = *reply.add_interfaces();
    out.set_name(port.interface());
    out.set_side(port.side());
    out.set_kind(port.kind());
    out.set_attach_mode(port.attach_mode());
    out.set_zero_copy(port.zero_copy());
    out.set_reason(port.reason());
    out.set_queues(port.queues());
    out.set_driver(port.driver());
    out.set_mtu(port.mtu());
    out.set_rx_packets(port.rx_packets());
    out.set_tx_packets(port.tx_packets());
    for (const auto& drop : port.drops()) fill_drop(drop, *out.add_drops());
  }
  return reply;
}

}  // namespace gw::gwd
