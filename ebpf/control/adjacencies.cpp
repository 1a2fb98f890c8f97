#include "ebpf/control/adjacencies.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/log.hpp"

namespace gw::control {
namespace {

bool same(const gw_neighbour& a, const gw_neighbour& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

}  // namespace

void Adjacencies::set_port(gw_side side, const Faces& faces, std::span<const net::Link> links) {
  auto& port = ports_[side];
  port.clear();
  for (const auto& [ifindex, face] : faces) {
    const auto link = std::ranges::find(links, ifindex, &net::Link::ifindex);
    if (link != links.end()) port[ifindex] = {face, link->mtu};
  }
  std::erase_if(known_, [this](const auto& entry) { return !side_of(entry.first.ifindex); });
  refresh_gateways();
  publish_all();
}

std::optional<gw_side> Adjacencies::side_of(int ifindex) const {
  for (const gw_side side : {GW_SIDE_VNET, GW_SIDE_CIRCUIT})
    if (ports_[side].contains(ifindex)) return side;
  return std::nullopt;
}

void Adjacencies::set_broadcasts(std::span<const net::NeighbourKey> all) {
  broadcasts_ = {all.begin(), all.end()};
  publish_all();
}

void Adjacencies::set_neighbours(std::span<const net::Neighbour> all) {
  known_.clear();
  for (const net::Neighbour& neighbour : all) note(neighbour);
  publish_all();
}

void Adjacencies::note(const net::Neighbour& n) {
  // The kernel keeps MACs of groups as well.
  if (!side_of(n.key.ifindex) || n.key.address.is_multicast()) return;
  if (n.mac || n.failed)
    known_[n.key] = {n.mac};
  else
    known_.erase(n.key);
}

void Adjacencies::on_neighbour(const net::Neighbour& n) {
  const auto side = side_of(n.key.ifindex);
  if (!side) return;
  note(n);
  publish({*side, n.key.address});
}

void Adjacencies::set_gateways(const std::set<xdp::NeighbourAt>& gateways) {
  const auto before = std::exchange(gateways_, {});
  for (const xdp::NeighbourAt& at : gateways) {
    const auto it = before.find(at);
    gateways_[at] = it != before.end() ? it->second : interface_of(at);
    publish(at);
    if (it == before.end()) use(at);
  }
  for (const auto& [at, ifindex] : before)
    if (!gateways.contains(at)) publish(at);
}

void Adjacencies::refresh_gateways() {
  for (auto& [at, ifindex] : gateways_) {
    const int now = interface_of(at);
    if (now == std::exchange(ifindex, now)) continue;
    publish(at);
    use(at);
  }
}

/// The interface of the side on whose link the gateway is; 0: on none.
int Adjacencies::interface_of(const xdp::NeighbourAt& gateway) {
  const auto& port = ports_[gateway.side];
  for (const auto& [ifindex, face] : port)
    if (const auto it = known_.find({ifindex, gateway.address}); it != known_.end() && it->second.mac) return ifindex;
  // A link-local address is on every link: the port itself is the best guess.
  if (gateway.address.is_link_local() && gateway.address.is_v6()) return port.empty() ? 0 : port.begin()->first;
  const IpAddress any = gateway.address.is_v4() ? IpAddress::from_v4(0) : IpAddress{IpAddress::parse("::").value()};
  const auto hops = netlink_.next_hops({any, gateway.address});
  if (!hops) return 0;
  for (const net::NextHop& hop : *hops)
    if (port.contains(hop.key.ifindex) && hop.key.address == gateway.address) return hop.key.ifindex;
  return 0;
}

std::optional<gw_neighbour> Adjacencies::describe(const xdp::NeighbourAt& at) const {
  const auto gateway = gateways_.find(at);
  std::optional<gw_neighbour> found;
  for (const auto& [ifindex, face] : ports_[at.side]) {
    gw_neighbour n{};
    n.ifindex = static_cast<std::uint32_t>(ifindex);
    n.mtu = face.mtu;
    const net::NeighbourKey key{ifindex, at.address};
    const auto known = known_.find(key);
    if (broadcasts_.contains(key)) {
      n.state = GW_NEIGHBOUR_BROADCAST;
      return n;
    }
    if (known != known_.end() && known->second.mac) {
      const worker::LinkHeader header = header_to(*known->second.mac, face.face);
      n.state = GW_NEIGHBOUR_KNOWN;
      n.header_bytes = header.length;
      std::ranges::copy(header.bytes, n.header);
      return n;
    }
    if (known != known_.end()) {
      n.state = GW_NEIGHBOUR_FAILED;
      found = n;
    } else if (!found && gateway != gateways_.end() && gateway->second == ifindex) {
      n.state = GW_NEIGHBOUR_UNRESOLVED;
      found = n;
    }
  }
  return found;
}

void Adjacencies::publish(const xdp::NeighbourAt& at) {
  const auto now = describe(at);
  const auto it = published_.find(at);
  if (!now) {
    if (it == published_.end()) return;
    maps_.remove_neighbour(at);
    published_.erase(it);
    return;
  }
  if (it != published_.end() && same(it->second, *now)) return;
  if (auto done = maps_.put_neighbour(at, *now); !done) {
    log::warning("net", "{}: packets to {} take the slow path", done.error().describe(), at.address);
    published_.erase(at);
    return;
  }
  published_[at] = *now;
}

void Adjacencies::publish_all() {
  std::set<xdp::NeighbourAt> all;
  for (const auto& [at, neighbour] : published_) all.insert(at);
  for (const auto& [at, ifindex] : gateways_) all.insert(at);
  const auto add = [&](const net::NeighbourKey& key) {
    if (const auto side = side_of(key.ifindex)) all.insert({*side, key.address});
  };
  for (const auto& [key, known] : known_) add(key);
  for (const net::NeighbourKey& key : broadcasts_) add(key);
  for (const xdp::NeighbourAt& at : all) publish(at);
}

/// The kernel resolves or confirms it.
void Adjacencies::use(const xdp::NeighbourAt& at) {
  const auto it = published_.find(at);
  if (it == published_.end() || it->second.state == GW_NEIGHBOUR_BROADCAST) return;
  (void)netlink_.use({static_cast<int>(it->second.ifindex), at.address});
}

void Adjacencies::keep_fresh() {
  for (const auto& [at, n] : published_)
    if (n.state == GW_NEIGHBOUR_KNOWN && (maps_.take_used(at) || gateways_.contains(at))) use(at);
}

void Adjacencies::ask_again() {
  for (const auto& [at, n] : published_) {
    if (n.state != GW_NEIGHBOUR_FAILED && n.state != GW_NEIGHBOUR_UNRESOLVED) continue;
    if (maps_.take_used(at) || gateways_.contains(at)) use(at);
  }
}

}  // namespace gw::control
