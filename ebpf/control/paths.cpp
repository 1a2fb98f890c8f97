#include "ebpf/control/paths.hpp"

#include <algorithm>
#include <format>

#include "base/log.hpp"
#include "base/wire.hpp"

namespace gw::control {

Paths::Paths(worker::Workers& workers, net::Netlink netlink, net::NetlinkMonitor monitor, PortNames names)
    : workers_(workers), netlink_(std::move(netlink)), monitor_(std::move(monitor)), names_(std::move(names)) {}

Status Paths::start(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  GW_TRY_ASSIGN(wan_, netlink_.link(names_.wan));
  GW_TRY_ASSIGN(vnet_, netlink_.link(names_.vnet));
  if (!names_.data_tun.empty()) {
    GW_TRY_ASSIGN(data_tun_, netlink_.link(names_.data_tun));
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
  workers_.call_all([&](worker::DataPath& d) { d.set_links(wan_, vnet_); });
  if (callbacks_.vnet_link) callbacks_.vnet_link(vnet_);
  if (callbacks_.wan_link) callbacks_.wan_link(wan_);
  for (worker::PathIndex i = 0; i < paths_.size(); ++i) publish(i);  // our MAC is in the headers
}

void Paths::read_addresses() {
  auto addresses = netlink_.local_addresses();
  if (!addresses) return log::error("net", "reading our addresses: {}", addresses.error().describe());
  if (callbacks_.local_addresses) callbacks_.local_addresses(*addresses);
}

void Paths::read_neighbours() {
  auto all = netlink_.neighbours();
  if (!all) return log::error("net", "reading neighbours: {}", all.error().describe());
  const auto before = std::exchange(neighbours_, {});
  for (const net::Neighbour& n : *all)
    if (n.mac) neighbours_[n.key] = *n.mac;
  for (const auto& [key, mac] : before)
    if (usable_on_vnet(key) && !neighbours_.contains(key)) set_neighbour(key.address, std::nullopt);
  for (const auto& [key, mac] : neighbours_) {
    const auto it = before.find(key);
    if (usable_on_vnet(key) && (it == before.end() || it->second != mac)) set_neighbour(key.address, mac);
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
  const auto it = neighbours_.find(n.key);
  const bool same = it == neighbours_.end() ? !n.mac : n.mac && *n.mac == it->second;
  if (same) return;
  if (n.mac)
    neighbours_[n.key] = *n.mac;
  else
    neighbours_.erase(n.key);
  if (usable_on_vnet(n.key)) set_neighbour(n.key.address, n.mac);
  for (worker::PathIndex i = 0; i < paths_.size(); ++i)
    if (paths_[i].hop == n.key) publish(i);
}

/// Workers see either the old or the new one. What does not fit the table is reached through the kernel.
void Paths::set_neighbour(const IpAddress& address, const std::optional<net::MacAddress>& mac) {
  auto& table = workers_.shared().neighbours;
  if (table.full()) workers_.reclaim();
  const bool known = table.find(address) != nullptr;
  if (mac && !table.insert(address, {.mac = *mac, .used = {}}))
    log::warning("net", "the table of vnet neighbours is full: packets to {} take the slow path", address);
  if (known) table.erase(address);
}

// --- paths to peers ----------------------------------------------------------------------------------

worker::PathIndex Paths::acquire(const net::Flow& flow) {
  if (const auto it = by_flow_.find(flow); it != by_flow_.end()) {
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
  paths_[index] = {.flow = flow, .references = 1};
  by_flow_[flow] = index;
  resolve(index);
  return index;
}

void Paths::release(worker::PathIndex index) {
  Path& path = paths_[index];
  if (--path.references > 0) return;
  by_flow_.erase(path.flow);
  path.hop.reset();
  publish(index);
  free_.push_back(index);
}

void Paths::refresh_routes() {
  for (worker::PathIndex i = 0; i < paths_.size(); ++i)
    if (paths_[i].references > 0) resolve(i);
}

/// Asks the kernel for the way. ESP leaves by the wan port even when the best route does not: one that leads
/// into a tunnel (a peer's prefix learned through it) would make the tunnel carry itself.
void Paths::resolve(worker::PathIndex index) {
  Path& path = paths_[index];
  auto hop = netlink_.route(path.flow);
  const bool detour = hop && hop->ifindex != wan_.ifindex;
  if (detour) hop = netlink_.route_by(path.flow, wan_.ifindex);
  if (detour && !path.detour)
    log::warning("net", "the route to {} does not leave by {}: ESP is sent by {} all the same, IKE is not",
                 path.flow.dst, names_.wan, names_.wan);
  path.detour = detour;
  path.hop.reset();
  if (hop && hop->ifindex == wan_.ifindex) path.hop = *hop;
  publish(index);
  if (path.hop && !path.header) (void)netlink_.use(*path.hop);  // starts resolution; the answer comes as a change
}

void Paths::publish(worker::PathIndex index) {
  Path& path = paths_[index];
  std::optional<worker::EthernetHeader> header;
  const auto it = path.hop ? neighbours_.find(*path.hop) : neighbours_.end();
  if (it != neighbours_.end()) {
    header.emplace();
    std::ranges::copy(it->second, header->begin());
    std::ranges::copy(wan_.mac, header->begin() + 6);
    store_be(header->data() + 12, static_cast<std::uint16_t>(path.flow.dst.is_v4() ? 0x0800 : 0x86dd));
  }
  if (header == path.header) return;
  path.header = header;
  workers_.shared().paths.set(index, header);
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
