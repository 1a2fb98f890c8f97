#include "bgp/policy_objects.hpp"

#include <format>
#include <utility>

namespace gw::bgp {
namespace {

/// FNV-1a, 48 bits of it: a gateway has some dozens of objects.
std::string name_of(std::string_view what, const std::vector<std::string>& lines) {
  std::uint64_t hash = 14695981039346656037U;
  const auto mix = [&hash](char c) { hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U; };
  for (const std::string& line : lines) {
    for (const char c : line) mix(c);
    mix('\n');
  }
  return std::format("GW-{}-{:012x}", what, (hash ^ hash >> 48) & 0xffffffffffffU);
}

}  // namespace

void RouteMap::add(Entry entry, unsigned sequence, std::vector<std::string> lines) {
  rows_.push_back({entry, sequence, std::move(lines)});
}

std::vector<std::string> RouteMap::lines(std::string_view name) const {
  std::vector<std::string> out;
  for (const Row& row : rows_) {
    out.push_back(
        std::format("route-map {} {} {}", name, row.entry == Entry::kPermit ? "permit" : "deny", row.sequence));
    // No "exit": bgpd finds the next entry from here, and every exit ends a transaction of its own.
    out.insert(out.end(), row.lines.begin(), row.lines.end());
  }
  return out;
}

std::vector<const PolicyObject*> PolicyObjects::in_order() const {
  std::vector<const PolicyObject*> out;
  for (const Rank rank : {Rank::kBgpList, Rank::kPrefixList, Rank::kRouteMap}) {
    for (const auto& [name, made] : known_) {
      if (made.rank == rank) out.push_back(&made.object);
    }
  }
  return out;
}

std::string PolicyObjects::list(Rank rank, std::string_view what, std::string_view keyword,
                                const std::vector<std::string>& entries) {
  std::string name = name_of(what, entries);
  const auto [made, fresh] = known_.try_emplace(name);
  if (!fresh) return name;
  made->second = {rank, {name, {}, std::format("no {} {}", keyword, name)}};
  // Numbered by us: bgpd adds an entry without a number once more when it is applied again.
  for (std::size_t i = 0; i < entries.size(); ++i) {
    made->second.object.lines.push_back(std::format("{} {} seq {} {}", keyword, name, 5 * (i + 1), entries[i]));
  }
  return name;
}

std::string PolicyObjects::prefix_list(std::string_view what, Family family, const std::vector<std::string>& entries) {
  const bool v4 = family == Family::kV4;
  return list(Rank::kPrefixList, std::format("{}{}", what, v4 ? "" : "6"), v4 ? "ip prefix-list" : "ipv6 prefix-list",
              entries);
}

std::string PolicyObjects::community_list(std::string_view what, const std::vector<std::string>& entries) {
  return list(Rank::kBgpList, what, "bgp community-list standard", entries);
}

std::string PolicyObjects::as_path_list(std::string_view what, std::string_view expression) {
  return list(Rank::kBgpList, what, "bgp as-path access-list", {std::format("permit {}", expression)});
}

std::string PolicyObjects::route_map(std::string_view what, const RouteMap& map) {
  std::string name = name_of(what, map.lines(what));
  if (!known_.contains(name)) {
    known_[name] = {Rank::kRouteMap, {name, map.lines(name), std::format("no route-map {}", name)}};
  }
  return name;
}

}  // namespace gw::bgp
