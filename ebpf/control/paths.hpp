// Link-layer knowledge for the worker: the link header to each peer (route lookup plus neighbour), the vnet port's
// neighbours (of the BPF programs' ones Adjacencies keeps count), the ports' own MAC addresses and MTUs; our addresses
// for the forwarding table. VLAN and QinQ
// sub-interfaces of a port are the port, with tags. Where the route to a peer has several next hops, each tunnel stays
// on one of them, chosen by its id, for as long as that one answers (rendezvous hashing: others do not move).
// Follows the kernel by netlink and tells it which neighbours are in use. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "ebpf/control/adjacencies.hpp"
#include "ebpf/control/faces.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/worker/workers.hpp"

namespace gw::control {

struct PortNames {
  std::string wan;
  std::string vnet;
  std::string data_tun;  // of a gso vnet port; empty: none
  std::string circuit;   // empty: none
  std::string circuit_tun;
};

/// What a path is for. Paths with the same endpoints and another `spread` may take another next hop.
struct PathUse {
  net::Flow flow;
  std::uint32_t spread = 0;
  friend auto operator<=>(const PathUse&, const PathUse&) = default;
};

class Paths {
 public:
  /// Called with what changed: our addresses; a clear port's link (its MAC is XDP's filter). port_lost: an
  /// interface was removed, and our sockets with it, even if one of that name is there again.
  struct Callbacks {
    std::function<void(std::span<const IpAddress>)> local_addresses;
    std::function<void(gw_side, const net::Link&)> clear_link;
    std::function<void(const net::Link&)> wan_link;
    /// The tags of the port's sub-interfaces, outermost first.
    std::function<void(gw_side, std::span<const VlanStack>)> clear_vlans;
    std::function<void(const Error&)> port_lost;
  };

  struct Parts {
    worker::Workers& workers;
    Adjacencies& adjacencies;
    net::Netlink netlink;
    net::NetlinkMonitor monitor;
    PortNames names;
  };
  explicit Paths(Parts parts);

  /// Reads everything once.
  Status start(Callbacks callbacks);

  int monitor_fd() const { return monitor_.fd(); }
  /// The monitor is readable. True: routes changed; call refresh_routes() soon (they come in bursts).
  bool on_readable();
  void refresh_routes();
  /// The ways of what leaves with this address; nothing of a change that may be in the monitor is waited for.
  void refresh_from(const IpAddress& source);
  /// Every few seconds: the kernel confirms the neighbours that the worker uses.
  void keep_fresh();

  /// Where a packet of ours has to leave that the best route would send elsewhere, perhaps into a tunnel: an interface
  /// of the wan. 0: the best route is good, or there is none by the wan.
  int detour(const net::Flow& flow);

  /// For an outbound SA; released when the SA goes. The same use gives the same index.
  worker::PathIndex acquire(const PathUse& use);
  void release(worker::PathIndex index);

 private:
  struct Path {
    PathUse use;
    std::size_t references = 0;
    std::vector<net::NextHop> hops;        // of the route, out of the wan port
    std::optional<net::NeighbourKey> hop;  // in use; none: no route out of the wan port
    std::optional<worker::LinkHeader> header;
    int ifindex = worker::PathTable::kUnknown;
    bool detour = false;  // the best route leaves by another interface
  };

  void read_links();
  void read_faces();
  void read_broadcasts();
  std::vector<net::NextHop> ways(Path& path);
  bool is_by_wan(const net::NextHop& hop) const { return wan_faces_.contains(hop.key.ifindex); }
  void choose(Path& path) const;
  void read_clear_faces(gw_side side, const net::Link& port, std::span<const net::Link> all);
  bool refresh(net::Link& link, const std::string& name);
  void read_addresses();
  void read_neighbours();
  void resync();
  void set_neighbour(const IpAddress& address, std::optional<worker::Neighbour> neighbour);
  void set_neighbour(const net::NeighbourKey& key, const std::optional<net::MacAddress>& mac);
  void on_neighbour(const net::Neighbour& neighbour);
  void resolve(worker::PathIndex index);
  void publish(worker::PathIndex index);
  bool usable_on_vnet(const net::NeighbourKey& key) const { return vnet_faces_.contains(key.ifindex); }

  worker::Workers& workers_;
  Adjacencies& adjacencies_;
  net::Netlink netlink_;
  net::NetlinkMonitor monitor_;
  PortNames names_;
  Callbacks callbacks_;
  net::Link wan_;
  net::Link vnet_;
  net::Link data_tun_;
  net::Link circuit_;
  net::Link circuit_tun_;
  Faces wan_faces_;
  Faces vnet_faces_;
  std::vector<IpAddress> broadcasts_;  // of the VNet's networks
  std::map<net::NeighbourKey, net::MacAddress> neighbours_;
  std::vector<Path> paths_;
  std::map<PathUse, worker::PathIndex> by_use_;
  std::vector<worker::PathIndex> free_;
};

}  // namespace gw::control
