#include "ebpf/control/paths.hpp"

#include <algorithm>
#include <cmath>
#include <format>

#include "base/log.hpp"
#include "base/wire.hpp"

namespace gw::control {

Paths::Paths(Parts parts)
    : workers_(parts.workers),
      adjacencies_(parts.adjacencies),
      netlink_(std::move(parts.netlink)),
      monitor_(std::move(parts.monitor)),
      names_(std::move(parts.names)) {}

Status Paths::start(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  GW_TRY_ASSIGN(wan_, netlink_.link(names_.wan));
  GW_TRY_ASSIGN(vnet_, netlink_.link(names_.vnet));
  if (!names_.data_tun.empty()) {
    GW_TRY_ASSIGN(data_tun_, netlink_.link(names_.data_tun));
  }
  if (!names_.circuit.empty()) {
    GW_TRY_ASSIGN(circuit_, netlink_.link(names_.circuit));
    GW_TRY_ASSIGN(circuit_tun_, netlink_.link(names_.circuit_tun));
  }
  resync();
  return {};
}

void Paths::resync() {
  read_links();
  read_addresses();
  read_neighbours();
  refresh_routes();
}

/// False: the interface is not the one that our sockets are bound to.
bool Paths::refresh(net::Link& link, const std::string& name) {
  auto now = netlink_.link(name);
  if (now && now->ifindex != link.ifindex)
    now = fail(Errc::kNotFound, std::format("interface '{}' was removed and made again", name));
  if (now) {
    link = *now;
    return true;
  }
  log::error("net", "{}", now.error().describe());
  if (now.error().code == Errc::kNotFound && callbacks_.port_lost) callbacks_.port_lost(now.error());
  return false;
}

void Paths::read_links() {
  if (!refresh(wan_, names_.wan) || !refresh(vnet_, names_.vnet)) return;
  if (!names_.data_tun.empty() && !refresh(data_tun_, names_.data_tun)) return;
  const bool circuit = !names_.circuit.empty();
  if (circuit && (!refresh(circuit_, names_.circuit) || !refresh(circuit_tun_, names_.circuit_tun))) return;
  workers_.call_all([&](worker::DataPath& d) { d.set_links(wan_, vnet_); });
  if (callbacks_.clear_link) callbacks_.clear_link(GW_SIDE_VNET, vnet_);
  if (callbacks_.clear_link && circuit) callbacks_.clear_link(GW_SIDE_CIRCUIT, circuit_);
  if (callbacks_.wan_link) callbacks_.wan_link(wan_);
  read_faces();
  for (worker::PathIndex i = 0; i < paths_.size(); ++i) publish(i);  // our MAC is in the headers
}

void Paths::read_faces() {
  auto all = netlink_.links();
  if (!all) return log::error("net", "reading interfaces: {}", all.error().describe());
  wan_faces_ = faces_of(wan_, *all);
  const Faces before = std::exchange(vnet_faces_, faces_of(vnet_, *all));
  for (const auto& [key, mac] : neighbours_) {
    const auto was = before.find(key.ifindex);
    const auto is = vnet_faces_.find(key.ifindex);
    if (is != vnet_faces_.end() && (was == before.end() || was->second != is->second)) set_neighbour(key, mac);
  }
  read_clear_faces(GW_SIDE_VNET, vnet_, *all);
  if (!names_.circuit.empty()) read_clear_faces(GW_SIDE_CIRCUIT, circuit_, *all);
}

void Paths::read_clear_faces(gw_side side, const net::Link& port, std::span<const net::Link> all) {
  const Faces faces = faces_of(port, all);
  std::vector<VlanStack> stacks;
  for (const auto& [ifindex, face] : faces)
    if (!face.tags.empty()) stacks.push_back(face.tags);
  if (callbacks_.clear_vlans) callbacks_.clear_vlans(side, stacks);
  adjacencies_.set_port(side, faces, all);
}

void Paths::read_addresses() {
  auto addresses = netlink_.local_addresses();
  if (!addresses) return log::error("net", "reading our addresses: {}", addresses.error().describe());
  if (callbacks_.local_addresses) callbacks_.local_addresses(*addresses);
  read_broadcasts();
}

/// Addresses of all hosts at once are known to the workers as neighbours that get nothing.
void Paths::read_broadcasts() {
  auto all = netlink_.broadcasts();
  if (!all) return log::error("net", "reading broadcast addresses: {}", all.error().describe());
  adjacencies_.set_broadcasts(*all);
  std::vector<IpAddress> now;
  for (const net::NeighbourKey& key : *all)
    if (usable_on_vnet(key)) now.push_back(key.address);
  for (const IpAddress& gone : std::exchange(broadcasts_, now))
    if (!std::ranges::contains(broadcasts_, gone)) set_neighbour(gone, std::nullopt);
  for (const IpAddress& address : broadcasts_)
    if (!workers_.shared().neighbours.find(address)) set_neighbour(address, worker::Neighbour{});
}

void Paths::read_neighbours() {
  auto all = netlink_.neighbours();
  if (!all) return log::error("net", "reading neighbours: {}", all.error().describe());
  adjacencies_.set_neighbours(*all);
  const auto before = std::exchange(neighbours_, {});
  for (const net::Neighbour& n : *all)
    if (n.mac) neighbours_[n.key] = *n.mac;
  for (const auto& [key, mac] : before)
    if (usable_on_vnet(key) && !neighbours_.contains(key)) set_neighbour(key, std::nullopt);
  for (const auto& [key, mac] : neighbours_) {
    const auto it = before.find(key);
    if (usable_on_vnet(key) && (it == before.end() || it->second != mac)) set_neighbour(key, mac);
  }
  for (worker::PathIndex i = 0; i < paths_.size(); ++i) publish(i);
}

bool Paths::on_readable() {
  bool links = false;
  bool addresses = false;
  bool routes = false;
  bool lost = false;
  for (const net::Change& change : monitor_.read()) {
    if (const auto* neighbour = std::get_if<net::Neighbour>(&change)) on_neighbour(*neighbour);
    links |= std::holds_alternative<net::LinkChanged>(change);
    addresses |= std::holds_alternative<net::AddressesChanged>(change);
    routes |= std::holds_alternative<net::RoutesChanged>(change);
    lost |= std::holds_alternative<net::Overrun>(change);
  }
  if (lost) {
    log::warning("net", "netlink changes were lost; reading everything again");
    resync();
    return false;
  }
  if (links) read_links();
  if (addresses) read_addresses();
  return routes || addresses || links;
}

void Paths::on_neighbour(const net::Neighbour& n) {
  adjacencies_.on_neighbour(n);
  const auto it = neighbours_.find(n.key);
  const bool same = it == neighbours_.end() ? !n.mac : n.mac && *n.mac == it->second;
  if (same) return;
  if (n.mac)
    neighbours_[n.key] = *n.mac;
  else
    neighbours_.erase(n.key);
  if (usable_on_vnet(n.key)) set_neighbour(n.key, n.mac);
  for (worker::PathIndex i = 0; i < paths_.size(); ++i)
    if (std::ranges::contains(paths_[i].hops, n.key, &net::NextHop::key)) publish(i);
}

void Paths::set_neighbour(const net::NeighbourKey& key, const std::optional<net::MacAddress>& mac) {
  if (!mac) return set_neighbour(key.address, std::nullopt);
  const Face& face = vnet_faces_.at(key.ifindex);
  set_neighbour(key.address, worker::Neighbour{.header = header_to(*mac, face),
                                               .used = {},
                                               .mtu = static_cast<std::uint16_t>(std::min(face.mtu, UINT32_C(65535)))});
}

/// Workers see either the old or the new one. What does not fit the table is reached through the kernel.
void Paths::set_neighbour(const IpAddress& address, std::optional<worker::Neighbour> neighbour) {
  auto& table = workers_.shared().neighbours;
  if (table.full()) workers_.reclaim();
  const bool known = table.find(address) != nullptr;
  if (neighbour && !table.insert(address, std::move(*neighbour)))
    log::warning("net", "the table of vnet neighbours is full: packets to {} take the slow path", address);
  if (known) table.erase(address);
}

// --- paths to peers ----------------------------------------------------------------------------------

worker::PathIndex Paths::acquire(const PathUse& use) {
  if (const auto it = by_use_.find(use); it != by_use_.end()) {
    ++paths_[it->second].references;
    return it->second;
  }
  worker::PathIndex index = 0;
  if (free_.empty()) {
    index = static_cast<worker::PathIndex>(paths_.size());
    paths_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  paths_[index] = {};
  paths_[index].use = use;
  paths_[index].references = 1;
  by_use_[use] = index;
  resolve(index);
  return index;
}

void Paths::release(worker::PathIndex index) {
  Path& path = paths_[index];
  if (--path.references > 0) return;
  by_use_.erase(path.use);
  path.hops.clear();
  publish(index);
  free_.push_back(index);
}

void Paths::refresh_routes() {
  adjacencies_.refresh_gateways();
  for (worker::PathIndex i = 0; i < paths_.size(); ++i)
    if (paths_[i].references > 0) resolve(i);
}

/// The next hops out of the wan port. ESP leaves by it even when the best route does not: one that leads into a
/// tunnel (a peer's prefix learned through it) would make the tunnel carry itself.
std::vector<net::NextHop> Paths::ways(Path& path) {
  auto hops = netlink_.next_hops(path.use.flow).value_or(std::vector<net::NextHop>{});
  const bool any = !hops.empty();
  std::erase_if(hops, [&](const net::NextHop& hop) { return !is_by_wan(hop); });
  const bool detour = any && hops.empty();
  if (detour && !path.detour)
    log::warning("net", "the route to {} does not leave by {}: ESP and IKE are sent by {} all the same",
                 path.use.flow.dst, names_.wan, names_.wan);
  path.detour = detour;
  if (!detour) return hops;
  const auto hop = netlink_.route_by(path.use.flow, wan_.ifindex);
  if (hop && is_by_wan(*hop)) hops.push_back(*hop);
  return hops;
}

int Paths::detour(const net::Flow& flow) {
  const auto hops = netlink_.next_hops(flow).value_or(std::vector<net::NextHop>{});
  if (hops.empty() || std::ranges::any_of(hops, [&](const net::NextHop& hop) { return is_by_wan(hop); })) return 0;
  const auto hop = netlink_.route_by(flow, wan_.ifindex);
  return hop && is_by_wan(*hop) ? hop->key.ifindex : 0;
}

/// Asks the kernel for the way.
void Paths::refresh_from(const IpAddress& source) {
  for (worker::PathIndex i = 0; i < paths_.size(); ++i)
    if (paths_[i].references > 0 && paths_[i].use.flow.src == source) resolve(i);
}

void Paths::resolve(worker::PathIndex index) {
  Path& path = paths_[index];
  path.hops = ways(path);
  publish(index);
  // Starts resolution, of those that wait to take over as well; the answer comes as a change.
  for (const net::NextHop& hop : path.hops)
    if (!neighbours_.contains(hop.key)) (void)netlink_.use(hop.key);
}

/// The next hop with the highest score among those that answer; if none does, among all (the kernel sends).
void Paths::choose(Path& path) const {
  // Weighted rendezvous hashing: -weight / ln(h) with h uniform in (0, 1).
  const auto score = [&](const net::NextHop& hop) {
    std::uint64_t h = hash_value(hop.key.address) ^ (std::uint64_t{path.use.spread} * 0x9e3779b97f4a7c15ull);
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ h >> 27) * 0x94d049bb133111ebull;
    const double uniform = (static_cast<double>((h ^ h >> 31) >> 11) + 0.5) * 0x1p-53;
    return -static_cast<double>(hop.weight) / std::log(uniform);
  };
  path.hop.reset();
  std::pair<bool, double> best{false, -1};
  for (const net::NextHop& hop : path.hops) {
    const std::pair<bool, double> rank{neighbours_.contains(hop.key), score(hop)};
    if (path.hop && rank <= best) continue;
    best = rank;
    path.hop = hop.key;
  }
}

void Paths::publish(worker::PathIndex index) {
  Path& path = paths_[index];
  choose(path);
  std::optional<worker::LinkHeader> header;
  const auto it = path.hop ? neighbours_.find(*path.hop) : neighbours_.end();
  const auto face = path.hop ? wan_faces_.find(path.hop->ifindex) : wan_faces_.end();
  if (it != neighbours_.end() && face != wan_faces_.end()) header = header_to(it->second, face->second);
  int ifindex = path.hop ? path.hop->ifindex : worker::PathTable::kUnknown;
  if (path.references > 0 && path.hops.empty()) {  // no way: nobody, and not the kernel's guess
    header.emplace();
    ifindex = worker::PathTable::kNoWay;
  }
  if (header == path.header && ifindex == path.ifindex) return;
  path.header = header;
  path.ifindex = ifindex;
  workers_.shared().paths.set(index, header, ifindex);
}

void Paths::keep_fresh() {
  worker::Shared& shared = workers_.shared();
  for (worker::PathIndex i = 0; i < paths_.size(); ++i)
    if (shared.paths.take_used(i) && paths_[i].hop) (void)netlink_.use(*paths_[i].hop);
  for (const auto& [key, mac] : neighbours_) {
    worker::Neighbour* const n = usable_on_vnet(key) ? shared.neighbours.find(key.address) : nullptr;
    if (n && n->used.take()) (void)netlink_.use(key);
  }
}

}  // namespace gw::control
