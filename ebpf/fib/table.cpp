#include "ebpf/fib/table.hpp"

#include <algorithm>
#include <cassert>
#include <ranges>

namespace gw::fib {

Table::Table(const Memory& m)
    : v4_(Family::kV4, {m.v4_root, m.v4_nodes}), v6_(Family::kV6, {m.v6_root, m.v6_nodes}), hops_(m.next_hops) {
  auto local = hops_.acquire({GW_NEXT_HOP_LOCAL, {}, {}});
  assert(local && "the first record of an empty table");
  local_hop_ = *local;
}

/// Puts a route where readers see it, unless an address of ours hides it.
Status Table::show(const Prefix& prefix, NextHopIndex hop) {
  const bool hidden = prefix.length() == address_bits(prefix.family()) && local_.contains(prefix.address());
  return hidden ? Status{} : trie(prefix).insert(prefix, hop);
}

void Table::hide(const Prefix& prefix) {
  const bool hidden = prefix.length() == address_bits(prefix.family()) && local_.contains(prefix.address());
  if (!hidden) trie(prefix).erase(prefix);
}

/// All changes or none. Takes over the references to the `now` records.
Status Table::carry_out(std::span<Change> changes) {
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Change& c = changes[i];
    if (const auto it = routes_.find(c.prefix); it != routes_.end()) c.before = it->second;
    if (auto shown = show(c.prefix, c.now); !shown) {
      // The way back needs no memory: nodes of an existing prefix are there, records are still held.
      for (Change& done : changes.first(i) | std::views::reverse) {
        if (done.before != 0) {
          (void)show(done.prefix, done.before);
          routes_[done.prefix] = done.before;
        } else {
          hide(done.prefix);
          routes_.erase(done.prefix);
        }
      }
      for (const Change& any : changes) hops_.release(any.now);
      return shown;
    }
    routes_[c.prefix] = c.now;
  }
  for (const Change& c : changes)
    if (c.before != 0) hops_.release(c.before);
  return {};
}

void Table::remove_route(const Prefix& prefix) {
  const auto it = routes_.find(prefix);
  if (it == routes_.end()) return;
  hide(prefix);
  hops_.release(it->second);
  routes_.erase(it);
}

Status Table::update(std::span<const Route> add, std::span<const Prefix> remove) {
  std::vector<Change> changes;
  changes.reserve(add.size());
  for (const Route& route : add) {
    auto hop = hops_.acquire(route.hop);
    if (!hop) {
      for (const Change& c : changes) hops_.release(c.now);
      return std::unexpected(std::move(hop).error());
    }
    changes.push_back({route.prefix, *hop, 0});
  }
  GW_TRY(carry_out(changes));
  for (const Prefix& prefix : remove) remove_route(prefix);
  return {};
}

void Table::remove_local(const IpAddress& address) {
  const Prefix host = Prefix::host(address);
  local_.erase(address);
  if (const auto it = routes_.find(host); it != routes_.end()) {
    const auto shown = trie(host).insert(host, it->second);
    assert(shown && "the prefix is in the trie already");
    (void)shown;
  } else {
    trie(host).erase(host);
  }
}

Status Table::set_local(std::span<const IpAddress> addresses) {
  const std::set<IpAddress> wanted(addresses.begin(), addresses.end());
  const std::vector<IpAddress> before(local_.begin(), local_.end());
  for (const IpAddress& a : before)
    if (!wanted.contains(a)) remove_local(a);
  for (const IpAddress& a : wanted) {
    if (local_.contains(a)) continue;
    GW_TRY(trie(Prefix::host(a)).insert(Prefix::host(a), local_hop_));
    local_.insert(a);
  }
  return {};
}

/// Gives every route over the tunnel a new record, with `now` in its place or without it.
Status Table::rewrite_groups(std::uint32_t tunnel_id, std::optional<TunnelRef> now) {
  std::vector<Route> changed;
  std::vector<Prefix> emptied;
  for (const auto& [prefix, index] : routes_) {
    NextHop hop = hops_.describe(index);
    const auto it = std::ranges::find(hop.tunnels, tunnel_id, &TunnelRef::id);
    if (it == hop.tunnels.end()) continue;
    if (now)
      *it = *now;
    else
      hop.tunnels.erase(it);
    if (hop.tunnels.empty())
      emptied.push_back(prefix);
    else
      changed.push_back({prefix, std::move(hop)});
  }
  return update(changed, emptied);
}

Status Table::replace_tunnel(const TunnelRef& tunnel) { return rewrite_groups(tunnel.id, tunnel); }

Status Table::remove_tunnel(std::uint32_t id) { return rewrite_groups(id, std::nullopt); }

std::vector<Route> Table::routes() const {
  std::vector<Route> all;
  all.reserve(routes_.size());
  for (const auto& [prefix, index] : routes_) all.push_back({prefix, hops_.describe(index)});
  return all;
}

Table::Retired Table::take_retired() { return {v4_.take_retired(), v6_.take_retired(), hops_.take_retired()}; }

void Table::release(const Retired& retired) {
  v4_.release(retired.v4_nodes);
  v6_.release(retired.v6_nodes);
  hops_.reuse(retired.next_hops);
}

}  // namespace gw::fib
