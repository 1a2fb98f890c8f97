#include "bgp/policy_maps.hpp"

#include <algorithm>
#include <format>
#include <iterator>
#include <utility>

namespace gw::bgp {
namespace {

/// "permit 10.0.0.0/8 ge 16 le 24"; nothing for a range of the other family or one that holds nothing. bgpd wants
/// length < ge <= le.
std::optional<std::string> range_entry(std::string_view action, const routes::PrefixRange& range, Family family) {
  if (range.within.family() != family) return std::nullopt;
  const unsigned length = range.within.length();
  const unsigned shortest = std::max<unsigned>(range.shortest, length);
  const unsigned longest = std::min<unsigned>(range.longest, address_bits(family));
  if (shortest > longest) return std::nullopt;
  std::string out = std::format("{} {}", action, range.within);
  if (shortest > length) out += std::format(" ge {}", shortest);
  if (longest > length) out += std::format(" le {}", longest);
  return out;
}

/// Descriptions are the operator's words: a line of bgpd's configuration has no control characters.
std::string printable(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

/// The conditions of a rule that depend on the route, and its name; nothing if it matches no route of this family.
std::optional<std::vector<std::string>> rule_conditions(const routes::Rule& rule, Family family,
                                                        PolicyObjects& objects) {
  std::vector<std::string> out{std::format("description policy {}", printable(rule.name))};
  const routes::Match& match = rule.match;
  if (!match.prefixes.empty()) {
    std::vector<std::string> entries;
    for (const routes::PrefixRange& range : match.prefixes) {
      if (auto entry = range_entry("permit", range, family)) entries.push_back(std::move(*entry));
    }
    if (entries.empty()) return std::nullopt;
    out.push_back(match_prefixes(family, objects.prefix_list("PREFIXES", family, entries)));
  }
  if (match.community) {
    const std::string entry = std::format("permit {}", community_text(*match.community));
    out.push_back(std::format("match community {}", objects.community_list("COMMUNITY", {entry})));
  }
  if (match.asn_in_path) {
    const std::string expression = std::format("_{}_", *match.asn_in_path);
    out.push_back(std::format("match as-path {}", objects.as_path_list("ASN", expression)));
  }
  return out;
}

}  // namespace

std::string community_text(std::uint32_t community) {
  return std::format("{}:{}", community >> 16, community & 0xffff);
}

std::string match_prefixes(Family family, std::string_view list) {
  return std::format("match {} address prefix-list {}", family == Family::kV4 ? "ip" : "ipv6", list);
}

std::string delete_internal(PolicyObjects& objects) {
  std::string entry = "permit";
  for (std::uint32_t i = 0; i < routes::kInternalCommunities; ++i) {
    entry += ' ' + community_text(routes::kFirstInternalCommunity + i);
  }
  return std::format("set comm-list {} delete", objects.community_list("INTERNAL", {entry}));
}

void add_filter(RouteMap& map, unsigned first, const std::vector<routes::FilterLine>& filter, Family family,
                PolicyObjects& objects) {
  if (filter.empty()) return;
  std::vector<std::string> entries;
  for (const routes::FilterLine& line : filter) {
    const std::string_view action = line.action == routes::Action::kAccept ? "permit" : "deny";
    if (auto entry = range_entry(action, line.range, family)) entries.push_back(std::move(*entry));
  }
  if (!entries.empty()) {
    map.add(RouteMap::Entry::kPermit, first,
            {match_prefixes(family, objects.prefix_list("FILTER", family, entries)),
             std::format("on-match goto {}", first + 20)});
  }
  map.add(RouteMap::Entry::kDeny, first + 10, {});
}

void add_no_default(RouteMap& map, unsigned sequence, Family family, PolicyObjects& objects) {
  const char* prefix = family == Family::kV4 ? "permit 0.0.0.0/0" : "permit ::/0";
  map.add(RouteMap::Entry::kDeny, sequence, {match_prefixes(family, objects.prefix_list("DEFAULT", family, {prefix}))});
}

void add_rules(RouteMap& map, const RuleSet& set, Family family, PolicyObjects& objects) {
  unsigned sequence = kFirstRule;
  for (const std::size_t index : set.indexes) {
    const routes::Rule& rule = set.rules[index];
    auto lines = rule_conditions(rule, family, objects);
    if (!lines) continue;
    sequence += kRuleStep;
    if (rule.action == routes::Action::kRefuse) {
      map.add(RouteMap::Entry::kDeny, sequence, std::move(*lines));
      continue;
    }
    std::ranges::move(set.set_lines(rule.set), std::back_inserter(*lines));
    lines->push_back(std::format("on-match goto {}", kAfterRules));
    map.add(RouteMap::Entry::kPermit, sequence, std::move(*lines));
  }
}

}  // namespace gw::bgp
