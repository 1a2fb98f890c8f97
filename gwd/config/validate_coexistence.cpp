// Rules for circuits, the VNet's routers and peerings, and how circuit and VPN live together.
#include <algorithm>
#include <format>
#include <map>

#include "gwd/config/asn.hpp"
#include "gwd/config/rules.hpp"

namespace gw::config {
namespace {

constexpr unsigned kLastAsn = 4294967294;  // 4294967295 is reserved (RFC 7300)

const v1::Instance* find_instance(const v1::Config& config, const std::string& name) {
  const auto found = std::ranges::find(config.gateway().instances(), name, &v1::Instance::name);
  return found == config.gateway().instances().end() ? nullptr : &*found;
}

std::uint32_t own_asn(const Rules& rules) {
  return rules.given("gateway.asn") ? rules.config().gateway().asn() : kDefaultAsn;
}

/// Addresses of BGP neighbours outside tunnels, and who has them.
using Neighbours = std::map<IpAddress, Path>;

void check_neighbour(Rules& rules, const Path& path, const IpAddress& address, Neighbours& seen) {
  const auto [first, is_new] = seen.emplace(address, path);
  if (!is_new)
    rules.error(path, std::format("{} is also {}", address, first->second), "an address of its own for each neighbour");
}

void check_circuit_address(Rules& rules, const Path& path, const v1::CircuitAddress& local,
                           const std::optional<IpAddress>& peer) {
  const Path own = path + ".address";
  if (!rules.required_text(own, local.address(), "address and length of the link, e.g. 192.168.30.17/29")) return;
  const auto address = InterfaceAddress::parse(local.address());
  if (!address)
    return rules.error(own, address.error().message, "address and length of the link, e.g. 192.168.30.17/29");
  if (!peer) return;
  if (address->address.family() != peer->family())
    return rules.error(own, std::format("{} and the peer's {} are of different families", address->address, *peer),
                       "two of one family");
  if (address->address == *peer)
    return rules.error(own, std::format("{} is the circuit router's own", *peer), "this instance's address");
  if (!Prefix::make(address->address, address->length).value().contains(*peer))
    rules.error(own, std::format("the circuit's router {} is not in {}", *peer, address->to_string()),
                "an address of the link between the two");
}

void check_circuit_peer(Rules& rules, const Path& path, const v1::CircuitPeer& peer, Neighbours& seen) {
  rules.required_text(path + ".address", peer.address(), "the circuit router's address");
  const auto address = rules.address(path + ".address", peer.address());
  if (address) check_neighbour(rules, path + ".address", *address, seen);
  rules.required(path + ".local", !peer.local().empty(), "this gateway's address by instance: { gw-a: { address } }");
  const std::map<std::string, v1::CircuitAddress> sorted(peer.local().begin(), peer.local().end());
  for (const auto& [name, local] : sorted) {
    const Path own = std::format("{}.local[{}]", path, name.substr(0, 40));
    const v1::Instance* instance = find_instance(rules.config(), name);
    if (instance == nullptr) {
      rules.error(own, std::format("there is no instance '{}'", name.substr(0, 40)), "a name of gateway.instances");
      continue;
    }
    if (!instance->has_circuit())
      rules.error(own, std::format("{} has no circuit port", name), "`circuit: { interface }` in the instance");
    check_circuit_address(rules, own, local, address);
  }
}

void check_circuits(Rules& rules, Neighbours& seen) {
  std::set<std::string> names;
  for (int i = 0; i < rules.config().circuits_size(); ++i) {
    const v1::Circuit& circuit = rules.config().circuits(i);
    const Path path = std::format("circuits[{}]", i);
    rules.name(path + ".name", circuit.name(), names);
    rules.number(path + ".asn", circuit.asn(), {1, kLastAsn});
    if (circuit.asn() == own_asn(rules))
      rules.error(path + ".asn", std::format("{} is the gateway's own", circuit.asn()), "the circuit provider's");
    check_session_without_tunnel(rules, path + ".bgp", circuit.bgp());
    rules.required(path + ".peers", circuit.peers_size() > 0, "at least one { name, address, local }");
    std::set<std::string> peers;
    for (int k = 0; k < circuit.peers_size(); ++k) {
      const Path peer = std::format("{}.peers[{}]", path, k);
      rules.name(peer + ".name", circuit.peers(k).name(), peers);
      check_circuit_peer(rules, peer, circuit.peers(k), seen);
    }
  }
}

/// Whoever speaks BGP on the VNet needs an address of its own there.
void check_vnet_addresses(Rules& rules, std::string_view why) {
  for (int i = 0; i < rules.config().gateway().instances_size(); ++i) {
    const v1::Instance& instance = rules.config().gateway().instances(i);
    const Path path = std::format("gateway.instances[{}].vnet.address", i);
    if (instance.has_vnet() && instance.vnet().address().empty())
      rules.error(path, std::format("is missing: {}", why), "the instance's own address on the VNet");
  }
}

void check_routers(Rules& rules, Neighbours& seen) {
  std::set<std::string> names;
  const v1::Vnet& vnet = rules.config().vnet();
  for (int i = 0; i < vnet.routers_size(); ++i) {
    const v1::VnetRouter& router = vnet.routers(i);
    const Path path = std::format("vnet.routers[{}]", i);
    rules.name(path + ".name", router.name(), names);
    rules.required_text(path + ".address", router.address(), "the router's address on the VNet");
    if (const auto address = rules.address(path + ".address", router.address()))
      check_neighbour(rules, path + ".address", *address, seen);
    if (rules.required(path + ".asn", rules.given(path + ".asn"), "the router's AS number")) {
      rules.number(path + ".asn", router.asn(), {1, kLastAsn});
      if (router.asn() == own_asn(rules))
        rules.error(path + ".asn", std::format("{} is the gateway's own", router.asn()), "another AS number");
    }
    check_session_without_tunnel(rules, path + ".bgp", router.bgp());
  }
  if (vnet.routers_size() > 0) check_vnet_addresses(rules, "vnet.routers are told routes by BGP");
}

void check_peerings(Rules& rules) {
  const v1::Vnet& vnet = rules.config().vnet();
  std::set<std::string> names;
  std::map<Prefix, std::string> seen;
  for (const std::string& text : vnet.prefixes())
    if (const auto prefix = Prefix::parse(text)) seen.emplace(*prefix, "vnet.prefixes");
  for (int i = 0; i < vnet.peerings_size(); ++i) {
    const Path path = std::format("vnet.peerings[{}]", i);
    rules.name(path + ".name", vnet.peerings(i).name(), names);
    rules.required(path + ".prefixes", vnet.peerings(i).prefixes_size() > 0, "the spoke's prefixes");
    for (int k = 0; k < vnet.peerings(i).prefixes_size(); ++k) {
      const Path own = std::format("{}.prefixes[{}]", path, k);
      const auto prefix = rules.prefix(own, vnet.peerings(i).prefixes(k));
      if (!prefix) continue;
      const auto other = std::ranges::find_if(seen, [&](const auto& entry) { return prefix->overlaps(entry.first); });
      if (other != seen.end())
        rules.error(own, std::format("{} overlaps {} of {}", *prefix, other->first, other->second),
                    "prefixes that do not overlap");
      seen.emplace(*prefix, path);
    }
  }
}

void check_partner(Rules& rules, Neighbours& seen) {
  const v1::Coexistence& coexistence = rules.config().coexistence();
  for (int i = 0; i < coexistence.partner_size(); ++i) {
    const Path path = std::format("coexistence.partner[{}]", i);
    const auto address = rules.address(path, coexistence.partner(i));
    if (!address) continue;
    check_neighbour(rules, path, *address, seen);
    for (const v1::Instance& instance : rules.config().gateway().instances())
      if (*address == IpAddress::parse(instance.vnet().address()))
        rules.error(path, std::format("{} is {} of this pair", *address, instance.name()),
                    "an instance of the other pair");
  }
  if (coexistence.partner_size() > 0) check_vnet_addresses(rules, "the partner pair speaks BGP with this one");
}

void check_role(Rules& rules) {
  const v1::Coexistence& coexistence = rules.config().coexistence();
  const bool alone = coexistence.role() == v1::COEXISTENCE_ROLE_CONVERGED;
  if (alone && coexistence.partner_size() > 0)
    rules.error("coexistence.partner", "a converged pair has no partner pair", "no `partner`, or another `role`");
  if (!alone) rules.required("coexistence.partner", coexistence.partner_size() > 0, "the other pair's VNet addresses");
  if (coexistence.role() == v1::COEXISTENCE_ROLE_VPN_PAIR && rules.config().circuits_size() > 0)
    rules.error("circuits", "a vpn-pair has no circuits", "`role: converged`, or the circuits in the er-pair");
  if (coexistence.role() == v1::COEXISTENCE_ROLE_ER_PAIR && rules.config().connections_size() > 0)
    rules.error("connections", "an er-pair has no connections",
                "`role: converged`, or the connections in the vpn-pair");
}

}  // namespace

void check_coexistence(Rules& rules) {
  Neighbours seen;
  check_circuits(rules, seen);
  check_routers(rules, seen);
  check_peerings(rules);
  check_partner(rules, seen);
  check_role(rules);
}

}  // namespace gw::config
