#include "bgp/policy_render.hpp"

#include <algorithm>
#include <format>
#include <optional>
#include <utility>

#include "bgp/endpoint_routes.hpp"
#include "routes/decide.hpp"

namespace gw::bgp {
namespace {

using routes::SourceKind;

/// What a condition says about the session itself.
bool can_match(const routes::Match& m, SourceKind kind, std::string_view name, std::string_view site,
               std::string_view instance) {
  return (!m.kind || *m.kind == kind) && (m.site.empty() || m.site == site) &&
         (m.instance.empty() || m.instance == instance) && (m.source.empty() || m.source == name);
}

void add_filter_key(std::string& out, const std::vector<routes::FilterLine>& filter) {
  for (const routes::FilterLine& line : filter) {
    out += std::format("{} {} {} {}|", line.range.within, line.range.shortest, line.range.longest,
                       std::to_underlying(line.action));
  }
  out += ';';
}

/// Equal for subjects that have equal maps.
std::string key_of(const Subject& subject) {
  const routes::PeerPolicy& p = *subject.peer;
  std::string out = std::format("{}{}{}{};", std::to_underlying(subject.kind), std::to_underlying(p.default_route),
                                std::to_underlying(p.advertise_default_route), std::to_underlying(p.isolation));
  for (const std::uint32_t asn : p.allowed_asns) out += std::format("{},", asn);
  out += ';';
  add_filter_key(out, p.import_filter);
  add_filter_key(out, p.export_filter);
  for (const std::size_t index : subject.import_rules) out += std::format("{},", index);
  out += ';';
  for (const std::size_t index : subject.export_rules) out += std::format("{},", index);
  if (subject.graceful_shutdown) out += ";shutdown";
  return out;
}

std::string_view kind_word(SourceKind kind) {
  switch (kind) {
    case SourceKind::kVnet: return "VNET";
    case SourceKind::kCircuit: return "CIRCUIT";
    case SourceKind::kBranchVnet: return "BRANCH";
    case SourceKind::kPartner: return "PARTNER";
    default: return "VPN";
  }
}

/// What an originated prefix has: constant, because its route is ours.
RouteMap network_map(const routes::Policy& policy, const routes::Candidate& route) {
  const routes::Attributes& a = *route.attributes;
  std::vector<std::string> lines{std::format("set weight {}", a.weight)};
  if (a.local_preference) lines.push_back(std::format("set local-preference {}", *a.local_preference));
  if (a.med) lines.push_back(std::format("set metric {}", *a.med));
  std::string communities = "set community " + community_text(routes::class_community(route.source->kind));
  if (policy.peer(route.source->name).isolation == routes::Isolation::kIsolated) {
    communities += ' ' + community_text(routes::kIsolatedCommunity);
  }
  for (const std::uint32_t community : a.communities) communities += ' ' + community_text(community);
  lines.push_back(std::move(communities));
  if (!route.source->site.empty()) lines.push_back("set extcommunity soo " + site_of_origin(route.source->site));
  if (a.as_path.length() > 0) lines.push_back("set as-path prepend " + a.as_path.to_string());
  RouteMap map;
  map.add(RouteMap::Entry::kPermit, 10, std::move(lines));
  return map;
}

}  // namespace

std::string site_of_origin(std::string_view site) {
  if (site.empty()) return {};
  std::uint32_t hash = 2166136261U;  // FNV-1a; validate() refuses two sites that have the same
  for (const char c : site) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return std::format("65515:{}", hash);
}

PolicyRender::PolicyRender(const BgpIntent& intent) {
  for (const PeerIntent& peer : intent.peers) {
    if (peer.kind == SourceKind::kWan) {
      peers_.push_back(&wan_maps(intent, peer.peer.family()));
      groups_[peer.kind] = &wan_maps(intent, std::nullopt);
      continue;
    }
    peers_.push_back(
        &maps_of(*intent.policy, {peer.kind, peer.name, peer.site, intent.instance, peer.graceful_shutdown}));
    if (groups_.contains(peer.kind)) continue;
    groups_[peer.kind] = &maps_of(*intent.policy, {peer.kind, {}, {}, intent.instance});
  }
  render_networks(intent);
}

const SessionMaps& PolicyRender::maps_of(const routes::Policy& policy, const Session& session) {
  Subject subject{session.kind, &policy.peer(session.name), {}, {}, session.graceful_shutdown};
  const auto rules_for = [&](const std::vector<routes::Rule>& rules) {
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (can_match(rules[i].match, session.kind, session.name, session.site, session.instance)) out.push_back(i);
    }
    return out;
  };
  subject.import_rules = rules_for(policy.import_rules);
  subject.export_rules = rules_for(policy.export_rules);
  const auto [it, fresh] = known_.try_emplace(key_of(subject));
  if (!fresh) return it->second;
  for (const Family family : {Family::kV4, Family::kV6}) {
    const std::string suffix = family == Family::kV4 ? "" : "6";
    const std::string_view word = kind_word(subject.kind);
    it->second.in[std::to_underlying(family)] =
        objects_.route_map(std::format("{}-IN{}", word, suffix), import_map(policy, subject, family, objects_));
    it->second.out[std::to_underlying(family)] =
        objects_.route_map(std::format("{}-OUT{}", word, suffix), export_map(policy, subject, family, objects_));
  }
  return it->second;
}

/// A session of no family is the group's: nothing either way.
const SessionMaps& PolicyRender::wan_maps(const BgpIntent& intent, std::optional<Family> session) {
  const auto [it, fresh] =
      known_.try_emplace(std::format("wan {}", session ? static_cast<int>(std::to_underlying(*session)) : -1));
  if (!fresh) return it->second;
  for (const Family family : {Family::kV4, Family::kV6}) {
    const std::string suffix = family == Family::kV4 ? "" : "6";
    it->second.in[std::to_underlying(family)] = objects_.route_map("WAN-IN" + suffix, wan_import_map());
    it->second.out[std::to_underlying(family)] =
        objects_.route_map("WAN-OUT" + suffix, wan_export_map(intent, session, family, objects_));
  }
  return it->second;
}

// bgpd has one route of its own to a prefix; of several sources (two tunnels of a static site) it is the best one's.
void PolicyRender::render_networks(const BgpIntent& intent) {
  const routes::Importer importer(intent.policy);
  std::map<Prefix, routes::Candidate> best;
  for (const OriginIntent& origin : intent.origins) {
    const auto source = std::make_shared<const routes::Source>(origin.source);
    for (const Prefix& prefix : origin.prefixes) {
      auto attributes = std::make_shared<routes::Attributes>();
      attributes->communities = origin.communities;
      attributes->as_path = routes::AsPath::sequence(origin.as_path);
      if (importer.apply(*source, prefix, *attributes).action == routes::Action::kRefuse) continue;
      // One that moved away is a last resort for ourselves, too; a rule that says so to others is not meant.
      if (std::ranges::contains(origin.communities, routes::kGracefulShutdown))
        attributes->weight = 0, attributes->local_preference = 0;
      const routes::Candidate route{source, std::move(attributes)};
      const auto [it, first] = best.try_emplace(prefix, route);
      if (!first && routes::compare(route, it->second).order < 0) it->second = route;
    }
  }
  for (const auto& [prefix, route] : best) {
    networks_[prefix] = objects_.route_map("NETWORK", network_map(*intent.policy, route));
  }
}

}  // namespace gw::bgp
