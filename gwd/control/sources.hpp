// The model's sources of routes, as routes/ names them: BGP sessions of every kind, and what the gateway originates.
// The Rib, bgpd's intent and what-if all take them from here, so that they speak of the same. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bgp/config_model.hpp"
#include "gwd/config/model.hpp"
#include "routes/candidate.hpp"

namespace gw::gwd {

inline constexpr std::string_view kVnetSource = "vnet";
inline constexpr std::string_view kStaticPrefix = "static:";
inline constexpr std::string_view kSpokePrefix = "spoke:";

/// A BGP session; pointers are into the model.
struct SessionSource {
  routes::Source source;  // without the peer's router id, which its OPEN has
  const config::BgpSettings* bgp = nullptr;
  const config::TunnelModel* tunnel = nullptr;  // null: not in a tunnel
  bool disabled = false;
};
/// Tunnels first, in the model's order.
std::vector<SessionSource> session_sources(const config::GatewayModel& model);

/// Prefixes that the configuration gives.
struct LocalSource {
  routes::Source source;
  std::vector<Prefix> prefixes;
  const config::TunnelModel* tunnel = nullptr;  // a static site's
};
std::vector<LocalSource> local_sources(const config::GatewayModel& model);

/// What is so now and not in the document.
struct Present {
  std::set<std::uint32_t> without_carrier;  // tunnel ids: the prefixes of static sites behind them are not announced
  std::vector<bgp::OriginIntent> held;      // announced in place of sessions that are not open again yet
};
/// What bgpd is to do.
bgp::BgpIntent bgp_intent(const config::GatewayModel& model, std::uint16_t bmp_port, const Present& present = {});

}  // namespace gw::gwd
