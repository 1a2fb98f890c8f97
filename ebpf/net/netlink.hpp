// What the kernel knows of the network, by rtnetlink (RFC 3549): links, addresses, neighbours, routes to
// endpoints. Two sockets: one for questions (synchronous; the kernel answers at once), one for changes.
// Own small codec: no libmnl. Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"

struct nlmsghdr;

namespace gw::net {

using MacAddress = std::array<std::uint8_t, 6>;

struct Link {
  int ifindex = 0;
  std::string name;
  MacAddress mac{};
  std::uint32_t mtu = 0;
  bool up = false;
};

struct NeighbourKey {
  int ifindex = 0;
  IpAddress address;
  friend auto operator<=>(const NeighbourKey&, const NeighbourKey&) = default;
};

/// No MAC: unknown, failed or gone.
struct Neighbour {
  NeighbourKey key;
  std::optional<MacAddress> mac;
};

/// A question about the way from one of our addresses to another machine.
struct Flow {
  IpAddress src;
  IpAddress dst;
  friend auto operator<=>(const Flow&, const Flow&) = default;
};

class Netlink {
 public:
  static Result<Netlink> open();

  /// kNotFound names the interface.
  Result<Link> link(const std::string& name);
  Result<std::vector<IpAddress>> local_addresses();
  Result<std::vector<Neighbour>> neighbours();
  /// Interface and next hop (the gateway, or dst itself on link); kNotFound when there is no way.
  Result<NeighbourKey> route(const Flow& flow) { return route_by(flow, 0); }
  /// The same among the routes that leave by one interface. IPv4 without such a route: dst is taken as on link.
  Result<NeighbourKey> route_by(const Flow& flow, int ifindex);
  /// Tells the kernel that we use the entry: it resolves or confirms it (NTF_USE).
  Status use(const NeighbourKey& neighbour);

 private:
  explicit Netlink(Fd fd) : fd_(std::move(fd)) {}
  template <class Handler>
  Status ask(std::vector<std::uint8_t>& request, const Handler& handler);

  Fd fd_;
  std::uint32_t sequence_ = 0;
};

/// A change; all but neighbours only say what to ask for again.
struct LinkChanged {};
struct AddressesChanged {};
struct RoutesChanged {};
/// Messages were lost: ask for everything again.
struct Overrun {};
using Change = std::variant<Neighbour, LinkChanged, AddressesChanged, RoutesChanged, Overrun>;

class NetlinkMonitor {
 public:
  static Result<NetlinkMonitor> open();
  /// Non-blocking, for polling.
  int fd() const { return fd_.get(); }
  std::vector<Change> read();

 private:
  explicit NetlinkMonitor(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace gw::net
