// Which way the fast path is to send what the Rib's best sets say: tunnels, the circuit's routers, the VNet, or
// another instance on the VNet. Knows what a route does not: tunnel ids, carriers, addresses of sessions. Pure.
// Owner: RouteController; thread: control.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gwd/config/model.hpp"
#include "gwd/control/forwarding.hpp"
#include "routes/rib.hpp"

namespace gw::gwd {

enum class Carrier : std::uint8_t { kUp, kDown };

class RouteForwarding {
 public:
  void set_model(const config::GatewayModel& model);
  /// Whether that is news.
  bool set_carrier(std::uint32_t tunnel_id, Carrier carrier);
  /// A source that is not a tunnel always has one.
  bool has_carrier(std::string_view source) const;

  const std::set<std::uint32_t>& without_carrier() const { return without_carrier_; }

  /// Names of the sources whose routes lead into a tunnel.
  std::vector<std::string> sources_of(std::uint32_t tunnel_id) const;

  /// Absent: nothing leads there. Tunnels without carrier are left out of a set that has others; so are tunnels that
  /// another instance carries, and without others it is their way.
  std::optional<ForwardingEntry> entry(const Prefix& prefix, std::span<const routes::Path> paths,
                                       const routes::Rib& rib) const;

 private:
  std::optional<ForwardingEntry> tunnels(std::span<const routes::Path> paths, const routes::Rib& rib) const;
  std::optional<ForwardingEntry> by_carriers(std::span<const std::uint32_t> ids) const;
  std::optional<std::uint32_t> tunnel_of(const routes::Source& source) const;

  std::map<std::string, std::uint32_t, std::less<>> ids_;  // tunnel name -> id
  // Tunnels that another instance carries, by id: its address on the VNet; none: nobody does, or it has none.
  std::map<std::uint32_t, std::optional<IpAddress>> away_;
  std::set<std::uint32_t> without_carrier_;
  std::set<IpAddress> own_;  // addresses of this instance
  std::vector<IpAddress> vnet_next_hops_;
};

}  // namespace gw::gwd
