// Every line of bgpd's configuration that depends on the intent is one Setting: where it stands, what it is
// about, how it is set and how it is removed. The whole configuration is all settings in order; a difference
// is the settings whose value differs. What never changes (group, route-maps) stands in fixed lines.
#include "bgp/config_model.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace gw::bgp {
namespace {

enum class Block : std::uint8_t { kGlobal, kRouter, kBmp, kIpv4, kIpv6 };

struct Setting {
  Block block;
  std::string key;   // unique in a block
  std::string peer;  // whose it is; empty: the gateway's
  Command on;
  std::string off;
};
using Settings = std::vector<Setting>;

// --- fixed lines ------------------------------------------------------------------------------------

constexpr std::string_view kGlobalLines[] = {
    // The default of 5 s leaves routes without a best path (frr-findings); policy changes are applied by clears().
    "bgp route-map delay-timer 0",
    "bgp community-list standard GW-GSHUT seq 5 permit graceful-shutdown",
    "ip prefix-list GW-DEFAULT seq 5 permit 0.0.0.0/0",
    "ipv6 prefix-list GW-DEFAULT6 seq 5 permit ::/0",
};

// routes/policy in FRR's words: check_import, and RFC 8326 as decide.hpp step 2 has it.
constexpr std::string_view kRouteMaps[] = {
    "route-map GW-VPN-IN deny 10",
    "match as-path GW-RESERVED-AS",
    "exit",
    "route-map GW-VPN-IN deny 20",
    "match ip address prefix-list GW-REFUSED",
    "exit",
    "route-map GW-VPN-IN permit 30",
    "match community GW-GSHUT",
    "set local-preference 0",
    "exit",
    "route-map GW-VPN-IN permit 40",
    "exit",
    "route-map GW-VPN-IN6 deny 10",
    "match as-path GW-RESERVED-AS",
    "exit",
    "route-map GW-VPN-IN6 deny 20",
    "match ipv6 address prefix-list GW-REFUSED6",
    "exit",
    "route-map GW-VPN-IN6 permit 30",
    "match community GW-GSHUT",
    "set local-preference 0",
    "on-match next",
    "exit",
    // A tunnel device is point to point, and sites send all kinds of next hops over an IPv4 session (v4-mapped,
    // their own link-local, a global one of theirs). Any link-local address is "the other end"; the kernel takes
    // it, while zebra refuses v4-mapped ones.
    "route-map GW-VPN-IN6 permit 40",
    "set ipv6 next-hop local fe80::1",
    "exit",
    "route-map GW-VPN-OUT deny 10",
    "match ip address prefix-list GW-DEFAULT",
    "exit",
    "route-map GW-VPN-OUT permit 20",
    "exit",
    "route-map GW-VPN-OUT6 deny 10",
    "match ipv6 address prefix-list GW-DEFAULT6",
    "exit",
    "route-map GW-VPN-OUT6 permit 20",
    "exit",
};

constexpr std::string_view kRouterLines[] = {
    "bgp log-neighbor-changes",
    "no bgp default ipv4-unicast",
    "no bgp ebgp-requires-policy",  // there always is one: GW-VPN-IN and GW-VPN-OUT
    "no bgp network import-check",  // what is originated is configuration, not a kernel route
    "bgp always-compare-med",       // routes/decide step 6: without it 10.3's choice depends on the order of arrival
    "bgp bestpath as-path multipath-relax",
    "bgp bestpath compare-routerid",  // routes/decide step 8
    "bgp graceful-restart",
    "bgp graceful-restart preserve-fw-state",
    // One dead site must not hold up the best paths of all others for the default of 360 s after a restart.
    "bgp graceful-restart select-defer-time 30",
    "neighbor GW-TUNNELS peer-group",
    "neighbor GW-TUNNELS timers connect 1",  // default 120 s
    "neighbor GW-TUNNELS advertisement-interval 0",
    "neighbor GW-TUNNELS capability extended-nexthop",  // RFC 8950, for IPv4 routes over an IPv6 session
    // Never back to the source, also when an update group has more members than the source.
    "neighbor GW-TUNNELS sender-as-path-loop-detection",
};

constexpr std::string_view kFamilyLines[] = {
    "maximum-paths 8", "maximum-paths ibgp 8", "neighbor GW-TUNNELS activate",
    "neighbor GW-TUNNELS soft-reconfiguration inbound",  // BMP pre-policy needs it
};

void add_lines(Commands& out, std::span<const std::string_view> lines) {
  for (const std::string_view line : lines) out.emplace_back(std::string(line));
}

void enter_family(Commands& out, Family family) {
  out.emplace_back(family == Family::kV4 ? "address-family ipv4 unicast" : "address-family ipv6 unicast");
}

/// The group's address families come before any neighbour, so that a neighbour is never without one.
void add_group_families(Commands& out) {
  for (const Family family : {Family::kV4, Family::kV6}) {
    enter_family(out, family);
    add_lines(out, kFamilyLines);
    const char* suffix = family == Family::kV4 ? "" : "6";
    out.emplace_back(std::format("neighbor {} route-map GW-VPN-IN{} in", kTunnelGroup, suffix));
    out.emplace_back(std::format("neighbor {} route-map GW-VPN-OUT{} out", kTunnelGroup, suffix));
    out.emplace_back("exit-address-family");
  }
}

// --- settings ---------------------------------------------------------------------------------------

// FRR numbers an entry without a number by itself, and adds it once more when it is applied again (after its
// file, say). So each has a number of its own, from its prefix: the order of permits does not matter.
std::uint32_t sequence_number(const Prefix& prefix) {
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const std::uint8_t byte : prefix.address().bytes()) hash = (hash ^ byte) * 16777619U;
  hash = (hash ^ prefix.length()) * 16777619U;
  return 1 + hash % 4294967294U;
}

std::string refused_entry(const Prefix& prefix, bool with_inside) {
  const bool v4 = prefix.family() == Family::kV4;
  std::string line = std::format("{} prefix-list GW-REFUSED{} seq {} permit {}", v4 ? "ip" : "ipv6", v4 ? "" : "6",
                                 sequence_number(prefix), prefix);
  if (with_inside && prefix.length() < address_bits(prefix.family())) {
    line += std::format(" le {}", address_bits(prefix.family()));
  }
  return line;
}

void add_toggle(Settings& out, Block block, std::string line) {
  std::string off = "no " + line;
  out.push_back({block, line, {}, Command(line), std::move(off)});
}

/// routes::check_import as lists.
void add_policy(Settings& out, const routes::ImportPolicy& policy) {
  if (policy.default_route == routes::DefaultRoute::kRefuse) {
    for (const char* text : {"0.0.0.0/0", "::/0"}) {
      add_toggle(out, Block::kGlobal, refused_entry(Prefix::parse(text).value(), false));
    }
  }
  std::set<Prefix> refused(routes::martians().begin(), routes::martians().end());
  refused.insert(policy.vnet_prefixes.begin(), policy.vnet_prefixes.end());
  for (const Prefix& prefix : refused) add_toggle(out, Block::kGlobal, refused_entry(prefix, true));

  std::string numbers;
  for (const routes::AsnRange& range : routes::reserved_asns()) {
    for (std::uint64_t asn = range.first; asn <= range.last; ++asn) {
      if (std::ranges::contains(policy.allowed_asns, asn)) continue;
      numbers += std::format("{}{}", numbers.empty() ? "" : "|", asn);
    }
  }
  // One entry with a fixed sequence number: setting it replaces it.
  out.push_back({Block::kGlobal,
                 "reserved asns",
                 {},
                 Command(std::format("bgp as-path access-list GW-RESERVED-AS seq 5 permit _({})_", numbers)),
                 {}});
}

void add_gateway(Settings& out, const BgpIntent& intent) {
  out.push_back({Block::kGlobal, "hostname", {}, Command(std::format("hostname {}", intent.instance)), {}});
  add_policy(out, intent.policy->safe);
  out.push_back({Block::kRouter, "router-id", {}, Command(std::format("bgp router-id {}", intent.router_id)), {}});
  out.push_back({Block::kRouter,
                 "restart-time",
                 {},
                 Command(std::format("bgp graceful-restart restart-time {}", intent.restart_time.count())),
                 {}});
  if (intent.bmp_port != 0) {
    add_toggle(out, Block::kBmp,
               std::format("bmp connect 127.0.0.1 port {} min-retry 100 max-retry 1000", intent.bmp_port));
    add_toggle(out, Block::kBmp, "bmp monitor ipv4 unicast pre-policy");
    add_toggle(out, Block::kBmp, "bmp monitor ipv6 unicast pre-policy");
  }
  std::set<Prefix> networks;  // two tunnels of a static site have the same
  for (const OriginIntent& origin : intent.origins) networks.insert(origin.prefixes.begin(), origin.prefixes.end());
  for (const Prefix& prefix : networks) {
    add_toggle(out, prefix.family() == Family::kV4 ? Block::kIpv4 : Block::kIpv6, std::format("network {}", prefix));
  }
}

void add_peer(Settings& out, const PeerIntent& p, const routes::PeerPolicy& policy) {
  const std::string name = p.peer.to_string();
  const std::string n = "neighbor " + name;
  const auto add = [&](Block block, std::string_view what, Command on, std::string off) {
    out.push_back({block, std::format("{} {}", name, what), name, std::move(on), std::move(off)});
  };
  add(Block::kRouter, "remote-as", std::format("{} remote-as {}", n, p.remote_asn), "no " + n);
  add(Block::kRouter, "peer-group", std::format("{} peer-group {}", n, kTunnelGroup), {});
  if (p.disabled) add(Block::kRouter, "shutdown", n + " shutdown", std::format("no {} shutdown", n));
  add(Block::kRouter, "description", std::format("{} description {}", n, p.name), {});
  add(Block::kRouter, "update-source", std::format("{} update-source {}", n, p.local), {});
  add(Block::kRouter, "timers", std::format("{} timers {} {}", n, p.keepalive.count(), p.hold.count()), {});
  if (p.multihop > 0) {
    add(Block::kRouter, "ebgp-multihop", std::format("{} ebgp-multihop {}", n, p.multihop),
        std::format("no {} ebgp-multihop", n));
  }
  if (!p.md5.empty()) {
    add(Block::kRouter, "password", Command(n + " password ", p.md5.clone()), std::format("no {} password", n));
  }
  if (!p.graceful_restart) {
    add(Block::kRouter, "graceful-restart-disable", n + " graceful-restart-disable",
        std::format("no {} graceful-restart-disable", n));
  }
  // bgpd 10.3 does not start a session again whose BFD it stopped by `shutdown`: BFD goes and comes with it.
  if (p.bfd && !p.disabled) {
    const auto interval = p.bfd->interval.count();
    add(Block::kRouter, "bfd", std::format("{} bfd {} {} {}", n, p.bfd->multiplier, interval, interval),
        std::format("no {} bfd", n));
  }
  if (policy.max_routes != 0) {
    // At the limit the session goes down and is tried again after 5 minutes; the log warns from 80 % on.
    const std::string limit = std::format("{} maximum-prefix {} 80 restart 5", n, policy.max_routes);
    add(Block::kIpv4, "maximum-prefix", limit, std::format("no {} maximum-prefix", n));
    add(Block::kIpv6, "maximum-prefix", limit, std::format("no {} maximum-prefix", n));
  }
}

Settings settings_of(const BgpIntent& intent) {
  Settings out;
  add_gateway(out, intent);
  for (const PeerIntent& peer : intent.peers) add_peer(out, peer, intent.policy->peer(peer.name));
  return out;
}

/// Commands of each block; blocks without any leave no trace.
class Script {
 public:
  Commands& in(Block block) { return blocks_[block]; }
  Commands finish(std::uint32_t asn) && {
    Commands out = std::move(blocks_[Block::kGlobal]);
    const bool inside = std::ranges::any_of(blocks_, [](const auto& b) { return !b.second.empty(); });
    if (!inside && trailer_.empty()) return out;
    out.emplace_back(std::format("router bgp {}", asn));
    append(out, Block::kRouter, {}, {});
    append(out, Block::kBmp, "bmp targets GW", "exit");
    append(out, Block::kIpv4, "address-family ipv4 unicast", "exit-address-family");
    append(out, Block::kIpv6, "address-family ipv6 unicast", "exit-address-family");
    std::ranges::move(trailer_, std::back_inserter(out));
    out.emplace_back("exit");
    return out;
  }
  /// Inside the router block, after everything else.
  Commands& trailer() { return trailer_; }

 private:
  void append(Commands& out, Block block, std::string open, std::string close) {
    Commands& commands = blocks_[block];
    if (commands.empty()) return;
    if (!open.empty()) out.emplace_back(std::move(open));
    std::ranges::move(commands, std::back_inserter(out));
    if (!close.empty()) out.emplace_back(std::move(close));
  }

  std::map<Block, Commands> blocks_;
  Commands trailer_;
};

using Key = std::pair<Block, std::string_view>;
using Index = std::map<Key, const Setting*>;

Index index_of(const Settings& settings) {
  Index out;
  for (const Setting& s : settings) out.emplace(Key{s.block, s.key}, &s);
  return out;
}

bool same(const Command& a, const Command& b) { return a.text == b.text && a.secret == b.secret; }

std::set<std::string> peers_of(const BgpIntent& intent) {
  std::set<std::string> out;
  for (const PeerIntent& p : intent.peers) out.insert(p.peer.to_string());
  return out;
}

void remove_gone(Script& script, const Settings& before, const Index& after, const std::set<std::string>& peers) {
  for (const Setting& s : before) {
    if (after.contains(Key{s.block, s.key})) continue;
    const bool with_its_peer = !s.peer.empty() && !peers.contains(s.peer);
    // `no neighbor` takes all of a neighbour's settings along.
    if (with_its_peer && !s.key.ends_with(" remote-as")) continue;
    if (!s.off.empty()) script.in(s.block).emplace_back(s.off);
  }
}

void set_changed(Script& script, const Index& before, const Settings& after, const std::set<std::string>& old_peers) {
  for (const Setting& s : after) {
    const auto was = before.find(Key{s.block, s.key});
    if (was != before.end() && same(was->second->on, s.on)) continue;
    script.in(s.block).push_back(s.on.clone());
    // A new neighbour stays down until it is complete.
    if (!s.peer.empty() && !old_peers.contains(s.peer) && s.key.ends_with(" remote-as")) {
      script.in(s.block).emplace_back(std::format("neighbor {} shutdown", s.peer));
    }
  }
}

bool policy_differs(const BgpIntent& before, const BgpIntent& after) {
  Settings a;
  Settings b;
  add_policy(a, before.policy->safe);
  add_policy(b, after.policy->safe);
  return !std::ranges::equal(a, b, [](const Setting& x, const Setting& y) { return same(x.on, y.on); });
}

}  // namespace

Commands render(const BgpIntent& intent) {
  const Settings settings = settings_of(intent);
  Commands out;
  add_lines(out, kGlobalLines);
  const auto add_block = [&](Block block) {
    for (const Setting& s : settings) {
      if (s.block == block) out.push_back(s.on.clone());
    }
  };
  add_block(Block::kGlobal);
  add_lines(out, kRouteMaps);
  out.emplace_back(std::format("router bgp {}", intent.asn));
  add_lines(out, kRouterLines);
  add_group_families(out);
  add_block(Block::kRouter);
  if (intent.bmp_port != 0) {
    out.emplace_back("bmp targets GW");
    add_block(Block::kBmp);
    out.emplace_back("exit");
  }
  for (const Family family : {Family::kV4, Family::kV6}) {
    enter_family(out, family);
    add_block(family == Family::kV4 ? Block::kIpv4 : Block::kIpv6);
    out.emplace_back("exit-address-family");
  }
  out.emplace_back("exit");
  return out;
}

Commands diff(const BgpIntent& before, const BgpIntent& after) {
  if (before.asn != after.asn) {
    Commands out;
    out.emplace_back(std::format("no router bgp {}", before.asn));
    std::ranges::move(render(after), std::back_inserter(out));
    return out;
  }
  const Settings old_settings = settings_of(before);
  const Settings new_settings = settings_of(after);
  const auto old_peers = peers_of(before);
  Script script;
  remove_gone(script, old_settings, index_of(new_settings), peers_of(after));
  set_changed(script, index_of(old_settings), new_settings, old_peers);
  for (const PeerIntent& p : after.peers) {
    const std::string name = p.peer.to_string();
    if (!p.disabled && !old_peers.contains(name)) {
      script.trailer().emplace_back(std::format("no neighbor {} shutdown", name));
    }
  }
  return std::move(script).finish(after.asn);
}

Commands clears(const BgpIntent& before, const BgpIntent& after) {
  Commands out;
  if (before.asn != after.asn || !policy_differs(before, after)) return out;
  out.emplace_back("clear bgp ipv4 unicast * soft in");
  out.emplace_back("clear bgp ipv6 unicast * soft in");
  return out;
}

Secret render_file(const BgpIntent& intent) {
  Commands lines;
  lines.emplace_back("! Written by gwd for the next start of bgpd; changes here are lost.");
  lines.emplace_back("frr defaults traditional");
  std::ranges::move(render(intent), std::back_inserter(lines));
  std::size_t size = 0;
  for (const Command& c : lines) size += c.text.size() + c.secret.size() + 1;
  std::string text;
  text.reserve(size);  // one allocation: wiping it leaves no copy
  for (const Command& c : lines) {
    text += c.text;
    text += c.secret.text();
    text += '\n';
  }
  Secret out(text);
  wipe(text);
  return out;
}

}  // namespace gw::bgp
