// bgpd's route-maps and lists as values. Each is immutable: its name ends in a hash of what it says. Another policy is
// another object, made beside the old one, and one command at a neighbour moves it from one to the other. So bgpd never
// judges a route by half of a policy, applies the new one by itself (to the neighbours that have it and no others), and
// `route-map delay-timer 0` costs no clears. Pure, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"

namespace gw::bgp {

struct PolicyObject {
  std::string name;                // "GW-TUNNELS-IN-5f1d0c9be2a4"
  std::vector<std::string> lines;  // in configuration mode
  std::string off;                 // removes it
};

/// Entries of a route-map, each of which stands where its number says; what nobody matches is denied.
class RouteMap {
 public:
  enum class Entry : std::uint8_t { kPermit, kDeny };
  void add(Entry entry, unsigned sequence, std::vector<std::string> lines);
  /// With the name everywhere it belongs.
  std::vector<std::string> lines(std::string_view name) const;

 private:
  struct Row {
    Entry entry;
    unsigned sequence;
    std::vector<std::string> lines;
  };
  std::vector<Row> rows_;
};

/// Makes objects, each once. The calls return the object's name.
class PolicyObjects {
 public:
  /// `entries`: "permit 10.0.0.0/8 le 32".
  std::string prefix_list(std::string_view what, Family family, const std::vector<std::string>& entries);
  /// `entries`: "permit 65515:1201 65515:1210", all of which a route must have.
  std::string community_list(std::string_view what, const std::vector<std::string>& entries);
  std::string as_path_list(std::string_view what, std::string_view expression);
  std::string route_map(std::string_view what, const RouteMap& map);

  /// Lists come before the route-maps that name them; those that bgpd commits at once come first of all, because they
  /// end a transaction of the others.
  std::vector<const PolicyObject*> in_order() const;
  bool contains(std::string_view name) const { return known_.contains(name); }

 private:
  /// The order in which they are made.
  enum class Rank : std::uint8_t { kBgpList, kPrefixList, kRouteMap };
  struct Made {
    Rank rank;
    PolicyObject object;
  };
  std::string list(Rank rank, std::string_view what, std::string_view keyword, const std::vector<std::string>& entries);

  std::map<std::string, Made, std::less<>> known_;
};

}  // namespace gw::bgp
