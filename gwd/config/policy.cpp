#include "gwd/config/policy.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <functional>
#include <span>

#include "gwd/config/sessions.hpp"

namespace gw::config {
namespace {

std::optional<std::uint32_t> half(std::string_view text) {
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// FRR's meaning of ge and le.
template <typename Line>
Result<routes::PrefixRange> resolve_range(const Line& line) {
  GW_TRY_ASSIGN(const Prefix prefix, Prefix::parse(line.prefix()));
  const auto own = static_cast<std::uint8_t>(prefix.length());
  const auto longest = static_cast<std::uint8_t>(address_bits(prefix.family()));
  routes::PrefixRange range{prefix, own, own};
  if (line.ge() != 0) {
    range.shortest = static_cast<std::uint8_t>(line.ge());
    range.longest = longest;
  }
  if (line.le() != 0) range.longest = static_cast<std::uint8_t>(line.le());
  return range;
}

routes::Action action_of(v1::FilterAction action) {
  return action == v1::FILTER_ACTION_REFUSE ? routes::Action::kRefuse : routes::Action::kAccept;
}

Result<std::vector<routes::FilterLine>> resolve_filter(const auto& lines, const std::string& name) {
  std::vector<routes::FilterLine> out;
  for (const v1::PrefixFilter& line : lines) {
    GW_TRY_ASSIGN(const routes::PrefixRange range, resolve_range(line));
    out.push_back({std::format("{}[{}]", name, out.size()), range, action_of(line.action())});
  }
  return out;
}

Result<routes::PeerPolicy> peer_policy(const v1::BgpSession& bgp, const std::string& name) {
  using enum routes::DefaultRoute;
  routes::PeerPolicy out;
  out.default_route = bgp.accept_default_route() ? kAllow : kRefuse;
  out.advertise_default_route = bgp.advertise_default_route() ? kAllow : kRefuse;
  out.allowed_asns.assign(bgp.allowed_asns().begin(), bgp.allowed_asns().end());
  GW_TRY_ASSIGN(out.import_filter, resolve_filter(bgp.import_filter(), name + " import_filter"));
  GW_TRY_ASSIGN(out.export_filter, resolve_filter(bgp.export_filter(), name + " export_filter"));
  out.max_routes = bgp.max_routes() == 0 ? routes::kDefaultMaxRoutes : bgp.max_routes();
  out.at_limit =
      bgp.limit_action() == v1::LIMIT_ACTION_WARN ? routes::LimitAction::kWarn : routes::LimitAction::kDropSession;
  out.private_asns = bgp.remove_private_asns() ? routes::PrivateAsns::kRemove : routes::PrivateAsns::kKeep;
  out.as_override = bgp.as_override() ? routes::AsOverride::kYes : routes::AsOverride::kNo;
  return out;
}

const v1::Connection* find_connection(const v1::Config& config, const std::string& name) {
  const auto found = std::ranges::find(config.connections(), name, &v1::Connection::name);
  return found == config.connections().end() ? nullptr : &*found;
}

bool is_isolated(const v1::Config& config, const std::string& site) {
  return std::ranges::any_of(config.sites(), [&](const v1::Site& s) { return s.name() == site && s.isolate(); });
}

/// Whichever instance carries them: the policy stays when an endpoint moves.
std::vector<std::reference_wrapper<const TunnelModel>> known_tunnels(const GatewayModel& model) {
  std::vector<std::reference_wrapper<const TunnelModel>> all(model.tunnels.begin(), model.tunnels.end());
  all.insert(all.end(), model.elsewhere.begin(), model.elsewhere.end());
  return all;
}

Status resolve_peers(const v1::Config& config, const GatewayModel& model, routes::Policy& policy) {
  for (const TunnelModel& tunnel : known_tunnels(model)) {
    const v1::Connection* connection = find_connection(config, tunnel.connection);
    const std::string source = tunnel.bgp ? tunnel.name : "static:" + tunnel.name;
    GW_TRY_ASSIGN(routes::PeerPolicy peer, peer_policy(connection->bgp(), connection->name()));
    if (is_isolated(config, tunnel.site)) peer.isolation = routes::Isolation::kIsolated;
    policy.peers[source] = std::move(peer);
  }
  for (const v1::Circuit& circuit : config.circuits()) {
    for (const v1::CircuitPeer& end : circuit.peers()) {
      GW_TRY_ASSIGN(routes::PeerPolicy peer, peer_policy(circuit.bgp(), circuit.name()));
      // The circuit's own number is in every path.
      peer.allowed_asns.push_back(circuit.asn() == 0 ? kCircuitAsn : circuit.asn());
      policy.peers[circuit_session_name(circuit, end, model.instance)] = std::move(peer);
    }
  }
  for (const v1::VnetRouter& router : config.vnet().routers()) {
    GW_TRY_ASSIGN(routes::PeerPolicy peer, peer_policy(router.bgp(), router.name()));
    policy.peers[std::format("vnet:{}/{}", router.name(), model.instance)] = std::move(peer);
  }
  // What the other instance and the partner pair tell has passed their policy.
  for (const SessionModel& session : model.sessions) {
    if (session.kind == routes::SourceKind::kWan) policy.peers[session.name].max_routes = 0;
    if (session.kind != routes::SourceKind::kPartner) continue;
    routes::PeerPolicy& peer = policy.peers[session.name];
    peer.max_routes = 0;
    peer.default_route = routes::DefaultRoute::kAllow;
    peer.advertise_default_route = routes::DefaultRoute::kAllow;
  }
  return {};
}

std::optional<routes::SourceKind> kind_of(v1::PolicySource source) {
  switch (source) {
    case v1::POLICY_SOURCE_CIRCUIT: return routes::SourceKind::kCircuit;
    case v1::POLICY_SOURCE_VPN: return routes::SourceKind::kVpnTunnel;
    case v1::POLICY_SOURCE_BRANCH: return routes::SourceKind::kBranchVnet;
    case v1::POLICY_SOURCE_STATIC: return routes::SourceKind::kStaticSite;
    case v1::POLICY_SOURCE_VNET: return routes::SourceKind::kVnet;
    case v1::POLICY_SOURCE_SPOKE: return routes::SourceKind::kSpoke;
    case v1::POLICY_SOURCE_PARTNER: return routes::SourceKind::kPartner;
    default: return std::nullopt;
  }
}

/// The names of the sessions that a rule is about; one empty name: it does not ask.
std::vector<std::string> sources_of(const v1::PolicyMatch& match, const GatewayModel& model) {
  std::vector<std::string> out;
  if (match.connection().empty() && match.circuit().empty()) return {""};
  for (const TunnelModel& tunnel : known_tunnels(model)) {
    if (tunnel.connection != match.connection()) continue;
    out.push_back(tunnel.bgp ? tunnel.name : "static:" + tunnel.name);
  }
  for (const SessionModel& session : model.sessions)
    if (!match.circuit().empty() && session.circuit == match.circuit()) out.push_back(session.name);
  return out;
}

Status resolve_rule(const v1::PolicyRule& rule, const GatewayModel& model, std::vector<routes::Rule>& out) {
  const v1::PolicyMatch& match = rule.match();
  routes::Rule resolved{.name = rule.name(), .action = action_of(rule.action())};
  resolved.match.kind = kind_of(match.source());
  resolved.match.site = match.site();
  resolved.match.instance = match.instance();
  for (const v1::PrefixRange& range : match.prefixes()) {
    GW_TRY_ASSIGN(const routes::PrefixRange prefixes, resolve_range(range));
    resolved.match.prefixes.push_back(prefixes);
  }
  if (!match.community().empty()) resolved.match.community = parse_community(match.community());
  if (match.asn() != 0) resolved.match.asn_in_path = match.asn();
  const v1::PolicySet& set = rule.set();
  if (set.has_local_preference()) resolved.set.local_preference = set.local_preference();
  if (set.has_weight()) resolved.set.weight = static_cast<std::uint16_t>(set.weight());
  if (set.has_med()) resolved.set.med = set.med();
  for (const std::string& text : set.communities()) {
    if (const auto community = parse_community(text)) resolved.set.add_communities.push_back(*community);
  }
  resolved.set.prepend = static_cast<std::uint8_t>(set.prepend());
  for (const std::string& source : sources_of(match, model)) {
    resolved.match.source = source;
    out.push_back(resolved);
  }
  return {};
}

}  // namespace

std::optional<std::uint32_t> parse_community(std::string_view text) {
  struct WellKnown {
    std::string_view name;
    std::uint32_t value;
  };
  constexpr std::array kWellKnown = {WellKnown{"graceful-shutdown", routes::kGracefulShutdown},
                                     WellKnown{"blackhole", 0xffff029a}, WellKnown{"no-export", 0xffffff01},
                                     WellKnown{"no-advertise", 0xffffff02}};
  for (const WellKnown& known : kWellKnown)
    if (text == known.name) return known.value;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto high = half(text.substr(0, colon));
  const auto low = half(text.substr(colon + 1));
  if (!high || !low) return std::nullopt;
  return *high << 16 | *low;
}

Result<routes::Policy> resolve_policy(const v1::Config& config, const GatewayModel& model) {
  routes::Policy policy;
  const v1::Coexistence& coexistence = config.coexistence();
  policy.safe = {.gateway_asn = model.asn, .vnet_prefixes = model.vnet_prefixes};
  for (const SpokeModel& spoke : model.spokes)
    policy.safe.vnet_prefixes.insert(policy.safe.vnet_prefixes.end(), spoke.prefixes.begin(), spoke.prefixes.end());
  policy.weights = routes::class_weights(coexistence.prefer() == v1::PREFERRED_CLASS_VPN ? routes::Prefer::kVpn
                                                                                         : routes::Prefer::kCircuit);
  policy.transit = coexistence.transit() ? routes::Transit::kOpen : routes::Transit::kClosed;
  policy.vnet = coexistence.role() == v1::COEXISTENCE_ROLE_VPN_PAIR ? routes::Publishing::kSilent
                                                                    : routes::Publishing::kPublishes;
  GW_TRY(resolve_peers(config, model, policy));
  for (const v1::PolicyRule& rule : config.policy()) {
    auto& rules = rule.direction() == v1::POLICY_DIRECTION_EXPORT ? policy.export_rules : policy.import_rules;
    GW_TRY(resolve_rule(rule, model, rules));
  }
  return policy;
}

}  // namespace gw::config
