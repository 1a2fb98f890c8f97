#include "gwd/control/site_moves.hpp"

#include <algorithm>

namespace gw::gwd {

std::vector<std::uint32_t> tunnels_to_wait_for(const config::GatewayModel& model, const IpAddress& endpoint,
                                               const std::set<IpAddress>& leaving, const SessionOpen& open) {
  const auto is_open = [&](const config::TunnelModel& t) { return t.bgp && !t.disabled && open(t.name); };
  std::set<std::string> with_another;  // sites
  for (const config::TunnelModel& tunnel : model.tunnels)
    if (tunnel.local != endpoint && !leaving.contains(tunnel.local) && is_open(tunnel))
      with_another.insert(tunnel.site);
  for (const config::TunnelModel& tunnel : model.elsewhere)
    if (!tunnel.carrier.empty() && is_open(tunnel)) with_another.insert(tunnel.site);
  std::vector<std::uint32_t> out;
  for (const config::TunnelModel& tunnel : model.tunnels)
    if (tunnel.local == endpoint && is_open(tunnel) && with_another.contains(tunnel.site))
      out.push_back(tunnel.tunnel_id);
  return out;
}

void SiteMoves::look(const ::gw::fastpath::v1::TunnelList& tunnels, MonoTime now) {
  for (const auto& info : tunnels.tunnels()) {
    const std::uint64_t packets = info.in_packets() - std::min(info.slow_path_in_packets(), info.in_packets());
    const auto [it, inserted] = tunnels_.try_emplace(info.tunnel_id(), packets, now);
    if (it->second.packets != packets) it->second = {packets, now};
  }
}

bool SiteMoves::quiet(const std::vector<std::uint32_t>& tunnels, MonoTime now) const {
  return std::ranges::all_of(tunnels, [&](std::uint32_t id) {
    const auto it = tunnels_.find(id);
    return it != tunnels_.end() && now - it->second.since >= kQuiet;
  });
}

}  // namespace gw::gwd
