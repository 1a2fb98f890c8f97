#include "bgp/reopen.hpp"

#include <chrono>
#include <cstdint>
#include <limits>

#include "routes/policy.hpp"

namespace gw::bgp {
namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

/// Routes at which bgpd ends the session.
std::uint64_t deadly_limit(const BgpIntent& intent, const std::string& name) {
  const routes::PeerPolicy& policy = intent.policy->peer(name);
  const bool ends = policy.max_routes > 0 && policy.at_limit == routes::LimitAction::kDropSession;
  return ends ? policy.max_routes : kNone;
}

}  // namespace

std::vector<std::string> forgotten(const BgpIntent& intent, const std::map<IpAddress, PeerStatus>& peers,
                                   const BfdStates& bfd) {
  constexpr std::chrono::seconds kPatience{5};  // it connects within one second otherwise
  std::vector<std::string> out;
  for (const PeerIntent& p : intent.peers) {
    const auto session = peers.find(p.peer);
    const auto state = bfd.find(p.peer);
    if (session == peers.end() || p.disabled || state == bfd.end() || !state->second.up) continue;
    const PeerStatus& status = session->second;
    if (status.state == "Idle" && status.path_died && !status.watched && status.uptime >= kPatience)
      out.push_back(neighbour_name(p));
  }
  return out;
}

std::vector<IpAddress> raised_limits(const BgpIntent& before, const BgpIntent& after) {
  std::vector<IpAddress> out;
  for (const PeerIntent& p : after.peers)
    if (!p.disabled && deadly_limit(after, p.name) > deadly_limit(before, p.name)) out.push_back(p.peer);
  return out;
}

}  // namespace gw::bgp
