// The peer-group of each kind of session.
#pragma once

#include "routes/candidate.hpp"

namespace gw::bgp {

constexpr const char* group_name(routes::SourceKind kind) {
  switch (kind) {
    case routes::SourceKind::kCircuit: return "GW-CIRCUIT";
    case routes::SourceKind::kBranchVnet: return "GW-BRANCHES";
    case routes::SourceKind::kVnet: return "GW-VNET";
    case routes::SourceKind::kPartner: return "GW-PARTNER";
    case routes::SourceKind::kWan: return "GW-WAN";
    default: return "GW-TUNNELS";
  }
}

}  // namespace gw::bgp
