// Rules for the BGP neighbours on the wan, and for endpoints that move by them.
#include <algorithm>
#include <format>
#include <map>

#include "gwd/config/asn.hpp"
#include "gwd/config/rules.hpp"

namespace gw::config {
namespace {

constexpr unsigned kLastAsn = 4294967294;  // 4294967295 is reserved (RFC 7300)

Path path_of(int instance) { return std::format("gateway.instances[{}].wan", instance); }

/// Who has an address already, so that it cannot be a router's or an instance's own on the wan. Empty: nobody.
std::string owner_of(const v1::Config& config, const IpAddress& address) {
  const auto is = [&](const std::string& text) { return address == IpAddress::parse(text); };
  for (const v1::Instance& instance : config.gateway().instances()) {
    for (const v1::EndpointAddress& endpoint : instance.wan().endpoints())
      if (is(endpoint.address())) return std::format("an endpoint of {}, which moves", instance.name());
    if (is(instance.vnet().address())) return std::format("the VNet address of {}", instance.name());
  }
  for (const v1::VnetRouter& router : config.vnet().routers())
    if (is(router.address())) return "a router of the VNet";
  for (const v1::Circuit& circuit : config.circuits())
    for (const v1::CircuitPeer& peer : circuit.peers())
      if (is(peer.address())) return "a router of the circuit";
  for (const std::string& partner : config.coexistence().partner())
    if (is(partner)) return "an instance of the other pair";
  return {};
}

/// Routers of one instance, and local addresses with the instance whose they are.
struct Seen {
  std::map<IpAddress, Path> routers;
  std::map<IpAddress, int>& locals;
  int instance;
};

std::optional<IpAddress> check_address(Rules& rules, const Path& path, const std::string& text, std::string_view what) {
  if (!rules.required_text(path, text, what)) return std::nullopt;
  const auto address = rules.address(path, text);
  if (!address) return std::nullopt;
  if (const std::string owner = owner_of(rules.config(), *address); !owner.empty()) {
    rules.error(path, std::format("{} is {}", *address, owner), std::string(what));
    return std::nullopt;
  }
  return address;
}

void check_ends(Rules& rules, const Path& path, const v1::WanRouter& router, Seen& seen) {
  const auto address = check_address(rules, path + ".address", router.address(), "the router's address on the wan");
  const auto local = check_address(rules, path + ".local", router.local(),
                                   "this instance's own address on the wan, which stays with it");
  if (address) {
    const auto [first, is_new] = seen.routers.emplace(*address, path);
    if (!is_new)
      rules.error(path + ".address", std::format("{} is also {}", *address, first->second),
                  "an address of its own for each neighbour");
  }
  if (!local) return;
  const auto [first, is_new] = seen.locals.emplace(*local, seen.instance);
  if (first->second != seen.instance)
    return rules.error(path + ".local",
                       std::format("{} is {}'s", *local, rules.config().gateway().instances(first->second).name()),
                       "an address of each instance's own");
  if (!address) return;
  if (address->family() != local->family())
    rules.error(path + ".local", std::format("{} and the router's {} are of different families", *local, *address),
                "two of one family");
  else if (*address == *local)
    rules.error(path + ".local", std::format("{} is the router's own", *local), "this instance's address");
}

void check_bgp(Rules& rules, const Path& path, const v1::BgpSession& bgp) {
  check_session_without_tunnel(rules, path, bgp);
  for (const char* name : {"max_routes", "limit_action", "accept_default_route", "advertise_default_route",
                           "allowed_asns", "import_filter", "export_filter", "remove_private_asns", "as_override"})
    if (rules.given(path + "." + name) && !rules.faulty(path + "." + name))
      rules.error(path + "." + name, "means nothing here: the wan is told endpoints, and nothing is learned there",
                  "no such key here");
}

void check_router(Rules& rules, const Path& path, const v1::WanRouter& router, Seen& seen) {
  check_ends(rules, path, router, seen);
  if (rules.required(path + ".asn", rules.given(path + ".asn"), "the router's AS number")) {
    rules.number(path + ".asn", router.asn(), {1, kLastAsn});
    const std::uint32_t own = rules.given("gateway.asn") ? rules.config().gateway().asn() : kDefaultAsn;
    if (router.asn() == own)
      rules.error(path + ".asn", std::format("{} is the gateway's own", router.asn()), "another AS number");
  }
  check_bgp(rules, path + ".bgp", router.bgp());
}

/// An endpoint may come to any instance, and somebody has to hear of it there.
void check_move(Rules& rules, const Path& path, const v1::EndpointAddress& endpoint) {
  const v1::Gateway& gateway = rules.config().gateway();
  const auto address = IpAddress::parse(endpoint.address());
  if (!address || rules.faulty(path)) return;
  if (!std::ranges::any_of(gateway.instances(), [](const v1::Instance& i) { return i.sync_size() > 0; }))
    return rules.error(path, "`bgp` is for two instances with `sync`: this endpoint has nowhere to move to",
                       "`sync: [ address ]` in both instances, or no `move`");
  for (int i = 0; i < gateway.instances_size(); ++i) {
    const v1::Instance& instance = gateway.instances(i);
    const auto hears = [&](const v1::WanRouter& router) {
      const auto other = IpAddress::parse(router.address());
      return !other || other->family() == address->family();  // what has no address is reported
    };
    if (std::ranges::any_of(instance.wan().routers(), hears)) continue;
    rules.error(
        path,
        std::format("{} has no {} router on the wan: nobody would hear that it has {}", instance.name(),
                    address->is_v4() ? "IPv4" : "IPv6", *address),
        std::format("`routers: [ {{ name, address, local, asn }} ]` in {}.wan, or another `move`", instance.name()));
    return;
  }
}

}  // namespace

void check_wan(Rules& rules) {
  const v1::Gateway& gateway = rules.config().gateway();
  bool moves = false;
  std::map<IpAddress, int> locals;
  for (int i = 0; i < gateway.instances_size(); ++i) {
    const v1::Wan& wan = gateway.instances(i).wan();
    Seen seen{{}, locals, i};
    std::set<std::string> names;
    for (int k = 0; k < wan.routers_size(); ++k) {
      const Path path = std::format("{}.routers[{}]", path_of(i), k);
      rules.name(path + ".name", wan.routers(k).name(), names);
      check_router(rules, path, wan.routers(k), seen);
    }
    for (int k = 0; k < wan.endpoints_size(); ++k) {
      if (wan.endpoints(k).move() != v1::MOVE_BGP) continue;
      moves = true;
      check_move(rules, std::format("{}.endpoints[{}].move", path_of(i), k), wan.endpoints(k));
    }
  }
  for (int i = 0; i < gateway.instances_size() && !moves; ++i)
    if (gateway.instances(i).wan().routers_size() > 0)
      rules.warning(path_of(i) + ".routers", "are told nothing: no endpoint has `move: bgp`",
                    "`move: bgp` in the endpoints that they are to hear of");
}

}  // namespace gw::config
