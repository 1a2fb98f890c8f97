#include "ebpf/esp/selector.hpp"

#include <algorithm>
#include <format>

#include "base/wire.hpp"

namespace gw::esp {
namespace {

void split(const IpAddress& a, std::uint64_t (&halves)[2]) {
  if (a.is_v4()) {
    halves[0] = 0;
    halves[1] = a.v4();
  } else {
    halves[0] = load_be<std::uint64_t>(a.bytes().data());
    halves[1] = load_be<std::uint64_t>(a.bytes().data() + 8);
  }
}

bool not_above(const std::uint64_t (&a)[2], const std::uint64_t (&b)[2]) {
  return a[0] < b[0] || (a[0] == b[0] && a[1] <= b[1]);
}

bool is_everything(const Selector& s) {
  return std::ranges::all_of(s.first.bytes(), [](std::uint8_t b) { return b == 0; }) &&
         std::ranges::all_of(s.last.bytes(), [](std::uint8_t b) { return b == 0xff; }) && s.protocol == 0 &&
         s.first_port == 0 && s.last_port == 65535;
}

bool takes_all(std::span<const Selector> side, Family family) {
  return std::ranges::any_of(side, [&](const Selector& s) { return s.first.family() == family && is_everything(s); });
}

}  // namespace

Result<std::vector<SelectorSet::Range>> SelectorSet::compile_side(std::span<const Selector> side,
                                                                  std::string_view name) {
  if (side.empty()) return fail_field(name, "no traffic selector; an SA needs at least one on each side");
  std::vector<Range> ranges;
  for (const Selector& s : side) {
    if (s.first.family() != s.last.family())
      return fail_field(name, std::format("selector {}-{} mixes IPv4 and IPv6", s.first, s.last));
    if (s.last < s.first) return fail_field(name, std::format("selector {}-{} ends before it begins", s.first, s.last));
    if (s.last_port < s.first_port)
      return fail_field(name,
                        std::format("selector port range {}-{} ends before it begins", s.first_port, s.last_port));
    Range r{};
    split(s.first, r.first);
    split(s.last, r.last);
    r.first_port = s.first_port;
    r.last_port = s.last_port;
    r.protocol = s.protocol;
    r.family = s.first.family();
    ranges.push_back(r);
  }
  return ranges;
}

Result<SelectorSet> SelectorSet::compile(std::span<const Selector> local, std::span<const Selector> remote) {
  SelectorSet set;
  GW_TRY_ASSIGN(set.local_, compile_side(local, "local"));
  GW_TRY_ASSIGN(set.remote_, compile_side(remote, "remote"));
  for (const Family f : {Family::kV4, Family::kV6})
    set.any_[static_cast<std::size_t>(f)] = takes_all(local, f) && takes_all(remote, f);
  return set;
}

bool SelectorSet::side_matches(std::span<const Range> side, const Flow& flow, std::size_t end) {
  return std::ranges::any_of(side, [&](const Range& r) {
    if (r.family != flow.family || !not_above(r.first, flow.address[end]) || !not_above(flow.address[end], r.last))
      return false;
    if (r.protocol != 0 && r.protocol != flow.protocol) return false;
    if (r.first_port == 0 && r.last_port == 65535) return true;
    // RFC 4301 4.4.1.1: a packet whose ports cannot be seen matches only "any".
    return flow.has_ports && r.first_port <= flow.port[end] && flow.port[end] <= r.last_port;
  });
}

bool SelectorSet::matches_ranges(std::span<const std::uint8_t> packet, Family family, Way way) const {
  const Flow flow = parse_flow(packet, family);
  const std::size_t local_end = way == Way::kLocalToRemote ? 0 : 1;
  return side_matches(local_, flow, local_end) && side_matches(remote_, flow, 1 - local_end);
}

}  // namespace gw::esp
