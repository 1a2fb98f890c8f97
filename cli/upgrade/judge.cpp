#include "cli/upgrade/judge.hpp"

#include <algorithm>
#include <format>

#include "cli/render_ha.hpp"

namespace gw::cli::upgrade {
namespace {

constexpr const char* kUp = "up";
constexpr const char* kStandby = "standby";
constexpr const char* kDisabled = "disabled";
constexpr const char* kEstablished = "Established";

template <class List, class Matches>
auto* find(const List& list, Matches matches) {
  const auto it = std::ranges::find_if(list, matches);
  return it == list.end() ? nullptr : &*it;
}

bool belongs_here(const api::UpgradeBefore& before, const std::string& address) {
  return std::ranges::find(before.endpoints(), address) != before.endpoints().end();
}

void judge_components(const api::UpgradeBefore& before, const Observation& now, Judgement& out) {
  for (const std::string& name : before.components()) {
    const api::Component* is = find(now.status.components(), [&](const api::Component& c) { return c.name() == name; });
    if (is == nullptr || !is->connected())
      out.missing.push_back(std::format("{} is not connected{}{}", name,
                                        is != nullptr && !is->detail().empty() ? ": " : "",
                                        is != nullptr ? is->detail() : ""));
  }
}

void judge_tunnel(const api::UpgradeBefore& before, const api::UpgradeTunnel& was, const Observation& now,
                  Judgement& out) {
  const api::Tunnel* is = find(now.tunnels.tunnels(), [&](const api::Tunnel& t) { return t.name() == was.name(); });
  if (is == nullptr || is->state() == kDisabled) {
    // Somebody has changed the configuration meanwhile; else it was lost.
    if (now.status.revision() == before.revision())
      out.missing.push_back(std::format("tunnel {} is not there", was.name()));
    return;
  }
  // Another instance's: it went there, and belongs there.
  if (is->state() == kStandby && now.ha && !belongs_here(before, was.local_address())) return;
  if (is->state() != kUp) {
    out.missing.push_back(
        std::format("tunnel {} is {}{}{}", was.name(), is->state(), is->reason().empty() ? "" : ": ", is->reason()));
  } else if (was.bgp() && is->bgp_state() != kEstablished) {
    out.missing.push_back(
        std::format("BGP of tunnel {} is {}", was.name(), is->bgp_state().empty() ? "gone" : is->bgp_state()));
  }
}

void judge_session(const api::UpgradeBefore& before, const api::UpgradeSession& was, const Observation& now,
                   Judgement& out) {
  const api::BgpPeer* is = find(now.sessions.peers(), [&](const api::BgpPeer& p) {
    return p.neighbor() == was.neighbor() && p.tunnel().empty();
  });
  if (is == nullptr && now.status.revision() != before.revision()) return;
  if (is == nullptr || is->state() != kEstablished)
    out.missing.push_back(
        std::format("BGP with {} ({}) is {}", was.source(), was.neighbor(), is == nullptr ? "gone" : is->state()));
}

bool may_fetch(const api::HaReply& ha) {
  return ha.unfit().empty() && !ha.drained() && std::ranges::all_of(ha.peers(), [](const api::HaPeer& peer) {
           return peer.sync() && peer.data() && peer.we_have_all_of_its();
         });
}

void judge_endpoints(const api::UpgradeBefore& before, const Observation& now, Judgement& out) {
  if (before.endpoints().empty()) return;
  if (!now.ha) return out.missing.push_back("gwd knows of no other instance");
  if (!now.ha->unfit().empty())
    out.missing.push_back(std::format("this instance cannot own endpoints: {}", now.ha->unfit()));
  for (const std::string& address : before.endpoints()) {
    const api::HaEndpoint* is =
        find(now.ha->endpoints(), [&](const api::HaEndpoint& e) { return e.address() == address; });
    if (is == nullptr) {
      if (now.status.revision() == before.revision())
        out.missing.push_back(std::format("endpoint {} is not there", address));
      continue;
    }
    if (is->owner() == now.ha->instance() && is->state() == "owned") continue;
    out.missing.push_back(
        std::format("endpoint {} is not back: {} has it", address, is->owner().empty() ? "nobody" : is->owner()));
    if (is->moving_to().empty() && is->owner() != now.ha->instance() && may_fetch(*now.ha))
      out.to_fetch.push_back(address);
  }
}

}  // namespace

api::UpgradeBefore write_down(const Observation& now) {
  api::UpgradeBefore out;
  out.set_revision(now.status.revision());
  out.set_instance(now.status.instance());
  for (const api::Component& component : now.status.components())
    if (component.connected()) out.add_components(component.name());
  for (const api::Tunnel& tunnel : now.tunnels.tunnels()) {
    if (tunnel.state() != kUp) continue;
    api::UpgradeTunnel& was = *out.add_tunnels();
    was.set_name(tunnel.name());
    was.set_local_address(tunnel.local_address());
    was.set_bgp(tunnel.bgp_state() == kEstablished);
  }
  for (const api::BgpPeer& peer : now.sessions.peers()) {
    if (peer.state() != kEstablished || !peer.tunnel().empty()) continue;
    api::UpgradeSession& was = *out.add_sessions();
    was.set_neighbor(peer.neighbor());
    was.set_source(peer.source());
  }
  if (now.ha)
    for (const api::HaEndpoint& endpoint : now.ha->endpoints())
      if (endpoint.owner() == now.ha->instance() && belongs_to(endpoint) == now.ha->instance())
        out.add_endpoints(endpoint.address());
  return out;
}

Judgement judge(const api::UpgradeBefore& before, const Observation& now) {
  Judgement out;
  if (!now.unreachable.empty()) {
    out.missing.push_back(std::format("gwd does not answer: {}", now.unreachable));
    return out;
  }
  if (!now.status.config_error().empty())
    out.missing.push_back(std::format("the configuration is not in force: {}", now.status.config_error()));
  judge_components(before, now, out);
  for (const api::UpgradeTunnel& tunnel : before.tunnels()) judge_tunnel(before, tunnel, now, out);
  for (const api::UpgradeSession& session : before.sessions()) judge_session(before, session, now, out);
  judge_endpoints(before, now, out);
  return out;
}

Step Gate::next(const Judgement& judgement, std::chrono::milliseconds since_start) {
  if (!judgement.healthy()) {
    healthy_since_.reset();
    return since_start < wait_ ? Step::kWait : Step::kTakeBack;
  }
  if (!healthy_since_) healthy_since_ = since_start;
  return since_start - *healthy_since_ >= kSettled ? Step::kGood : Step::kWait;
}

Start classify(const std::optional<api::UpgradeBefore>& before, const std::string& booted_slot) {
  if (!before) return Start::kOrdinary;
  return booted_slot == before->to_slot() ? Start::kNewSlot : Start::kTakenBack;
}

}  // namespace gw::cli::upgrade
