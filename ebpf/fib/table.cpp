#include "ebpf/fib/table.hpp"

#include <algorithm>
#include <cassert>
#include <format>
#include <ranges>
#include <utility>

namespace gw::fib {
namespace {

// A grace period costs milliseconds (RCU, for the BPF programs): tens of thousands of updates share one. An
// eighth of the IPv6 lines by default.
constexpr std::size_t kMuchRetired = 32768;

// Memory is asked for this many routes ahead.
constexpr std::size_t kAhead = 4;

Prefix prefix_of(Family family, unsigned depth, unsigned heap, const std::array<std::uint8_t, 16>& address) {
  const auto length = depth * 8 + static_cast<unsigned>(std::bit_width(heap)) - 1;
  const auto a = IpAddress::from_bytes(std::span<const std::uint8_t>(address).first(address_bytes(family)));
  return Prefix::make(*a, length).value();
}

}  // namespace

Table::Table(const Memory& m, WaitForReaders wait)
    : memory_(m),
      wait_(std::move(wait)),
      v4_(m, [this] { reclaim(); }),
      v6_(m, [this] { reclaim(); }),
      hops_(m.next_hops) {
  auto local = hops_.acquire({GW_NEXT_HOP_LOCAL, {}, {}});
  assert(local && "the first record of an empty table");
  local_hop_ = *local;
}

void Table::reclaim() {
  if (v4_.retired() + v6_.retired() + hops_.retired() == 0) return;
  wait_();
  v4_.release_retired();
  v6_.release_retired();
  hops_.release_retired();
}

void Table::reclaim_if_much() {
  if (v4_.retired() + v6_.retired() + hops_.retired() > kMuchRetired) reclaim();
}

bool Table::is_local(const Prefix& p) const {
  return p.length() == address_bits(p.family()) && local_.contains(p.address());
}

// --- one route -----------------------------------------------------------------------------------------------

Result<RouteValue> Table::show(const Prefix& prefix, const RouteValue& value) {
  return prefix.family() == Family::kV4 ? v4_.set(prefix, value) : v6_.set(prefix, value);
}

Result<RouteValue> Table::hide(const Prefix& prefix) {
  return prefix.family() == Family::kV4 ? v4_.erase(prefix) : v6_.erase(prefix);
}

void Table::prefetch(const Prefix& prefix) const {
  if (prefix.family() == Family::kV4)
    v4_.prefetch(prefix);
  else
    v6_.prefetch(prefix);
}

/// What the route says, hidden or not; hop 0: there is none.
RouteValue Table::find(const Prefix& prefix) {
  if (is_local(prefix)) {
    const auto it = hidden_.find(prefix);
    return it == hidden_.end() ? RouteValue{} : it->second;
  }
  RouteTree& tree = prefix.family() == Family::kV4 ? v4_.routes() : v6_.routes();
  RouteTree::Place place;
  return tree.find(prefix, place) ? *tree.value(place) : RouteValue{};
}

/// Both return what the route said before.
Result<RouteValue> Table::put(const Prefix& prefix, const RouteValue& value) {
  if (!is_local(prefix)) return show(prefix, value);
  return std::exchange(hidden_[prefix], value);
}

Result<RouteValue> Table::take_out(const Prefix& prefix) {
  if (!is_local(prefix)) return hide(prefix);
  const RouteValue before = find(prefix);
  hidden_.erase(prefix);
  return before;
}

// --- batches -------------------------------------------------------------------------------------------------

/// The way back needs no memory that was not there on the way here.
void Table::undo(std::span<const Change> changes) {
  for (const Change& c : changes | std::views::reverse) {
    const auto done = c.before.hop != 0 ? put(c.prefix, c.before) : take_out(c.prefix);
    assert(done && "the table was in this state a moment ago");
    (void)done;
    hops_.release(c.now.hop);
  }
}

Result<Table::Change> Table::add(const Route& route, Generation generation) {
  auto hop = hops_.acquire(route.hop);
  if (!hop && hops_.retired() > 0) {
    reclaim();
    hop = hops_.acquire(route.hop);
  }
  if (!hop) return std::unexpected(std::move(hop).error());
  const RouteValue now{*hop, generation};
  auto before = put(route.prefix, now);
  if (before) return Change{route.prefix, now, *before};
  hops_.release(*hop);
  return std::unexpected(std::move(before).error());
}

Status Table::update(std::span<const Route> add, std::span<const Prefix> remove, Generation generation) {
  std::vector<Change> changes;
  changes.reserve(add.size());
  for (std::size_t i = 0; i < add.size(); ++i) {
    if (i + kAhead < add.size()) prefetch(add[i + kAhead].prefix);
    auto change = this->add(add[i], generation);
    if (!change) {
      undo(changes);
      return std::unexpected(std::move(change).error());
    }
    changes.push_back(*change);
  }
  for (const Change& c : changes)
    if (c.before.hop != 0) hops_.release(c.before.hop);
  Status done;
  for (std::size_t i = 0; i < remove.size(); ++i) {
    if (i + kAhead < remove.size()) prefetch(remove[i + kAhead]);
    auto gone = take_out(remove[i]);
    if (!gone)
      done = std::unexpected(std::move(gone).error());
    else if (gone->hop != 0)
      hops_.release(gone->hop);
  }
  reclaim_if_much();
  return done;
}

Status Table::sweep(Generation generation) {
  std::vector<Prefix> old;
  each_route([&](const Prefix& prefix, const RouteValue& value) {
    if (value.generation < generation) old.push_back(prefix);
  });
  return update({}, old);
}

Status Table::show_own(const IpAddress& address) {
  const Prefix host = Prefix::host(address);
  const RouteValue own{local_hop_, 0};
  const RouteValue route = find(host);
  auto shown = host.family() == Family::kV4 ? v4_.set(host, own, Claim::kOwnAddress) : v6_.set(host, own);
  if (!shown) {
    shown.error().message = std::format("{} is not known as ours: {}", address, shown.error().message);
    return std::unexpected(std::move(shown).error());
  }
  local_.insert(address);
  if (route.hop != 0) hidden_[host] = route;
  return {};
}

Status Table::show_own_no_more(const IpAddress& address) {
  const Prefix host = Prefix::host(address);
  const RouteValue route = find(host);
  local_.erase(address);
  hidden_.erase(host);
  GW_TRY(route.hop != 0 ? show(host, route) : hide(host));
  return {};
}

// One that does not fit is no reason to leave out the others.
Status Table::set_local(std::span<const IpAddress> addresses) {
  const std::set<IpAddress> wanted(addresses.begin(), addresses.end());
  const std::vector<IpAddress> before(local_.begin(), local_.end());
  Status all;
  const auto note = [&](Status done) {
    if (all && !done) all = std::move(done);
  };
  for (const IpAddress& a : before)
    if (!wanted.contains(a)) note(show_own_no_more(a));
  for (const IpAddress& a : wanted)
    if (!local_.contains(a)) note(show_own(a));
  return all;
}

Status Table::remove_tunnel(std::uint32_t id) {
  const std::vector<NextHopIndex> emptied = hops_.remove_tunnel(id);
  std::vector<Prefix> gone;
  if (!emptied.empty())
    each_route([&](const Prefix& prefix, const RouteValue& value) {
      if (std::ranges::binary_search(emptied, value.hop)) gone.push_back(prefix);
    });
  const Status done = update({}, gone);
  wait_();  // for those who have read the tunnel's slot just now
  v4_.release_retired();
  v6_.release_retired();
  hops_.release_retired();
  return done;
}

// --- what there is -------------------------------------------------------------------------------------------

void Table::each_route(const std::function<void(const Prefix&, const RouteValue&)>& handle) const {
  const auto walk = [&](Family family, const RouteTree& tree) {
    tree.each([&](unsigned depth, unsigned heap, const std::array<std::uint8_t, 16>& address, const RouteValue& value) {
      const Prefix prefix = prefix_of(family, depth, heap, address);
      if (value.hop != local_hop_) return handle(prefix, value);
      if (const auto it = hidden_.find(prefix); it != hidden_.end()) handle(prefix, it->second);
    });
  };
  walk(Family::kV4, v4_.routes());
  walk(Family::kV6, v6_.routes());
}

std::vector<Route> Table::routes() const {
  std::vector<Route> all;
  all.reserve(v4_.routes().size() + v6_.routes().size());
  each_route(
      [&](const Prefix& prefix, const RouteValue& value) { all.push_back({prefix, hops_.describe(value.hop)}); });
  return all;
}

Table::Usage Table::usage() const {
  const std::size_t lines = memory_.v6_lines.size() / (1u << GW_FIB_V6_MAX_WIDTH) * (1u << GW_FIB_V6_MAX_WIDTH);
  return {.routes_v4 = v4_.routes().size(),
          .routes_v6 = v6_.routes().size(),
          .v4_groups = v4_.groups() - v4_.groups_free(),
          .v6_lines = lines - v6_.lines_free(),
          .next_hops = hops_.in_use(),
          .control_bytes = v4_.memory_bytes() + v6_.memory_bytes()};
}

std::vector<MemoryUse> Table::memory() const {
  const Usage in_use = usage();
  constexpr std::size_t kGroupBytes = GW_FIB_NODE_ENTRIES * sizeof(std::uint16_t);
  using Use = MemoryUse;
  return {
      Use::reserved("forwarding table, IPv4 root", memory_.v4_root.size_bytes(), 1, 1),
      Use::reserved("forwarding table, IPv4 groups", kGroupBytes, in_use.v4_groups, v4_.groups()),
      Use::reserved("forwarding table, IPv6 root", memory_.v6_root.size_bytes(), 1, 1),
      Use{"forwarding table, IPv6 lines", memory_.v6_lines.size_bytes() + v6_.lines_bytes(), in_use.v6_lines,
          memory_.v6_lines.size()},
      Use::reserved("forwarding table, next hops", sizeof(gw_next_hop), in_use.next_hops, memory_.next_hops.size()),
      Use::growing("IPv4 routes, as they were told", v4_.memory_bytes(), in_use.routes_v4),
      Use::growing("IPv6 routes, as they were told", v6_.memory_bytes() - v6_.lines_bytes(), in_use.routes_v6),
  };
}

}  // namespace gw::fib
