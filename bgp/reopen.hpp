// Sessions that bgpd 10.3 leaves closed though nothing speaks against them any more: gwd clears them (`clear bgp
// NAME`). Names are bgpd's own (neighbour_name). Pure, any thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "bgp/bfd_model.hpp"
#include "bgp/config_model.hpp"
#include "bgp/summary.hpp"

namespace gw::bgp {

/// Left Idle since BFD ended them, though BFD is up again and bgpd does not watch it any more: seen when many of its
/// sessions ended at once.
std::vector<std::string> forgotten(const BgpIntent& intent, const std::map<IpAddress, PeerStatus>& peers,
                                   const BfdStates& bfd);

/// Whose limit is a larger one in `after`, or none that ends sessions: one that ended at the old limit need not wait
/// the minutes until bgpd tries again.
std::vector<IpAddress> raised_limits(const BgpIntent& before, const BgpIntent& after);

}  // namespace gw::bgp
