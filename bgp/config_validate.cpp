// What bgpd would refuse or, worse, accept (it checks almost no AS number). Pure.
#include <algorithm>
#include <format>
#include <set>

#include "bgp/config_model.hpp"

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

Status check_peer(const BgpIntent& intent, const PeerIntent& p, std::string_view field) {
  if (!one_word(p.tunnel)) return fail_field(std::format("{}.tunnel", field), "a name without spaces");
  if (const auto why = routes::check_peer_asn(intent.import, p.remote_asn)) {
    return fail_field(std::format("{}.remote_asn", field), *why);
  }
  if (p.peer.is_unspecified() || p.peer.is_multicast()) {
    return fail_field(std::format("{}.peer", field), std::format("{} is no address of a router", p.peer));
  }
  if (p.peer == p.local) return fail_field(std::format("{}.peer", field), std::format("{} is both ends", p.peer));
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

}  // namespace

Status validate(const BgpIntent& intent) {
  if (!one_word(intent.instance)) return fail_field("instance", "a name without spaces");
  if (intent.asn == 0 || intent.asn == 23456 || intent.asn == 65535 || intent.asn == 4294967295) {
    return fail_field("asn", std::format("{} is reserved (RFC 7607, 6793, 7300)", intent.asn));
  }
  if (!intent.router_id.is_v4() || intent.router_id.is_unspecified()) {
    return fail_field("router_id", "an IPv4 address");
  }
  if (intent.restart_time < seconds(1) || intent.restart_time > kMaxRestart) {
    return fail_field("restart_time", "1 s to 4095 s (RFC 4724 3)");
  }
  if (intent.import.gateway_asn != intent.asn) {
    return fail_field("import.gateway_asn",
                      std::format("{} is not the gateway's {}", intent.import.gateway_asn, intent.asn));
  }
  std::set<IpAddress> seen;
  for (std::size_t i = 0; i < intent.peers.size(); ++i) {
    const std::string field = std::format("peers[{}]", i);
    GW_TRY(check_peer(intent, intent.peers[i], field));
    if (!seen.insert(intent.peers[i].peer).second) {
      return fail_field(field + ".peer", std::format("{} is the peer of two tunnels", intent.peers[i].peer));
    }
  }
  return {};
}

}  // namespace gw::bgp
