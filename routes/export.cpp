#include "routes/export.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <optional>
#include <utility>

namespace gw::routes {
namespace {

enum class Role : std::uint8_t { kVnet, kCircuit, kSite, kBranch, kPartner };  // the wan has none: it is told no route
constexpr std::size_t kRoles = 5;

Role role_of(SourceKind kind) {
  switch (kind) {
    case SourceKind::kVnet:
    case SourceKind::kSpoke: return Role::kVnet;
    case SourceKind::kCircuit: return Role::kCircuit;
    case SourceKind::kVpnTunnel:
    case SourceKind::kStaticSite: return Role::kSite;
    case SourceKind::kBranchVnet: return Role::kBranch;
    case SourceKind::kPartner:
    case SourceKind::kWan: return Role::kPartner;
  }
  return Role::kPartner;
}

using Row = std::array<Cell, kRoles>;
constexpr Cell kYes = Cell::kYes;
constexpr Cell kNo = Cell::kNo;
constexpr Cell kTransit = Cell::kTransitOnly;
constexpr Cell kIsolated = Cell::kUnlessIsolated;
// The partner's rows are those of the original source; the last one is for a route that does not say what it was.
constexpr std::array<Row, kRoles> kTable = {{
    //  VNet   circuit   site       branch    partner
    {{kNo, kYes, kYes, kYes, kYes}},
    {{kYes, kNo, kTransit, kTransit, kYes}},
    {{kYes, kTransit, kIsolated, kYes, kYes}},
    {{kYes, kTransit, kYes, kTransit, kYes}},
    {{Cell::kIfPublishing, kNo, kNo, kNo, kNo}},
}};

ExportVerdict no(std::string line) { return {Told::kNo, std::move(line)}; }

bool is_isolated(const Policy& policy, const Source& source) {
  return policy.peer(source.name).isolation == Isolation::kIsolated;
}

bool is_isolated(const Policy& policy, const Candidate& route) {
  if (route.source->kind == SourceKind::kPartner) return route.attributes->has_community(kIsolatedCommunity);
  return is_isolated(policy, *route.source);
}

std::string cell_name(SourceKind from, SourceKind to) {
  return std::format("export table: {} -> {}", to_string(from), to_string(to));
}

std::optional<ExportVerdict> check_table(const Policy& policy, const Candidate& route, const Source& to) {
  const bool from_partner = route.source->kind == SourceKind::kPartner;
  const SourceKind from = original_kind(*route.source, *route.attributes);
  if (from_partner && to.kind == SourceKind::kPartner) return no("export table: never back to the partner");
  if (role_of(to.kind) == Role::kVnet && policy.vnet == Publishing::kSilent) {
    return no("export table: the other pair publishes to the VNet");
  }
  switch (export_cell(from, to.kind)) {
    case Cell::kYes:
    case Cell::kIfPublishing: break;
    case Cell::kNo: return no(cell_name(from, to.kind) + " is closed");
    case Cell::kTransitOnly:
      if (policy.transit == Transit::kClosed) return no(cell_name(from, to.kind) + " needs transit: true");
      break;
    case Cell::kUnlessIsolated:
      if (is_isolated(policy, to) || is_isolated(policy, route)) {
        return no(cell_name(from, to.kind) + ": a site is isolated");
      }
      break;
  }
  return std::nullopt;
}

/// RFC 1997: what the route's sender wants to be told no further.
std::optional<ExportVerdict> check_well_known(const Attributes& a, const Source& to) {
  if (a.has_community(kNoAdvertise)) return no("community: no-advertise");
  if (to.type != PeerType::kEbgp) return std::nullopt;
  if (a.has_community(kNoExport)) return no("community: no-export");
  if (a.has_community(kNoExportSubconfed)) return no("community: local-AS");
  return std::nullopt;
}

/// What holds whatever the table says.
std::optional<ExportVerdict> check_peer(const Policy& policy, const Prefix& prefix, const Candidate& route,
                                        const Source& to) {
  const PeerPolicy& peer = policy.peer(to.name);
  if (route.source->name == to.name) return no("loop: learned from this peer");
  const bool same_site = !to.site.empty() && to.site == route.source->site;
  if (same_site) return no("loop: learned from another tunnel of this site");
  if (prefix.length() == 0 && to.type != PeerType::kIbgp && peer.advertise_default_route == DefaultRoute::kRefuse) {
    return no("safe prefixes: the default route is not advertised to this peer");
  }
  if (to.type == PeerType::kEbgp && peer.as_override == AsOverride::kNo &&
      route.attributes->as_path.contains(to.peer_asn)) {
    return no("loop: the peer's own AS is in the path, it would refuse it");
  }
  if (const auto refused = check_well_known(*route.attributes, to)) return refused;
  if (peer.export_filter.empty()) return std::nullopt;
  const auto hit =
      std::ranges::find_if(peer.export_filter, [&](const FilterLine& l) { return l.range.contains(prefix); });
  if (hit == peer.export_filter.end()) return no("filter: no line of the peer's export filter matches");
  if (hit->action == Action::kRefuse) return no(std::format("filter {}", hit->name));
  return std::nullopt;
}

bool matches(const Match& m, const Prefix& prefix, const Candidate& route, const Source& to) {
  const Attributes& a = *route.attributes;
  return (!m.kind || *m.kind == to.kind) && (m.site.empty() || m.site == to.site) &&
         (m.instance.empty() || m.instance == to.instance) && (m.source.empty() || m.source == to.name) &&
         (!m.community || a.has_community(*m.community)) && (!m.asn_in_path || a.as_path.contains(*m.asn_in_path)) &&
         (m.prefixes.empty() ||
          std::ranges::any_of(m.prefixes, [&](const PrefixRange& r) { return r.contains(prefix); }));
}

/// Before rules. A peer's MED goes no further than this AS (RFC 4271 5.1.4); what bgpd originates has 0.
std::optional<std::uint32_t> told_med(const Candidate& route, const Source& to) {
  if (route.source->type == PeerType::kLocal) return route.attributes->med.value_or(0);
  return to.type == PeerType::kIbgp ? route.attributes->med : std::nullopt;
}

/// What is carried to the partner only.
void shape_for_partner(const Policy& policy, const Candidate& route, Attributes& a) {
  a.weight = 0;
  a.communities.push_back(class_community(route.source->kind));
  if (is_isolated(policy, route)) a.communities.push_back(kIsolatedCommunity);
}

void shape_for_ebgp(const Policy& policy, const PeerPolicy& peer, const Source& to, unsigned prepends, Attributes& a) {
  a.weight = 0;
  a.local_preference.reset();
  std::erase_if(a.communities, is_internal_community);
  // In bgpd's order: prepends come first, so a private AS number of ours goes with the other private ones; then the
  // peer's own is replaced, then ours comes in front.
  a.as_path = a.as_path.prepended(policy.safe.gateway_asn, prepends);
  if (peer.private_asns == PrivateAsns::kRemove) a.as_path = a.as_path.without_private(to.peer_asn);
  if (peer.as_override == AsOverride::kYes) a.as_path = a.as_path.replaced(to.peer_asn, policy.safe.gateway_asn);
  a.as_path = a.as_path.prepended(policy.safe.gateway_asn, 1);
}

}  // namespace

Cell export_cell(SourceKind from, SourceKind to) {
  if (from == SourceKind::kWan || to == SourceKind::kWan) return Cell::kNo;
  return kTable[std::to_underlying(role_of(from))][std::to_underlying(role_of(to))];
}

ExportVerdict apply_export(const Policy& policy, const Prefix& prefix, const Candidate& route, const Source& to,
                           Attributes& attributes) {
  if (const auto refused = check_peer(policy, prefix, route, to)) return *refused;
  if (const auto refused = check_table(policy, route, to)) return *refused;
  ExportVerdict verdict{Told::kYes, cell_name(original_kind(*route.source, *route.attributes), to.kind)};
  attributes = *route.attributes;
  attributes.med = told_med(route, to);
  unsigned prepends = 0;
  for (const Rule& rule : policy.export_rules) {
    if (!matches(rule.match, prefix, route, to)) continue;
    verdict.line = std::format("policy {}", rule.name);
    if (rule.action == Action::kRefuse) return no(verdict.line);
    if (rule.set.med && to.type == PeerType::kEbgp) attributes.med = rule.set.med;
    for (const std::uint32_t community : rule.set.add_communities) {
      if (!attributes.has_community(community)) attributes.communities.push_back(community);
    }
    prepends = rule.set.prepend;
    break;
  }
  if (to.type == PeerType::kIbgp) {
    shape_for_partner(policy, route, attributes);
  } else {
    shape_for_ebgp(policy, policy.peer(to.name), to, prepends, attributes);
  }
  return verdict;
}

}  // namespace gw::routes
