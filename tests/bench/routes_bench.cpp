// routes-merge, routes-memory, routes-policy: a full Internet table from four sources in the Rib (routes/rib.hpp).
// Four to six prefixes an UPDATE with the same attributes, as real tables have them; every UPDATE is drained, as gwd
// does. Tools for routes_bench.py.
#include <malloc.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <print>
#include <random>
#include <ranges>

#include "routes/rib.hpp"
#include "routes/survey.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/fib_routes.hpp"

namespace gw::bench {
namespace {

using Clock = std::chrono::steady_clock;
using routes::SourceKind;

constexpr unsigned kSources = 4;  // two circuit routers, two tunnels
constexpr std::size_t kUpdates = 2'000'000;
constexpr std::size_t kPrefixesInUpdate = 5;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::size_t heap_bytes() {
  malloc_trim(0);
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Update {
  std::vector<Prefix> prefixes;
  std::array<std::uint32_t, 4> tail;  // of the AS path, the same whoever tells it
};

std::vector<Update> updates_of_table() {
  std::mt19937_64 random(20251003);
  std::vector<Update> out;
  for (const Family family : {Family::kV4, Family::kV6}) {
    for (const auto part : internet_table(family) | std::views::chunk(kPrefixesInUpdate)) {
      Update u;
      std::ranges::copy(part, std::back_inserter(u.prefixes));
      for (auto& asn : u.tail) asn = static_cast<std::uint32_t>(1000 + random() % 60'000);
      out.push_back(std::move(u));
    }
  }
  return out;
}

class FullTable {
 public:
  FullTable() : updates_(updates_of_table()) {
    for (unsigned i = 0; i < kSources; ++i) {
      sources_[i] = rib_.put_source({.kind = i < 2 ? SourceKind::kCircuit : SourceKind::kVpnTunnel,
                                     .name = std::format("source-{}", i),
                                     .peer_asn = 3000 + i,
                                     .router_id = IpAddress::from_v4(0xc0000200 + i),
                                     .peer_address = IpAddress::from_v4(0xa9fe1500 + i)});
    }
  }

  void load() {
    for (const routes::SourceId source : sources_) {
      for (const Update& u : updates_) announce(source, u, 0);
    }
  }
  /// One UPDATE of one source, longer or shorter than before; all of it, drained. Returns changed prefixes.
  std::size_t announce(routes::SourceId source, const Update& u, unsigned prepends) {
    routes::Attributes a{.next_hop = IpAddress::from_v4(0xa9fe1500U + source)};
    std::vector<std::uint32_t> path(1 + prepends, 3000U + source);
    // Not all sources are equally near: sometimes one is best, sometimes several are.
    path.insert(path.end(), u.tail.begin(), u.tail.end() - (u.tail[0] + source) % 3 / 2);
    a.as_path = routes::AsPath::sequence(std::move(path));
    rib_.announce(source, std::make_shared<const routes::Attributes>(std::move(a)), u.prefixes, MonoTime{});
    return rib_.drain().size();
  }

  routes::Rib& rib() { return rib_; }
  const std::vector<Update>& updates() const { return updates_; }
  const std::array<routes::SourceId, kSources>& sources() const { return sources_; }
  std::size_t prefixes() const {
    std::size_t n = 0;
    for (const Update& u : updates_) n += u.prefixes.size();
    return n;
  }

 private:
  std::vector<Update> updates_;
  routes::Rib rib_;
  std::array<routes::SourceId, kSources> sources_{};
};

Status merge(const std::string&) {
  FullTable table;
  const auto loading = Clock::now();
  table.load();
  const double load = seconds_since(loading);
  std::mt19937_64 random(20251004);
  std::size_t routes = 0;
  std::size_t changes = 0;
  const auto start = Clock::now();
  for (unsigned turn = 0; routes < kUpdates; ++turn) {
    const Update& u = table.updates()[random() % table.updates().size()];
    changes += table.announce(table.sources()[random() % kSources], u, 1 + turn % 3);
    routes += u.prefixes.size();
  }
  const double took = seconds_since(start);
  const double loaded = static_cast<double>(table.prefixes() * kSources);
  std::println(R"({{"updates_per_s": {}, "load_per_s": {}, "changes": {}, "prefixes": {}}})",
               static_cast<double>(routes) / took, loaded / load, changes, table.prefixes());
  return {};
}

Status memory(const std::string&) {
  FullTable table;
  const std::size_t before = heap_bytes();
  table.load();
  const double bytes = static_cast<double>(heap_bytes() - before);
  const double routes = static_cast<double>(table.prefixes() * kSources);
  std::println(R"({{"bytes_per_route": {}, "bytes_per_prefix": {}, "routes": {}, "attribute_sets": {}}})",
               bytes / routes, bytes / static_cast<double>(table.prefixes()), routes, table.rib().attribute_sets());
  return {};
}

/// The longest time that gwd's loop is held up: gwd/api/slices.hpp goes through the table like this.
template <class Walk>
double slowest_slice(Walk& walk) {
  constexpr std::size_t kSlicePrefixes = 1024;
  double slowest = 0;
  for (bool more = true; more;) {
    const auto start = Clock::now();
    more = walk.step(kSlicePrefixes);
    slowest = std::max(slowest, seconds_since(start));
  }
  return slowest;
}

/// Circuit over VPN, and the other way round: every prefix is judged and decided anew, many move.
Status policy(const std::string&) {
  FullTable table;
  table.load();
  double slowest = 0;
  std::size_t moved = 0;
  for (const routes::Prefer prefer : {routes::Prefer::kVpn, routes::Prefer::kCircuit, routes::Prefer::kVpn}) {
    auto next = std::make_shared<routes::Policy>();
    next->weights = routes::class_weights(prefer);
    next->import_rules = {{.name = "site-lp", .match = {.source = "source-3"}, .set = {.local_preference = 150}}};
    const auto start = Clock::now();
    table.rib().set_policy(next);
    moved = table.rib().drain().size();
    slowest = std::max(slowest, seconds_since(start));
  }
  auto other = std::make_shared<routes::Policy>();
  const auto start = Clock::now();
  routes::WhatIfWalk what_if(table.rib(), {.policy = other});
  double slice = slowest_slice(what_if);
  const routes::WhatIf what = what_if.finish();
  const double what_if_s = seconds_since(start);
  const auto surveying = Clock::now();
  routes::SurveyWalk survey(table.rib());
  slice = std::max(slice, slowest_slice(survey));
  std::println(
      R"({{"seconds": {}, "moved": {}, "prefixes": {}, "what_if_s": {}, "what_if_moved": {}, "survey_s": {}, "slice_ms": {}}})",
      slowest, moved, table.prefixes(), what_if_s, what.moved, seconds_since(surveying), slice * 1000);
  return {};
}

}  // namespace

void add_routes_tools(std::vector<Tool>& all) {
  all.push_back({"routes-merge", "updates of a full table from four sources, merged", merge});
  all.push_back({"routes-memory", "memory of a full table from four sources", memory});
  all.push_back({"routes-policy", "another policy for a full table from four sources", policy});
}

}  // namespace gw::bench
