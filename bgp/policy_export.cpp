// routes::apply_export as a route-map: the table first, by the class communities that import has set, because most of
// what a session is not told it is not told for its class. What bgpd does by itself: no route to its sender's session
// or AS, none of iBGP to iBGP, RFC 1997's communities, remove-private-AS and as-override.
#include <algorithm>
#include <format>
#include <utility>

#include "bgp/peer_groups.hpp"
#include "bgp/policy_maps.hpp"
#include "routes/export.hpp"

namespace gw::bgp {
namespace {

using routes::Cell;
using routes::SourceKind;
using Entry = RouteMap::Entry;

constexpr std::string_view kToldNothing = "description the other pair publishes to the VNet";

bool is_told(const routes::Policy& policy, SourceKind from, SourceKind to) {
  const Cell cell = routes::export_cell(from, to);
  return cell != Cell::kNo && (cell != Cell::kTransitOnly || policy.transit == routes::Transit::kOpen);
}

std::string class_entry(SourceKind kind) {
  return std::format("permit {}", community_text(routes::class_community(kind)));
}

/// The column of this kind of session.
void add_table(RouteMap& map, const routes::Policy& policy, const Subject& to, PolicyObjects& objects) {
  std::vector<std::string> told;
  std::vector<std::string> refused;
  std::vector<std::string> isolated;
  for (std::size_t i = 0; i < routes::kSourceKinds; ++i) {
    const auto from = static_cast<SourceKind>(i);
    (is_told(policy, from, to.kind) ? told : refused).push_back(class_entry(from));
    if (routes::export_cell(from, to.kind) != Cell::kUnlessIsolated) continue;
    const bool nothing = to.peer->isolation == routes::Isolation::kIsolated;
    isolated.push_back(nothing ? class_entry(from)
                               : std::format("{} {}", class_entry(from), community_text(routes::kIsolatedCommunity)));
  }
  // A route of the partner without a class is none of the others.
  if (is_told(policy, SourceKind::kPartner, to.kind)) {
    if (!refused.empty()) {
      const std::string list = objects.community_list("NOT-TOLD", refused);
      map.add(Entry::kDeny, 20, {std::format("match community {}", list)});
    }
  } else {
    const std::string list = objects.community_list("TOLD", told);
    map.add(Entry::kPermit, 10, {std::format("match community {}", list), "on-match goto 30"});
    map.add(Entry::kDeny, 20, {});
  }
  if (!isolated.empty()) {
    const std::string list = objects.community_list("ISOLATED", isolated);
    map.add(Entry::kDeny, 30, {std::format("match community {}", list)});
  }
}

std::vector<std::string> set_lines(const routes::Set& set, const routes::Policy& policy, const Subject& to) {
  std::vector<std::string> out;
  if (!set.add_communities.empty()) {
    std::string line = "set community";
    for (const std::uint32_t community : set.add_communities) line += ' ' + community_text(community);
    out.push_back(line + " additive");
  }
  if (to.kind == SourceKind::kPartner) return out;
  if (set.med) out.push_back(std::format("set metric {}", *set.med));
  if (set.prepend > 0) {
    std::string line = "set as-path prepend";
    for (unsigned i = 0; i < set.prepend; ++i) line += std::format(" {}", policy.safe.gateway_asn);
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace

RouteMap export_map(const routes::Policy& policy, const Subject& to, Family family, PolicyObjects& objects) {
  RouteMap map;
  if (to.kind == SourceKind::kVnet && policy.vnet == routes::Publishing::kSilent) {
    map.add(Entry::kDeny, 10, {std::string(kToldNothing)});
    return map;
  }
  const bool partner = to.kind == SourceKind::kPartner;
  // The wan's alone.
  const std::string endpoint =
      objects.community_list("ENDPOINT", {std::format("permit {}", community_text(routes::kEndpointCommunity))});
  map.add(Entry::kDeny, 5, {std::format("match community {}", endpoint)});
  if (!partner) {
    add_table(map, policy, to, objects);
    if (to.peer->advertise_default_route == routes::DefaultRoute::kRefuse) add_no_default(map, 40, family, objects);
  }
  add_filter(map, 50, to.peer->export_filter, family, objects);
  const auto sets = [&](const routes::Set& set) { return set_lines(set, policy, to); };
  add_rules(map, {policy.export_rules, to.export_rules, sets}, family, objects);
  // What the partner has told is its own: the VNet sends there directly, not through this instance. IPv6 goes through
  // this instance: of bgpd 10.3 the command is for IPv4 alone (tried), and by itself it keeps an IPv6 next hop only
  // over an IPv6 session.
  if (to.kind == SourceKind::kVnet && family == Family::kV4) {
    map.add(Entry::kPermit, kAfterRules,
            {std::format("match src-peer {}", group_name(SourceKind::kPartner)), "set ip next-hop unchanged",
             "on-match next"});
  }
  std::vector<std::string> last;
  if (!partner) last.push_back(delete_internal(objects));
  if (to.graceful_shutdown) last.emplace_back("set community graceful-shutdown additive");
  map.add(Entry::kPermit, kAfterRules + 10, std::move(last));
  return map;
}

}  // namespace gw::bgp
