// Every line of bgpd's configuration that depends on the intent is one Setting: where it stands, what it is about, how
// it is set and how it is removed. (Lists and route-maps are PolicyObjects.) Pure, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bgp/config_model.hpp"
#include "bgp/policy_render.hpp"

namespace gw::bgp {

enum class Block : std::uint8_t { kGlobal, kRouter, kBmp, kIpv4, kIpv6 };

struct Setting {
  Block block;
  std::string key;    // unique in a block
  std::string owner;  // the neighbour or group whose it is and with which it goes; empty: the gateway's
  Command on;
  std::string off;  // empty: it goes with something else
};
using Settings = std::vector<Setting>;

/// Name, router id, BMP, what is originated.
Settings gateway_settings(const BgpIntent& intent, const PolicyRender& policy);
Settings group_settings(routes::SourceKind kind, const SessionMaps& maps);

/// One neighbour with everything that its lines come from.
struct Neighbour {
  const PeerIntent* intent;
  const routes::PeerPolicy* policy;
  const SessionMaps* maps;
  const SessionMaps* groups;
};
Settings neighbour_settings(const Neighbour& neighbour);
/// Whether their settings are the same, without making them.
bool same_settings(const Neighbour& a, const Neighbour& b);

}  // namespace gw::bgp
