// Have the sites of an endpoint that is about to move turned to their other tunnels? Whom GRACEFUL_SHUTDOWN (RFC 8326)
// asks to, and by what it is seen that they have. Pure: counters and time are told. Owner: SiteWatch; thread: control.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"
#include "gwd/config/model.hpp"

namespace gw::gwd {

/// Whether this tunnel's BGP session is open, here or at the other instance.
using SessionOpen = std::function<bool(const std::string& tunnel)>;

/// Tunnels (ids) of `endpoint` whose sites hear of the move and have an open session in another tunnel, of an endpoint
/// that is not in `leaving`. The others are not waited for: who has one tunnel, or no BGP, goes nowhere.
std::vector<std::uint32_t> tunnels_to_wait_for(const config::GatewayModel& model, const IpAddress& endpoint,
                                               const std::set<IpAddress>& leaving, const SessionOpen& open);

class SiteMoves {
 public:
  /// Without a packet of a host for so long, and a site has moved: ten times what lies between two packets of whatever
  /// would notice a loss.
  static constexpr std::chrono::milliseconds kQuiet{300};

  void look(const ::gw::fastpath::v1::TunnelList& tunnels, MonoTime now);
  /// Nothing but the site's BGP, BFD and the like has come out of any of them for kQuiet. False for what was not looked
  /// at for so long.
  bool quiet(const std::vector<std::uint32_t>& tunnels, MonoTime now) const;
  void forget() { tunnels_.clear(); }

 private:
  struct Tunnel {
    std::uint64_t packets = 0;  // from hosts
    MonoTime since;             // it was another number before
  };
  std::map<std::uint32_t, Tunnel> tunnels_;
};

}  // namespace gw::gwd
