// The two route-maps of a session, one family: import says what routes::Importer says, export what
// routes::apply_export says, entry by entry. Details of policy_render.cpp. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bgp/policy_objects.hpp"
#include "routes/import.hpp"

namespace gw::bgp {

/// A session as policy sees it: sessions with equal subjects share their route-maps.
struct Subject {
  routes::SourceKind kind = routes::SourceKind::kVpnTunnel;
  const routes::PeerPolicy* peer = nullptr;
  std::vector<std::size_t> import_rules;  // that can match routes of this session, in order
  std::vector<std::size_t> export_rules;  // that can match what this session is told
  bool graceful_shutdown = false;         // PeerIntent's
};

RouteMap import_map(const routes::Policy& policy, const Subject& subject, Family family, PolicyObjects& objects);
RouteMap export_map(const routes::Policy& policy, const Subject& subject, Family family, PolicyObjects& objects);

// What both have. Rules are numbered in each route-map from the beginning: one that is none of a session's business
// does not change that session's route-map.
inline constexpr unsigned kFirstRule = 1000;
inline constexpr unsigned kRuleStep = 10;
inline constexpr unsigned kAfterRules = 60000;
/// Rules of one direction for which there are numbers.
inline constexpr std::size_t kMaxRules = (kAfterRules - kFirstRule) / kRuleStep - 1;

std::string community_text(std::uint32_t community);
std::string match_prefixes(Family family, std::string_view list);
/// "set comm-list ... delete": what only the gateway itself may say.
std::string delete_internal(PolicyObjects& objects);
/// The peer's own prefix filter: entries `first` and `first` + 10.
void add_filter(RouteMap& map, unsigned first, const std::vector<routes::FilterLine>& filter, Family family,
                PolicyObjects& objects);
/// The default route is denied.
void add_no_default(RouteMap& map, unsigned sequence, Family family, PolicyObjects& objects);
/// Of the operator's rules those that `indexes` name; `set_lines` says what a rule sets.
struct RuleSet {
  const std::vector<routes::Rule>& rules;
  const std::vector<std::size_t>& indexes;
  std::function<std::vector<std::string>(const routes::Set&)> set_lines;
};
void add_rules(RouteMap& map, const RuleSet& set, Family family, PolicyObjects& objects);

}  // namespace gw::bgp
