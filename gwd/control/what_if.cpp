#include "gwd/control/what_if.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace {

using Sessions = std::map<std::string, SessionSource>;

Sessions wanted_sessions(const config::GatewayModel& model) {
  Sessions out;
  for (SessionSource& session : session_sources(model))
    if (!session.disabled && session.source.kind != routes::SourceKind::kWan) out.emplace(session.source.name, session);
  return out;
}

/// bgpd ends a session whose other end is another one.
bool is_the_same(const SessionSource& a, const SessionSource& b) {
  return a.bgp->peer == b.bgp->peer && a.bgp->local == b.bgp->local && a.bgp->peer_asn == b.bgp->peer_asn &&
         a.bgp->md5 == b.bgp->md5;
}

using Locals = std::map<std::string, LocalSource>;

Locals locals(const config::GatewayModel& model) {
  Locals out;
  for (LocalSource& local : local_sources(model)) out.emplace(local.source.name, std::move(local));
  return out;
}

std::set<Prefix> prefixes_of(const Locals& locals, const std::string& name) {
  const auto it = locals.find(name);
  return it == locals.end() ? std::set<Prefix>{}
                            : std::set<Prefix>(it->second.prefixes.begin(), it->second.prefixes.end());
}

void compare_locals(const Locals& now, const Locals& next, routes::Scenario& scenario) {
  for (const auto& [name, local] : now) {
    const std::set<Prefix> kept = prefixes_of(next, name);
    for (const Prefix& prefix : local.prefixes)
      if (!kept.contains(prefix)) scenario.withdrawn[name].insert(prefix);
  }
  for (const auto& [name, local] : next) {
    const std::set<Prefix> known = prefixes_of(now, name);
    for (const Prefix& prefix : local.prefixes)
      if (!known.contains(prefix)) scenario.added.push_back({local.source, prefix});
  }
}

/// A document says where endpoints are at home; whoever carries them now goes on with that. A new one begins at home.
config::GatewayModel carried_as_now(const config::GatewayModel& now, const config::GatewayModel& document) {
  config::Carriers carriers;
  for (const auto* list : {&document.tunnels, &document.elsewhere})
    for (const config::TunnelModel& tunnel : *list) carriers[tunnel.local] = tunnel.home;
  for (const auto* list : {&now.tunnels, &now.elsewhere})
    for (const config::TunnelModel& tunnel : *list)
      if (const auto known = carriers.find(tunnel.local); known != carriers.end()) known->second = tunnel.carrier;
  return carried_model(document, carriers);
}

}  // namespace

DocumentScenario scenario_of(const config::GatewayModel& now, const config::GatewayModel& document,
                             const routes::Rib& rib) {
  const config::GatewayModel next = carried_as_now(now, document);
  DocumentScenario out;
  out.scenario.policy = std::make_shared<const routes::Policy>(next.policy);
  const Sessions before = wanted_sessions(now);
  const Sessions after = wanted_sessions(next);
  for (const auto& [name, session] : before) {
    const auto same = after.find(name);
    if (same == after.end()) {
      out.gone.push_back(name);
      if (const auto id = rib.find_source(name)) out.scenario.down.push_back(*id);
    } else if (!is_the_same(session, same->second)) {
      out.restarted.push_back(name);
    }
  }
  for (const auto& [name, session] : after)
    if (!before.contains(name)) out.unknown.push_back(name);
  compare_locals(locals(now), locals(next), out.scenario);
  return out;
}

}  // namespace gw::gwd
