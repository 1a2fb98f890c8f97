#include "bgp/settings.hpp"

#include <array>
#include <format>
#include <tuple>
#include <utility>

#include "bgp/peer_groups.hpp"

namespace gw::bgp {
namespace {

using routes::SourceKind;

constexpr std::array kFamilies{Family::kV4, Family::kV6};

Block block_of(Family family) { return family == Family::kV4 ? Block::kIpv4 : Block::kIpv6; }

void add_toggle(Settings& out, Block block, std::string line) {
  std::string off = "no " + line;
  out.push_back({block, line, {}, Command(line), std::move(off)});
}

/// Settings of one neighbour or group.
class Builder {
 public:
  Builder(Settings& out, std::string owner) : out_(out), owner_(std::move(owner)), start_("neighbor " + owner_) {}
  /// `what` follows the name: "shutdown".
  void toggle(Block block, std::string_view what) {
    add(block, what, Command(std::format("{} {}", start_, what)), std::format("no {} {}", start_, what));
  }
  /// `value` follows `what`, which alone removes it.
  void value(Block block, std::string_view what, std::string_view value) {
    add(block, what, Command(std::format("{} {} {}", start_, what, value)), std::format("no {} {}", start_, what));
  }
  /// It goes with its owner only.
  void fixed(Block block, std::string_view what, std::string_view value) {
    add(block, what, Command(std::format("{} {}{}{}", start_, what, value.empty() ? "" : " ", value)), {});
  }
  void add(Block block, std::string_view what, Command on, std::string off) {
    out_.push_back({block, std::format("{} {}", owner_, what), owner_, std::move(on), std::move(off)});
  }
  const std::string& start() const { return start_; }

 private:
  Settings& out_;
  std::string owner_;
  std::string start_;
};

void add_route_map(Builder& to, Family family, std::string_view name, std::string_view direction) {
  const std::string on = std::format("{} route-map {} {}", to.start(), name, direction);
  to.add(block_of(family), std::format("route-map {}", direction), Command(on), "no " + on);
}

/// Where they are not the group's.
void add_own_maps(Builder& to, const SessionMaps& maps, const SessionMaps& groups) {
  for (const Family family : kFamilies) {
    const auto i = std::to_underlying(family);
    if (maps.in[i] != groups.in[i]) add_route_map(to, family, maps.in[i], "in");
    if (maps.out[i] != groups.out[i]) add_route_map(to, family, maps.out[i], "out");
  }
}

void add_session(Builder& to, const PeerIntent& p) {
  const std::string how = p.unnumbered ? "interface v6only remote-as" : "remote-as";
  to.add(Block::kRouter, "remote-as", std::format("{} {} {}", to.start(), how, p.remote_asn), "no " + to.start());
  to.fixed(Block::kRouter, "peer-group", group_name(p.kind));
  if (p.disabled) to.toggle(Block::kRouter, "shutdown");
  to.fixed(Block::kRouter, "description", p.name);
  if (!p.unnumbered) to.fixed(Block::kRouter, "update-source", p.local.to_string());
  to.fixed(Block::kRouter, "timers", std::format("{} {}", p.keepalive.count(), p.hold.count()));
  if (p.multihop > 0) to.value(Block::kRouter, "ebgp-multihop", std::format("{}", p.multihop));
  if (!p.md5.empty()) {
    to.add(Block::kRouter, "password", Command(to.start() + " password ", p.md5.clone()),
           std::format("no {} password", to.start()));
  }
  if (!p.graceful_restart) to.toggle(Block::kRouter, "graceful-restart-disable");
}

void add_peer_policy(Builder& to, const PeerIntent& p, const routes::PeerPolicy& policy) {
  const bool override = policy.as_override == routes::AsOverride::kYes;
  // Not the group's: a neighbour cannot take back a flag that its group has. With as-override the peer's own AS is no
  // loop; the site of origin is what keeps its routes from it.
  if (p.kind != SourceKind::kPartner && !override) to.toggle(Block::kRouter, "sender-as-path-loop-detection");
  for (const Family family : kFamilies) {
    const Block block = block_of(family);
    if (!p.site.empty()) to.value(block, "soo", site_of_origin(p.site));
    if (override) to.toggle(block, "as-override");
    if (policy.private_asns == routes::PrivateAsns::kRemove) to.toggle(block, "remove-private-AS all");
    if (policy.max_routes == 0) continue;
    // At the limit the session goes down and is tried again after 5 minutes, or nothing but the log tells; from 80 % on
    // the log warns in any case.
    const bool warn = policy.at_limit == routes::LimitAction::kWarn;
    to.value(block, "maximum-prefix", std::format("{} 80 {}", policy.max_routes, warn ? "warning-only" : "restart 5"));
  }
}

}  // namespace

Settings gateway_settings(const BgpIntent& intent, const PolicyRender& policy) {
  Settings out;
  out.push_back({Block::kGlobal, "hostname", {}, Command(std::format("hostname {}", intent.instance)), {}});
  out.push_back({Block::kRouter, "router-id", {}, Command(std::format("bgp router-id {}", intent.router_id)), {}});
  out.push_back({Block::kRouter,
                 "restart-time",
                 {},
                 Command(std::format("bgp graceful-restart restart-time {}", intent.restart_time.count())),
                 {}});
  // Said either way: a gwd that was started anew finds what the last one had left.
  out.push_back({Block::kRouter,
                 "graceful-shutdown",
                 {},
                 Command(intent.graceful_shutdown ? "bgp graceful-shutdown" : "no bgp graceful-shutdown"),
                 {}});
  if (intent.bmp_port != 0) {
    add_toggle(out, Block::kBmp,
               std::format("bmp connect 127.0.0.1 port {} min-retry 100 max-retry 1000", intent.bmp_port));
    add_toggle(out, Block::kBmp, "bmp monitor ipv4 unicast pre-policy");
    add_toggle(out, Block::kBmp, "bmp monitor ipv6 unicast pre-policy");
  }
  for (const auto& [prefix, map] : policy.networks()) {
    const std::string line = std::format("network {}", prefix);
    out.push_back(
        {block_of(prefix.family()), line, {}, Command(std::format("{} route-map {}", line, map)), "no " + line});
  }
  return out;
}

Settings group_settings(SourceKind kind, const SessionMaps& maps) {
  Settings out;
  Builder to(out, group_name(kind));
  to.toggle(Block::kRouter, "peer-group");
  to.fixed(Block::kRouter, "timers connect", "1");  // default 120 s
  to.fixed(Block::kRouter, "advertisement-interval", "0");
  // RFC 8950, for IPv4 routes over an IPv6 session in a tunnel.
  if (kind == SourceKind::kVpnTunnel || kind == SourceKind::kBranchVnet) {
    to.fixed(Block::kRouter, "capability extended-nexthop", {});
  }
  for (const Family family : kFamilies) {
    const Block block = block_of(family);
    to.fixed(block, "activate", {});
    // BMP pre-policy needs it. On the wan nothing is learned: what a provider says is not even kept.
    if (kind != SourceKind::kWan) to.fixed(block, "soft-reconfiguration inbound", {});
    // Only the VNet's routers are told a next hop that is not this instance: the partner's own address.
    if (kind != SourceKind::kVnet) to.fixed(block, "next-hop-self", {});
    // Sites of origin are our own business.
    to.add(block, "send-community", Command(std::format("no {} send-community extended", to.start())), {});
    const auto i = std::to_underlying(family);
    add_route_map(to, family, maps.in[i], "in");
    add_route_map(to, family, maps.out[i], "out");
  }
  return out;
}

Settings neighbour_settings(const Neighbour& n) {
  Settings out;
  Builder to(out, neighbour_name(*n.intent));
  add_session(to, *n.intent);
  add_peer_policy(to, *n.intent, *n.policy);
  add_own_maps(to, *n.maps, *n.groups);
  return out;
}

bool same_settings(const Neighbour& a, const Neighbour& b) {
  const auto limits = [](const routes::PeerPolicy& p) {
    return std::tuple(p.max_routes, p.at_limit, p.private_asns, p.as_override);
  };
  const auto own = [](const Neighbour& n) { return *n.maps == *n.groups ? SessionMaps{} : *n.maps; };
  return *a.intent == *b.intent && limits(*a.policy) == limits(*b.policy) && own(a) == own(b);
}

}  // namespace gw::bgp
