// UpdateRoutes and ReadForwarding of fastpath.proto.
#include <algorithm>
#include <array>
#include <format>

#include "ebpf/rpc/messages.hpp"

namespace gw::rpc {
namespace {

Result<Prefix> parse_prefix(const fp::Route& m, const std::string& path) {
  GW_TRY_ASSIGN(const IpAddress address, parse_address(m.prefix(), path + ".prefix"));
  auto prefix = Prefix::make(address, m.prefix_length());
  if (!prefix) return fail_field(path + ".prefix_length", std::format("{} is too long", m.prefix_length()));
  if (prefix->address() != address)
    return fail_field(path + ".prefix", std::format("{} has host bits set; the network is {}", address, *prefix));
  return *prefix;
}

Result<std::vector<fib::TunnelRef>> parse_route_tunnels(const fp::Route& m, const TunnelLookup& tunnels,
                                                        const std::string& path) {
  const std::string field = path + ".tunnel_ids";
  if (m.tunnel_ids().empty() || m.tunnel_ids_size() > GW_NEXT_HOP_MAX_TUNNELS)
    return fail_field(field, std::format("has {} tunnels; 1..{}", m.tunnel_ids_size(), GW_NEXT_HOP_MAX_TUNNELS));
  std::vector<fib::TunnelRef> refs;
  for (const std::uint32_t id : m.tunnel_ids()) {
    const auto ref = tunnels(id);
    if (!ref) return fail_field(field, std::format("tunnel {} is not configured", id), Errc::kNotFound);
    refs.push_back(*ref);
  }
  std::ranges::sort(refs, {}, &fib::TunnelRef::id);
  if (std::ranges::adjacent_find(refs, {}, &fib::TunnelRef::id) != refs.end())
    return fail_field(field, "names a tunnel twice");
  return refs;
}

Result<std::vector<IpAddress>> parse_gateways(const fp::Route& m, const std::string& path) {
  const std::string field = path + ".gateways";
  if (m.gateways_size() > GW_NEXT_HOP_MAX_GATEWAYS)
    return fail_field(field, std::format("has {} entries; at most {}", m.gateways_size(), GW_NEXT_HOP_MAX_GATEWAYS));
  std::vector<IpAddress> gateways;
  for (int i = 0; i < m.gateways_size(); ++i) {
    const std::string entry = std::format("{}[{}]", field, i);
    GW_TRY_ASSIGN(const IpAddress gateway, parse_address(m.gateways(i), entry));
    if (gateway.is_unspecified() || gateway.is_loopback() || gateway.is_multicast())
      return fail_field(entry, std::format("{} is no neighbour's address", gateway));
    if (!gateways.empty() && gateway.family() != gateways[0].family())
      return fail_field(entry, std::format("{} is of another family than {}", gateway, gateways[0]));
    gateways.push_back(gateway);
  }
  std::ranges::sort(gateways);
  if (const auto twice = std::ranges::adjacent_find(gateways); twice != gateways.end())
    return fail_field(field, std::format("names {} twice", *twice));
  return gateways;
}

constexpr std::array<std::pair<fp::Behind, gw_zone>, 3> kZones = {
    {{fp::BEHIND_VNET, GW_ZONE_VNET}, {fp::BEHIND_TUNNELS, GW_ZONE_TUNNELS}, {fp::BEHIND_CIRCUIT, GW_ZONE_CIRCUIT}}};

Result<gw_zone> parse_behind(const fp::Route& m, const std::string& path) {
  for (const auto& [message, zone] : kZones)
    if (message == m.behind()) return zone;
  return fail_field(path + ".behind", std::format("{} is unknown", static_cast<int>(m.behind())));
}

/// Fields that mean nothing for the kind of the route.
Status check_unused(const fp::Route& m, const std::string& path) {
  const bool plain = m.kind() == fp::NEXT_HOP_VNET || m.kind() == fp::NEXT_HOP_CIRCUIT;
  if (m.kind() != fp::NEXT_HOP_TUNNELS && m.tunnel_ids_size() > 0)
    return fail_field(path + ".tunnel_ids", "goes with the kind tunnels only");
  if (!plain && m.gateways_size() > 0)
    return fail_field(path + ".gateways", "goes with the kinds vnet and circuit only");
  if (m.behind() != fp::BEHIND_VNET && (m.kind() != fp::NEXT_HOP_VNET || m.gateways().empty()))
    return fail_field(path + ".behind", "goes with gateways of the kind vnet only");
  return {};
}

Result<fib::Route> parse_route(const fp::Route& m, const Destinations& destinations, const std::string& path) {
  fib::Route route;
  GW_TRY_ASSIGN(route.prefix, parse_prefix(m, path));
  switch (m.kind()) {
    case fp::NEXT_HOP_TUNNELS: {
      route.hop.kind = GW_NEXT_HOP_TUNNELS;
      GW_TRY_ASSIGN(route.hop.tunnels, parse_route_tunnels(m, destinations.tunnels, path));
      break;
    }
    case fp::NEXT_HOP_VNET: {
      route.hop.kind = GW_NEXT_HOP_VNET;
      GW_TRY_ASSIGN(route.hop.behind, parse_behind(m, path));
      GW_TRY_ASSIGN(route.hop.gateways, parse_gateways(m, path));
      break;
    }
    case fp::NEXT_HOP_CIRCUIT: {
      if (destinations.circuit == CircuitPort::kNone)
        return fail_field(path + ".kind", "there is no circuit port; gw-fastpath --circuit names its interface");
      route.hop.kind = GW_NEXT_HOP_CIRCUIT;
      GW_TRY_ASSIGN(route.hop.gateways, parse_gateways(m, path));
      if (route.hop.gateways.empty()) return fail_field(path + ".gateways", "is empty; a circuit has 1..16");
      break;
    }
    case fp::NEXT_HOP_KERNEL: route.hop.kind = GW_NEXT_HOP_KERNEL; break;
    default: return fail_field(path + ".kind", std::format("{} is unknown", static_cast<int>(m.kind())));
  }
  GW_TRY(check_unused(m, path));
  return route;
}

}  // namespace

Result<RouteUpdate> parse_update_routes(const fp::UpdateRoutes& m, const Destinations& destinations) {
  RouteUpdate update;
  std::vector<Prefix> named;
  for (int i = 0; i < m.add_size(); ++i) {
    GW_TRY_ASSIGN(fib::Route route, parse_route(m.add(i), destinations, std::format("add[{}]", i)));
    named.push_back(route.prefix);
    update.add.push_back(std::move(route));
  }
  for (int i = 0; i < m.remove_size(); ++i) {
    GW_TRY_ASSIGN(const Prefix prefix, parse_prefix(m.remove(i), std::format("remove[{}]", i)));
    named.push_back(prefix);
    update.remove.push_back(prefix);
  }
  std::ranges::sort(named);
  if (const auto twice = std::ranges::adjacent_find(named); twice != named.end())
    return fail_field("add", std::format("{} is named twice in one update", *twice));
  return update;
}

Result<std::vector<IpAddress>> parse_read_forwarding(const fp::ReadForwarding& m) {
  constexpr int kMost = 8192;  // the answer fits a frame, and nothing waits for long
  if (m.addresses_size() > kMost)
    return fail_field("addresses", std::format("has {} entries; at most {}", m.addresses_size(), kMost));
  std::vector<IpAddress> addresses;
  for (int i = 0; i < m.addresses_size(); ++i) {
    GW_TRY_ASSIGN(const IpAddress address, parse_address(m.addresses(i), std::format("addresses[{}]", i)));
    addresses.push_back(address);
  }
  return addresses;
}

void fill(const fib::Route& route, fp::Route& out) {
  out.set_prefix(route.prefix.address().bytes_string());
  out.set_prefix_length(route.prefix.length());
  switch (route.hop.kind) {
    case GW_NEXT_HOP_TUNNELS: out.set_kind(fp::NEXT_HOP_TUNNELS); break;
    case GW_NEXT_HOP_VNET: out.set_kind(fp::NEXT_HOP_VNET); break;
    case GW_NEXT_HOP_KERNEL: out.set_kind(fp::NEXT_HOP_KERNEL); break;
    case GW_NEXT_HOP_CIRCUIT: out.set_kind(fp::NEXT_HOP_CIRCUIT); break;
    case GW_NEXT_HOP_LOCAL: out.set_kind(fp::NEXT_HOP_LOCAL); break;  // no route of a client
    case GW_NEXT_HOP_NONE: break;
  }
  for (const fib::TunnelRef& t : route.hop.tunnels) out.add_tunnel_ids(t.id);
  for (const IpAddress& gateway : route.hop.gateways) out.add_gateways(gateway.bytes_string());
  for (const auto& [message, zone] : kZones)
    if (zone == route.hop.behind) out.set_behind(message);
}

}  // namespace gw::rpc
