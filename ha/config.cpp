#include "ha/config.hpp"

#include <algorithm>
#include <format>
#include <set>

namespace gw::ha {
namespace {

bool is_member(const Configuration& c, Instance id) {
  return std::ranges::any_of(c.members, [&](const Member& m) { return m.id == id; });
}

Status check_members(const Configuration& c) {
  std::set<Instance> seen;
  for (const Member& m : c.members) {
    if (number(m.id) >= kMaxInstances)
      return fail_field("instances", std::format("{} has number {}; 0 to 15 are possible", m.name, number(m.id)));
    if (!seen.insert(m.id).second)
      return fail_field("instances", std::format("number {} is there twice", number(m.id)));
  }
  if (c.members.size() < 2) return fail_field("instances", "active/active needs two instances");
  if (!is_member(c, c.self)) return fail_field("instances", "this instance is not one of them");
  if (c.lease == LeaseKind::kEmbedded && c.members.size() > 2)
    return fail_field("lease.kind",
                      std::format("the embedded lease is for two instances, not {}: it needs etcd", c.members.size()));
  if (c.mode == Mode::kActiveStandby && !is_member(c, c.preferred))
    return fail_field("preferred", std::format("there is no instance {}", number(c.preferred)));
  return {};
}

Status check_endpoints(const Configuration& c) {
  std::set<IpAddress> seen;
  for (const Endpoint& e : c.endpoints) {
    if (!seen.insert(e.address).second) return fail_field("endpoints", std::format("{} is there twice", e.address));
    if (!is_member(c, e.home))
      return fail_field("endpoints",
                        std::format("{} is at home on instance {}, which is none", e.address, number(e.home)));
  }
  return {};
}

Status check_timing(const Timing& t) {
  if (t.silent.count() <= 0 || t.lease_hold.count() <= 0 || t.frozen.count() <= 0)
    return fail_field("timing", "silent, lease_hold and frozen must be more than nothing");
  if (t.frozen >= t.lease_hold)
    return fail_field("timing", "frozen must be below lease_hold: a machine would act on silence that was its own");
  if (t.foreign_wait < t.start_wait) return fail_field("timing", "foreign_wait must not be below start_wait");
  return {};
}

}  // namespace

std::string Configuration::name_of(Instance id) const {
  const auto found = std::ranges::find(members, id, &Member::id);
  return found != members.end() ? found->name : std::format("instance {}", number(id));
}

Status check(const Configuration& configuration) {
  GW_TRY(check_members(configuration));
  GW_TRY(check_endpoints(configuration));
  return check_timing(configuration.timing);
}

}  // namespace gw::ha
