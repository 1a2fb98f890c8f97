// Whom the BPF programs can send to on the clear ports (VNet, circuit): the kernel's neighbours there, and the gateways
// of routes, which are asked for before the first packet wants them. What a program finds here it forwards, or drops
// because nobody answers; what it does not find is the kernel's. The kernel is told which neighbours are in use: it
// never sees the packets that XDP forwards, and would forget them. Control thread.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "base/result.hpp"
#include "ebpf/control/faces.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::control {

class Adjacencies {
 public:
  Adjacencies(xdp::Maps& maps, net::Netlink netlink) : maps_(maps), netlink_(std::move(netlink)) {}

  /// A port and its sub-interfaces, anew: `links` are all there are.
  void set_port(gw_side side, const Faces& faces, std::span<const net::Link> links);
  /// Addresses of all hosts at once.
  void set_broadcasts(std::span<const net::NeighbourKey> all);
  /// What the kernel knows, as a whole.
  void set_neighbours(std::span<const net::Neighbour> all);
  void on_neighbour(const net::Neighbour& neighbour);
  /// The gateways of all routes.
  void set_gateways(const std::set<xdp::NeighbourAt>& gateways);
  /// Routes or addresses have changed: gateways may be behind another interface.
  void refresh_gateways();

  /// Every few seconds: the kernel confirms what is in use.
  void keep_fresh();
  /// Every second: those who do not answer are asked again, if somebody wants them.
  void ask_again();

 private:
  struct Face {
    control::Face face;
    std::uint32_t mtu = 0;
  };
  struct Known {
    std::optional<net::MacAddress> mac;  // none: it does not answer
    friend bool operator==(const Known&, const Known&) = default;
  };
  std::optional<gw_side> side_of(int ifindex) const;
  void note(const net::Neighbour& neighbour);
  void publish(const xdp::NeighbourAt& at);
  void publish_all();
  std::optional<gw_neighbour> describe(const xdp::NeighbourAt& at) const;
  int interface_of(const xdp::NeighbourAt& gateway);
  void use(const xdp::NeighbourAt& at);

  xdp::Maps& maps_;
  net::Netlink netlink_;
  std::array<std::map<int, Face>, GW_SIDES> ports_;  // by interface
  std::map<net::NeighbourKey, Known> known_;         // on our ports
  std::set<net::NeighbourKey> broadcasts_;
  std::map<xdp::NeighbourAt, int> gateways_;  // by which interface; 0: no way
  std::map<xdp::NeighbourAt, gw_neighbour> published_;
};

}  // namespace gw::control
