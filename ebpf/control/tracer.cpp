#include "ebpf/control/tracer.hpp"

#include <algorithm>
#include <format>

#include "ebpf/abi/drop_names.hpp"
#include "ebpf/esp/rewrite.hpp"

namespace gw::control {
namespace {

using Result_ = TraceStep::Result;
using Sending = worker::SendingTrace;
using Receiving = worker::ReceivingTrace;

void pass(Trace& out, std::string_view check, std::string detail) {
  out.steps.push_back({check, Result_::kPass, std::move(detail)});
}
void note(Trace& out, std::string_view check, std::string detail) {
  out.steps.push_back({check, Result_::kNote, std::move(detail)});
}
/// The end of it.
void refuse(Trace& out, std::string_view check, gw_drop reason) {
  const DropInfo& info = drop_info(reason);
  out.steps.push_back({check, Result_::kFail, std::format("{}: {}", info.name, info.meaning)});
  out.verdict = Trace::Verdict::kDropped;
  out.reason = reason;
  out.summary = std::format("dropped: {}", info.name);
}
void leave(Trace& out, std::string side, std::string summary) {
  out.verdict = Trace::Verdict::kLeaves;
  out.side = std::move(side);
  out.summary = std::move(summary);
}
void leave_to_kernel(Trace& out, std::string why) {
  note(out, "kernel", std::move(why));
  out.verdict = Trace::Verdict::kKernel;
  out.summary = "left to the kernel: its routes and firewall decide";
}

std::string mac_of(const worker::LinkHeader& link) {
  std::string out;
  for (std::size_t i = 0; i < 6; ++i) out += std::format("{}{:02x}", i == 0 ? "" : ":", link.bytes[i]);
  return out;
}

esp::Packet packet_of(std::vector<std::uint8_t>& bytes) {
  const auto length = static_cast<std::uint32_t>(bytes.size());
  return {.base = bytes.data(), .capacity = length, .length = length};
}

std::string esp_of(const SaEntry& sa) {
  if (sa.encapsulation == esp::Encapsulation::kNative)
    return std::format("{} -> {}, ESP", sa.src.address.to_string(), sa.dst.address.to_string());
  return std::format("{} port {} -> {} port {}, ESP in UDP", sa.src.address.to_string(), sa.src.port,
                     sa.dst.address.to_string(), sa.dst.port);
}

struct Named {
  Sending::Step step;
  std::string_view check;
};
/// In the order in which packets meet them.
constexpr auto kSending = std::to_array<Named>({{Sending::Step::kSa, "outbound SA"},
                                                {Sending::Step::kGate, "endpoint"},
                                                {Sending::Step::kTtl, "TTL"},
                                                {Sending::Step::kRate, "rate out"},
                                                {Sending::Step::kSize, "size"},
                                                {Sending::Step::kSelectors, "selectors"},
                                                {Sending::Step::kNumbers, "sequence"},
                                                {Sending::Step::kWay, "way to the peer"}});

std::string passed(Sending::Step step, const Sending& t, std::size_t bytes) {
  switch (step) {
    case Sending::Step::kSa: return std::format("SPI {:08x}", t.spi);
    case Sending::Step::kGate: return "the tunnel's endpoint is ours";
    case Sending::Step::kTtl: return "one hop less";
    case Sending::Step::kRate: return t.limited ? "within the rate at this moment" : "no limit";
    case Sending::Step::kSize:
      return t.pieces > 1 ? std::format("{} bytes, the tunnel takes {}: cut into {} before encryption", bytes,
                                        t.inner_limit, t.pieces)
                          : std::format("{} bytes, the tunnel takes {}", bytes, t.inner_limit);
    case Sending::Step::kSelectors: return "inside the SA's traffic selectors";
    case Sending::Step::kNumbers: return std::format("the next one is {}", t.sequence);
    case Sending::Step::kWay:
      if (t.by_kernel) return "the next hop's MAC is not known: the kernel sends, and asks for it";
      return t.link.length > 0 ? "next hop " + mac_of(t.link)
             : t.ifindex != 0  ? std::format("the kernel sends it by interface {}", t.ifindex)
                               : "the kernel sends it by the wan port";
    case Sending::Step::kDone: break;
  }
  return {};
}

constexpr auto kReceiving =
    std::to_array<std::pair<Receiving::Step, std::string_view>>({{Receiving::Step::kGate, "endpoint"},
                                                                 {Receiving::Step::kSa, "inbound SA"},
                                                                 {Receiving::Step::kSelectors, "selectors"},
                                                                 {Receiving::Step::kEnds, "source and transit"},
                                                                 {Receiving::Step::kRate, "rate in"}});

std::string passed(Receiving::Step step, const Receiving& r, const SaEntry& sa) {
  switch (step) {
    case Receiving::Step::kGate: return "the tunnel's endpoint is ours, or was a moment ago";
    case Receiving::Step::kSa: return std::format("SPI {:08x}", sa.key.spi);
    case Receiving::Step::kSelectors: return "inside the SA's traffic selectors";
    case Receiving::Step::kEnds: return "the source is not ours, not the VNet's, and somebody's";
    case Receiving::Step::kRate: return r.limited ? "within the rate at this moment" : "no limit";
    case Receiving::Step::kForward: break;
  }
  return {};
}

}  // namespace

Result<Trace> Tracer::trace(const TraceQuery& query) {
  switch (query.from) {
    case TraceQuery::From::kVnet: return from_clear(query, GW_SIDE_VNET);
    case TraceQuery::From::kCircuit: return from_clear(query, GW_SIDE_CIRCUIT);
    case TraceQuery::From::kTunnel: return from_tunnel(query);
    case TraceQuery::From::kWan: break;
  }
  return from_wan(query);
}

std::string Tracer::name_of(worker::TunnelSlot slot) const {
  const auto id = parts_.tunnels.id_of(slot);
  const Tunnels::Tunnel* const tunnel = id ? parts_.tunnels.find(*id) : nullptr;
  return tunnel && tunnel->settings ? tunnel->settings->name : "an unknown tunnel";
}

/// What the table says of the destination, as packets read it.
void Tracer::add_route(Trace& out, const TraceQuery& query) const {
  const fib::Reading reading = fib::read(parts_.fib, query.destination);
  std::string names;
  const auto add = [&names](const std::string& name) { names += (names.empty() ? "" : ", ") + name; };
  for (const std::uint16_t slot : reading.slots) add(name_of(slot));
  for (const IpAddress& gateway : reading.gateways) add(gateway.to_string());
  switch (reading.kind) {
    case GW_NEXT_HOP_NONE: return note(out, "route", "none: the kernel's routes decide");
    case GW_NEXT_HOP_KERNEL: return note(out, "route", "an exception that is left to the kernel");
    case GW_NEXT_HOP_LOCAL: return pass(out, "route", "an address of this machine");
    case GW_NEXT_HOP_TUNNELS:
      return pass(out, "route",
                  reading.slots.size() > 1 ? std::format("one of {} tunnels: {}", reading.slots.size(), names)
                                           : "into tunnel " + names);
    case GW_NEXT_HOP_VNET:
    case GW_NEXT_HOP_CIRCUIT: break;
  }
  const std::string_view port = reading.kind == GW_NEXT_HOP_VNET ? "vnet" : "circuit";
  pass(out, "route",
       names.empty() ? std::format("out of the {} port, on link", port)
                     : std::format("out of the {} port, by {}", port, names));
}

// --- from a clear port ---------------------------------------------------------------------------------------

Result<Trace> Tracer::from_clear(const TraceQuery& query, gw_side side) {
  Trace out;
  const std::string_view name = side == GW_SIDE_CIRCUIT ? "circuit" : "vnet";
  const std::string port = parts_.port(name);
  if (port.empty()) return fail_field("from", std::format("this gw-fastpath has no {} port", name), Errc::kNotFound);
  pass(out, "arrival", std::format("by the {} port, {}", name, port));
  add_route(out, query);
  Packet packet = make_packet(query);
  GW_TRY_ASSIGN(const gw_xdp_counter outcome, dry_.forward(side, packet));
  if (outcome != GW_XDP_REDIRECTED) {
    GW_TRY(forwarded(out, query, side, outcome));
    return out;
  }
  pass(out, "port program", "for a tunnel");
  worker::TunnelSlot slot = worker::kNoTunnel;
  parts_.workers[0].call([&](worker::DataPath& d) { slot = d.trace_choice(packet_of(packet)); });
  if (slot == worker::kNoTunnel)
    refuse(out, "tunnel", GW_DROP_NO_ROUTE);
  else
    sent(out, std::move(packet), slot);
  return out;
}

/// What a port's program does by itself: to a neighbour, to the kernel, or nothing.
Status Tracer::forwarded(Trace& out, const TraceQuery& query, gw_side side, gw_xdp_counter outcome) {
  if (const std::string_view why = xdp::drop_name(outcome); !why.empty()) {
    const auto reason = drop_by_name(why);
    if (!reason) return fail(Errc::kInternal, std::format("a drop '{}' that has no reason", why));
    refuse(out, "port program", *reason);
    return {};
  }
  const bool circuit = outcome == GW_XDP_FORWARDED_CIRCUIT;
  if (!circuit && outcome != GW_XDP_FORWARDED_VNET) {
    leave_to_kernel(out, side == GW_SIDE_TUNNELS
                             ? "the program on the data TUN leaves it to the kernel"
                             : "the port's program passes it on: no route, an address of this machine, a "
                               "host whose MAC is not known, or a packet that does not fit");
    return {};
  }
  Packet packet = make_packet(query);
  gw_next_hop& hop = parts_.fib.next_hops[fib::lookup(parts_.fib, query.destination)];
  const std::uint32_t hash = esp::flow_hash(packet, query.destination.family());
  const IpAddress next = fib::gateway_of(hop, query.destination, hash);
  out.next_hop = next.to_string();
  pass(out, "port program", std::format("to neighbour {}", out.next_hop));
  const std::string to = circuit ? "circuit" : "vnet";
  leave(out, to, std::format("leaves by {} to {}", to, out.next_hop));
  return {};
}

// --- into a tunnel --------------------------------------------------------------------------------------------

void Tracer::sent(Trace& out, Packet packet, worker::TunnelSlot slot) {
  const std::uint32_t id = parts_.tunnels.id_of(slot).value_or(0);
  note(out, "tunnel", std::format("{}, packet thread {}", name_of(slot), parts_.workers.shared().owner(slot)));
  Sending t;
  parts_.workers.call(slot, [&](worker::DataPath& d) { t = d.trace_sending(packet_of(packet), slot); });
  for (const Named& named : kSending) {
    if (t.refused != GW_DROP_NONE && named.step == t.step) return refuse(out, named.check, t.refused);
    pass(out, named.check, passed(named.step, t, packet.size()));
  }
  const SaTable& table = parts_.sas.table();
  const auto sa = std::ranges::find_if(table.entries(), [&](const auto& e) {
    return e.second.tunnel_id == id && e.second.active && e.first.spi == t.spi;
  });
  const std::string peer = sa == table.entries().end() ? "its peer" : sa->second.dst.address.to_string();
  if (sa != table.entries().end())
    pass(out, "encapsulation",
         std::format("{}, {}, {} bytes{}", esp_of(sa->second), sa->second.algorithm, t.outer_bytes,
                     t.outer_bytes <= t.outer_mtu ? std::format("; the way takes {}", t.outer_mtu)
                                                  : std::format(", in fragments: the way takes {}", t.outer_mtu)));
  out.tunnel_id = id;
  out.spi = t.spi;
  out.next_hop = peer;
  leave(out, "wan", std::format("leaves by wan to {} as ESP in tunnel {}", peer, name_of(slot)));
}

// --- out of a tunnel ------------------------------------------------------------------------------------------

/// The newest: what the peer sends with, if it keeps to the rules.
const SaEntry* Tracer::inbound_of(std::uint32_t tunnel_id) const {
  const SaEntry* newest = nullptr;
  for (const auto& [key, entry] : parts_.sas.table().entries())
    if (entry.tunnel_id == tunnel_id && entry.direction == esp::Direction::kInbound &&
        (!newest || entry.installed >= newest->installed))
      newest = &entry;
  return newest;
}

Status Tracer::guard(Trace& out, const SaEntry& sa) {
  const bool udp = sa.encapsulation == esp::Encapsulation::kUdp;
  const Packet outer = make_outer({sa.src.address, sa.dst.address, udp ? sa.src.port : std::uint16_t{0},
                                   udp ? sa.dst.port : std::uint16_t{0}, sa.key.spi});
  GW_TRY_ASSIGN(const gw_xdp_counter outcome, dry_.guard(outer));
  const auto reason = drop_by_name(xdp::drop_name(outcome));
  if (outcome == GW_XDP_REDIRECTED)
    pass(out, "arrival",
         std::format("by the wan port, {}: {}, SPI {:08x}", parts_.port("wan"), esp_of(sa), sa.key.spi));
  else
    refuse(out, "arrival", reason.value_or(GW_DROP_UNKNOWN_SPI));
  return {};
}

Result<Trace> Tracer::from_tunnel(const TraceQuery& query) {
  const Tunnels::Tunnel* const tunnel = parts_.tunnels.find(query.tunnel_id);
  if (!tunnel || !tunnel->settings)
    return fail_field("tunnel_id", std::format("{} is no tunnel that is configured", query.tunnel_id), Errc::kNotFound);
  Trace out;
  const SaEntry* const sa = inbound_of(query.tunnel_id);
  if (!sa) {
    refuse(out, "inbound SA", GW_DROP_UNKNOWN_SPI);
    return out;
  }
  GW_TRY(guard(out, *sa));
  if (out.verdict == Trace::Verdict::kDropped) return out;
  const worker::Inbound* const in = parts_.workers.shared().inbound.find(sa->key);
  if (!in) {
    refuse(out, "inbound SA", GW_DROP_UNKNOWN_SPI);
    return out;
  }
  Packet packet = make_packet(query);
  Receiving r;
  parts_.workers[in->owner].call([&](worker::DataPath& d) { r = d.trace_received(packet_of(packet), *in); });
  received(out, r, *sa);
  if (out.verdict == Trace::Verdict::kDropped) return out;
  add_route(out, query);
  if (r.refused != GW_DROP_NONE)
    refuse(out, "forwarding", r.refused);
  else if (r.end == Receiving::End::kTunnel)
    sent(out, std::move(packet), r.into);
  else
    GW_TRY(leave_decrypted(out, query, r, *tunnel));
  return out;
}

/// Up to forwarding.
void Tracer::received(Trace& out, const Receiving& r, const SaEntry& sa) {
  for (const auto& [step, check] : kReceiving) {
    if (r.refused != GW_DROP_NONE && step == r.step) return refuse(out, check, r.refused);
    pass(out, check, passed(step, r, sa));
  }
}

Status Tracer::leave_decrypted(Trace& out, const TraceQuery& query, const Receiving& r, const Tunnels::Tunnel& tunnel) {
  if (r.end == Receiving::End::kKernel) {
    leave_to_kernel(out, std::format("by the tunnel's device {}", tunnel.settings->device));
    const gw_next_hop& hop = parts_.fib.next_hops[fib::lookup(parts_.fib, query.destination)];
    if (hop.kind == GW_NEXT_HOP_LOCAL) out.summary = "for the gateway itself: the kernel takes it";
    return {};
  }
  const gw_next_hop& hop = parts_.fib.next_hops[fib::lookup(parts_.fib, query.destination)];
  if (r.framed) {
    out.next_hop = hop.gateway_family == 0 ? query.destination.to_string() : mac_of(r.link);
    pass(out, "next hop", mac_of(r.link));
    leave(out, "vnet", std::format("leaves by vnet to {}", out.next_hop));
    return {};
  }
  if (r.end == Receiving::End::kVnet && hop.gateway_family == 0) {
    out.next_hop = query.destination.to_string();
    note(out, "kernel", "from the data TUN the kernel routes it to the host, which is on link");
    leave(out, "vnet", std::format("leaves by vnet to {}", out.next_hop));
    return {};
  }
  GW_TRY_ASSIGN(const gw_xdp_counter outcome, dry_.forward(GW_SIDE_TUNNELS, make_packet(query)));
  return forwarded(out, query, GW_SIDE_TUNNELS, outcome);
}

// --- from the wan ---------------------------------------------------------------------------------------------

/// ESP is that of the SA between the two addresses, if there is one.
Result<Trace> Tracer::from_wan(const TraceQuery& query) {
  constexpr std::uint8_t kEsp = 50;
  constexpr std::uint8_t kUdp = 17;
  constexpr std::uint16_t kNatT = 4500;
  constexpr std::uint32_t kNobodys = 0xffffffff;
  Trace out;
  const bool is_esp = query.protocol == kEsp || (query.protocol == kUdp && query.destination_port == kNatT);
  Packet packet = make_packet(query);
  const SaEntry* sa = nullptr;
  for (const auto& [key, entry] : parts_.sas.table().entries())
    if (entry.direction == esp::Direction::kInbound && entry.src.address == query.source &&
        entry.dst.address == query.destination)
      sa = &entry;
  if (is_esp)
    packet = make_outer(
        {query.source, query.destination, query.source_port, query.destination_port, sa ? sa->key.spi : kNobodys});
  GW_TRY_ASSIGN(const gw_xdp_counter outcome, dry_.guard(packet));
  if (const auto reason = drop_by_name(xdp::drop_name(outcome))) {
    refuse(out, "arrival", *reason);
    return out;
  }
  pass(out, "arrival", std::format("by the wan port, {}", parts_.port("wan")));
  if (outcome != GW_XDP_REDIRECTED || !sa) {
    leave_to_kernel(out, "it is neither ESP for an address of ours nor a flood of IKE");
    return out;
  }
  const std::string name = name_of(sa->slot);
  pass(out, "inbound SA", std::format("SPI {:08x} of tunnel {}", sa->key.spi, name));
  out.verdict = Trace::Verdict::kDecrypted;
  out.tunnel_id = sa->tunnel_id;
  out.spi = sa->key.spi;
  out.summary = std::format("decrypted in tunnel {}; for what is in it: gwctl trace --from tunnel:{}", name, name);
  return out;
}

}  // namespace gw::control
