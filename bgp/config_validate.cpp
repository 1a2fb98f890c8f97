// What bgpd would refuse or, worse, accept (it checks almost no AS number). Pure.
#include <algorithm>
#include <format>
#include <iterator>
#include <map>
#include <set>

#include "bgp/config_model.hpp"
#include "bgp/policy_maps.hpp"
#include "bgp/policy_render.hpp"

namespace gw::bgp {
namespace {

using std::chrono::seconds;

constexpr std::size_t kMaxMd5 = 80;   // TCP_MD5SIG_MAXKEYLEN
constexpr seconds kMaxRestart{4095};  // 12 bits, RFC 4724 3
constexpr seconds kMaxTimer{65535};

bool one_word(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

Status check_timers(const PeerIntent& p, std::string_view field) {
  const auto fault = [&](std::string_view what) {
    return fail_field(std::format("{}.hold", field), std::string(what));
  };
  if (p.hold == seconds(0) && p.keepalive == seconds(0)) return {};
  if (p.hold < seconds(3) || p.hold > kMaxTimer) return fault("0, or 3 s to 65535 s (RFC 4271 4.2)");
  if (p.keepalive < seconds(1) || p.keepalive >= p.hold) return fault("longer than the keepalive of at least 1 s");
  return {};
}

bool is_never_an_asn(std::uint32_t asn) {
  return asn == 0 || asn == 23456 || asn == 65535 || asn == 4294967295;  // RFC 7607, 6793, 7300
}

/// The AS number that a peer of this kind may have.
Status check_kind(const BgpIntent& intent, const PeerIntent& p, std::string_view field) {
  const auto refuse = [&](std::string why) { return fail_field(std::format("{}.remote_asn", field), std::move(why)); };
  routes::ImportPolicy asns = intent.policy->safe;
  switch (p.kind) {
    case routes::SourceKind::kVpnTunnel:
    case routes::SourceKind::kBranchVnet:
      std::ranges::copy(intent.policy->peer(p.name).allowed_asns, std::back_inserter(asns.allowed_asns));
      if (const auto why = routes::check_peer_asn(asns, p.remote_asn)) return refuse(*why);
      return {};
    case routes::SourceKind::kCircuit:
    case routes::SourceKind::kVnet:
    case routes::SourceKind::kWan:
      if (p.remote_asn == intent.asn) return refuse(std::format("{} is the gateway's own ASN", p.remote_asn));
      if (is_never_an_asn(p.remote_asn)) return refuse(std::format("{} is reserved", p.remote_asn));
      return {};
    case routes::SourceKind::kPartner:
      if (p.remote_asn == intent.asn) return {};
      return refuse(
          std::format("{} is not the gateway's {}: the pairs and instances are one AS", p.remote_asn, intent.asn));
    case routes::SourceKind::kStaticSite:
    case routes::SourceKind::kSpoke: break;
  }
  return fail_field(std::format("{}.kind", field), "a source without BGP");
}

Status check_peer(const BgpIntent& intent, const PeerIntent& p, std::string_view field) {
  if (!one_word(p.name)) return fail_field(std::format("{}.name", field), "a name without spaces");
  GW_TRY(check_kind(intent, p, field));
  if (p.peer.is_unspecified() || p.peer.is_multicast()) {
    return fail_field(std::format("{}.peer", field), std::format("{} is no address of a router", p.peer));
  }
  if (p.unnumbered && p.device.empty()) return fail_field(std::format("{}.device", field), "unnumbered on which one?");
  if (p.peer == p.local && !p.unnumbered)
    return fail_field(std::format("{}.peer", field), std::format("{} is both ends", p.peer));
  if (p.peer.family() != p.local.family()) {
    return fail_field(std::format("{}.peer", field),
                      std::format("{} and {} are of different families", p.local, p.peer));
  }
  // bgpd takes one word; a key with a blank would end in its log as part of an unknown command.
  if (!p.md5.empty() && (p.md5.size() > kMaxMd5 || !one_word(p.md5.text()))) {
    return fail_field(std::format("{}.md5", field), std::format("at most {} printable characters, no blanks", kMaxMd5));
  }
  if (p.bfd &&
      (p.bfd->interval < std::chrono::milliseconds(50) || p.bfd->interval > seconds(60) || p.bfd->multiplier < 2)) {
    return fail_field(std::format("{}.bfd", field), "an interval of 50 ms to 60 s, a multiplier of 2 to 255");
  }
  return check_timers(p, field);
}

constexpr unsigned kMaxPrepends = 10;  // of bgpd's "prepend last-as"

Status check_rules(const std::vector<routes::Rule>& rules, std::string_view field) {
  if (rules.size() > kMaxRules) return fail_field(std::string(field), std::format("at most {} rules", kMaxRules));
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto fault = [&](std::string_view part, std::string what) {
      return fail_field(std::format("{}[{}].{}", field, i, part), std::move(what));
    };
    const routes::Set& set = rules[i].set;
    const auto ours = [](std::uint32_t community) { return routes::is_internal_community(community); };
    constexpr std::string_view kOurs = "65515:1200 to 65515:1219 are the gateway's own";
    if (rules[i].match.community && ours(*rules[i].match.community)) {
      return fault("match.community", std::string(kOurs));
    }
    if (std::ranges::any_of(set.add_communities, ours)) return fault("set.add_communities", std::string(kOurs));
    if (set.prepend > kMaxPrepends) return fault("set.prepend", std::format("at most {}", kMaxPrepends));
  }
  return {};
}

/// bgpd keeps a site's routes from its other sessions by a number that is made of its name.
Status check_sites(const BgpIntent& intent) {
  std::map<std::string, std::string_view> names;
  for (std::size_t i = 0; i < intent.peers.size(); ++i) {
    const std::string& site = intent.peers[i].site;
    if (site.empty()) continue;
    const auto [it, fresh] = names.try_emplace(site_of_origin(site), site);
    if (!fresh && it->second != site) {
      return fail_field(std::format("peers[{}].site", i),
                        std::format("'{}' and '{}' cannot be told apart in BGP: rename one of them", it->second, site));
    }
  }
  return {};
}

}  // namespace

Status validate(const BgpIntent& intent) {
  if (!one_word(intent.instance)) return fail_field("instance", "a name without spaces");
  if (is_never_an_asn(intent.asn)) {
    return fail_field("asn", std::format("{} is reserved (RFC 7607, 6793, 7300)", intent.asn));
  }
  if (!intent.router_id.is_v4() || intent.router_id.is_unspecified()) {
    return fail_field("router_id", "an IPv4 address");
  }
  if (intent.restart_time < seconds(1) || intent.restart_time > kMaxRestart) {
    return fail_field("restart_time", "1 s to 4095 s (RFC 4724 3)");
  }
  if (const std::uint32_t asn = intent.policy->safe.gateway_asn; asn != intent.asn) {
    return fail_field("policy.safe.gateway_asn", std::format("{} is not the gateway's {}", asn, intent.asn));
  }
  GW_TRY(check_rules(intent.policy->import_rules, "policy.import_rules"));
  GW_TRY(check_rules(intent.policy->export_rules, "policy.export_rules"));
  GW_TRY(check_sites(intent));
  std::set<IpAddress> seen;
  for (std::size_t i = 0; i < intent.peers.size(); ++i) {
    const std::string field = std::format("peers[{}]", i);
    GW_TRY(check_peer(intent, intent.peers[i], field));
    if (!seen.insert(intent.peers[i].peer).second) {
      return fail_field(field + ".peer", std::format("{} is the peer of two sessions", intent.peers[i].peer));
    }
  }
  return {};
}

}  // namespace gw::bgp
