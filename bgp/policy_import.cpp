// routes::Importer as a route-map. The numbers in brackets are the steps of routes/import.hpp.
#include <algorithm>
#include <format>
#include <set>
#include <utility>

#include "bgp/policy_maps.hpp"

namespace gw::bgp {
namespace {

using routes::SourceKind;
using Entry = RouteMap::Entry;

constexpr std::uint32_t kCircuitAsn = 12076;

/// routes::martians() and the VNet, each with everything inside it.
std::vector<std::string> refused_prefixes(const routes::ImportPolicy& safe, Family family) {
  std::set<Prefix> prefixes(routes::martians().begin(), routes::martians().end());
  prefixes.insert(safe.vnet_prefixes.begin(), safe.vnet_prefixes.end());
  std::vector<std::string> out;
  for (const Prefix& prefix : prefixes) {
    if (prefix.family() != family) continue;
    const unsigned bits = address_bits(family);
    out.push_back(prefix.length() < bits ? std::format("permit {} le {}", prefix, bits)
                                         : std::format("permit {}", prefix));
  }
  return out;
}

/// Every reserved number, but those that are fine for this session.
std::string reserved_expression(const routes::ImportPolicy& safe, const Subject& subject) {
  std::string numbers;
  for (const routes::AsnRange& range : routes::reserved_asns()) {
    for (std::uint64_t asn = range.first; asn <= range.last; ++asn) {
      const bool circuits_own = asn == kCircuitAsn && subject.kind == SourceKind::kCircuit;
      if (circuits_own || std::ranges::contains(safe.allowed_asns, asn) ||
          std::ranges::contains(subject.peer->allowed_asns, asn)) {
        continue;
      }
      numbers += std::format("{}{}", numbers.empty() ? "" : "|", asn);
    }
  }
  return std::format("_({})_", numbers);
}

/// [4] for a session that is not the partner's: nobody else says what class a route is.
void add_class(RouteMap& map, const routes::Policy& policy, const Subject& subject, PolicyObjects& objects) {
  map.add(Entry::kPermit, 60, {delete_internal(objects), "set extcommunity none", "on-match next"});
  std::string marks = community_text(routes::class_community(subject.kind));
  if (subject.peer->isolation == routes::Isolation::kIsolated) {
    marks += ' ' + community_text(routes::kIsolatedCommunity);
  }
  map.add(Entry::kPermit, 70,
          {std::format("set weight {}", policy.weights[std::to_underlying(subject.kind)]),
           std::format("set community {} additive", marks), "on-match next"});
}

/// [4] for the partner's: the weight of the class it says, as routes::original_kind() reads it.
void add_partners_class(RouteMap& map, const routes::Policy& policy, PolicyObjects& objects) {
  for (unsigned kind = 0; kind < routes::kSourceKinds; ++kind) {
    const auto mark = routes::class_community(static_cast<SourceKind>(kind));
    const std::string list = objects.community_list("CLASS", {std::format("permit {}", community_text(mark))});
    map.add(Entry::kPermit, 70 + kind,
            {std::format("match community {}", list), std::format("set weight {}", policy.weights[kind]),
             "on-match goto 100"});
  }
  const std::uint16_t unknown = policy.weights[std::to_underlying(SourceKind::kPartner)];
  map.add(Entry::kPermit, 90, {std::format("set weight {}", unknown), "on-match next"});
}

std::vector<std::string> set_lines(const routes::Set& set) {
  std::vector<std::string> out;
  if (set.local_preference) out.push_back(std::format("set local-preference {}", *set.local_preference));
  if (set.weight) out.push_back(std::format("set weight {}", *set.weight));
  if (set.med) out.push_back(std::format("set metric {}", *set.med));
  if (!set.add_communities.empty()) {
    std::string line = "set community";
    for (const std::uint32_t community : set.add_communities) line += ' ' + community_text(community);
    out.push_back(line + " additive");
  }
  if (set.prepend > 0) out.push_back(std::format("set as-path prepend last-as {}", set.prepend));
  return out;
}

}  // namespace

RouteMap import_map(const routes::Policy& policy, const Subject& subject, Family family, PolicyObjects& objects) {
  RouteMap map;
  const routes::ImportPolicy& safe = policy.safe;
  // [3], but for the gateway's own AS number, which bgpd looks for itself. The partner has checked what it learned.
  if (subject.kind != SourceKind::kPartner) {
    const std::string list = objects.as_path_list("RESERVED-AS", reserved_expression(safe, subject));
    map.add(Entry::kDeny, 10, {std::format("match as-path {}", list)});
  }
  // [1]
  if (safe.default_route == routes::DefaultRoute::kRefuse &&
      subject.peer->default_route == routes::DefaultRoute::kRefuse) {
    add_no_default(map, 20, family, objects);
  }
  const std::string refused = objects.prefix_list("REFUSED", family, refused_prefixes(safe, family));
  map.add(Entry::kDeny, 30, {match_prefixes(family, refused)});
  // [2]
  add_filter(map, 40, subject.peer->import_filter, family, objects);
  // [4]
  if (subject.kind == SourceKind::kPartner)
    add_partners_class(map, policy, objects);
  else
    add_class(map, policy, subject, objects);
  // [5]
  add_rules(map, {policy.import_rules, subject.import_rules, set_lines}, family, objects);
  // [6]; bgpd does [7] itself.
  const std::string gshut = objects.community_list("GSHUT", {"permit graceful-shutdown"});
  map.add(Entry::kPermit, kAfterRules,
          {std::format("match community {}", gshut), "set weight 0", "set local-preference 0", "on-match next"});
  // A tunnel device is point to point, and sites send all kinds of next hops over an IPv4 session (v4-mapped, their own
  // link-local, a global one of theirs). Any link-local address is "the other end"; the kernel takes it, while zebra
  // refuses v4-mapped ones.
  const bool tunnel = subject.kind == SourceKind::kVpnTunnel || subject.kind == SourceKind::kBranchVnet;
  std::vector<std::string> last;
  if (tunnel && family == Family::kV6) last.emplace_back("set ipv6 next-hop local fe80::1");
  map.add(Entry::kPermit, kAfterRules + 10, std::move(last));
  return map;
}

}  // namespace gw::bgp
