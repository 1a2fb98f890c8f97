#include "gwd/control/traffic_watch.hpp"

#include <algorithm>
#include <set>

namespace gw::gwd {
namespace {

namespace fp = ::gw::fastpath::v1;

using DropList = google::protobuf::RepeatedPtrField<fp::DropCount>;

std::uint64_t drops_of(const DropList& drops, std::string_view reason) {
  const auto it = std::ranges::find(drops, reason, &fp::DropCount::reason);
  return it == drops.end() ? 0 : it->packets();
}

}  // namespace

void TrafficWatch::look(const fp::TunnelList& tunnels, MonoTime now) {
  std::set<std::uint32_t> seen;
  for (const fp::TunnelInfo& info : tunnels.tunnels()) {
    // Without an SA nothing passes, and that is known.
    if (!info.carrier()) continue;
    seen.insert(info.tunnel_id());
    Tunnel& tunnel = tunnels_[info.tunnel_id()];
    const Look look{now,
                    info.in_packets(),
                    info.out_packets(),
                    info.slow_path_packets(),
                    info.slow_path_in_packets(),
                    drops_of(info.out_drops(), "too_big"),
                    {drops_of(info.drops(), "rate_tunnel"), drops_of(info.out_drops(), "rate_tunnel")},
                    {drops_of(info.drops(), "rate_gateway"), drops_of(info.out_drops(), "rate_gateway")}};
    // gw-fastpath started anew.
    if (!tunnel.looks.empty() && (look.in < tunnel.looks.back().in || look.out < tunnel.looks.back().out)) tunnel = {};
    if (tunnel.looks.empty() || look.in > tunnel.last_in.in) tunnel.last_in = look;
    tunnel.looks.push_back(look);
    while (now - tunnel.looks.front().at > kWindow) tunnel.looks.pop_front();
  }
  std::erase_if(tunnels_, [&](const auto& entry) { return !seen.contains(entry.first); });
}

TrafficWindow TrafficWatch::of(std::uint32_t tunnel_id) const {
  const auto it = tunnels_.find(tunnel_id);
  if (it == tunnels_.end()) return {};
  const auto seconds = [](auto time) { return std::chrono::duration_cast<std::chrono::seconds>(time); };
  const Look& first = it->second.looks.front();
  const Look& last = it->second.looks.back();
  TrafficWindow window{.length = seconds(last.at - first.at),
                       .in_packets = last.in - first.in,
                       .out_packets = last.out - first.out,
                       .slow_path_packets = last.slow - first.slow,
                       .slow_path_in_packets = last.slow_in - first.slow_in,
                       .too_big = last.too_big - first.too_big,
                       .over_rate = last.over_rate - first.over_rate,
                       .over_gateway_rate = last.over_gateway_rate - first.over_gateway_rate};
  window.out_since_in = last.out - it->second.last_in.out;
  if (window.out_since_in > 0) window.silent = seconds(last.at - it->second.last_in.at);
  return window;
}

}  // namespace gw::gwd
