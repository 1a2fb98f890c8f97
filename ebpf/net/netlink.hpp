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

struct VlanTag {
  std::uint16_t type = 0;  // 0x8100 or 0x88a8 (802.1ad)
  std::uint16_t id = 0;
  friend bool operator==(const VlanTag&, const VlanTag&) = default;
};

struct Link {
  int ifindex = 0;
  std::string name;
  MacAddress mac{};
  std::uint32_t mtu = 0;
  bool up = false;
  int parent = 0;               // of a sub-interface
  std::optional<VlanTag> vlan;  // its frames have this tag on the parent
  std::uint64_t tx_dropped = 0;
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
  bool failed = false;  // the kernel asked, and there was no answer
};

/// A question about the way from one of our addresses to another machine.
struct Flow {
  IpAddress src;
  IpAddress dst;
  friend auto operator<=>(const Flow&, const Flow&) = default;
};

/// One of the ways of a route.
struct NextHop {
  NeighbourKey key;  // interface and gateway, or the destination itself on link
  std::uint32_t weight = 1;
  friend bool operator==(const NextHop&, const NextHop&) = default;
};

class Netlink {
 public:
  static Result<Netlink> open();

  /// kNotFound names the interface.
  Result<Link> link(const std::string& name);
  Result<std::vector<IpAddress>> local_addresses();
  /// Of the networks that our interfaces are in (IPv4).
  Result<std::vector<NeighbourKey>> broadcasts();
  Result<std::vector<Neighbour>> neighbours();
  Result<std::vector<Link>> links();
  /// All next hops of the route to flow.dst whose link is up; kNotFound when there is no way.
  Result<std::vector<NextHop>> next_hops(const Flow& flow);
  /// The way among the routes that leave by one interface. IPv4 without such a route: dst is taken as on link.
  Result<NextHop> route_by(const Flow& flow, int ifindex);
  /// Tells the kernel that we use the entry: it resolves or confirms it (NTF_USE). One that an operator has set stays
  /// as it is.
  Status use(const NeighbourKey& neighbour);

 private:
  explicit Netlink(Fd fd) : fd_(std::move(fd)) {}
  bool is_fixed(const NeighbourKey& neighbour);
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
