// What this gateway wants of bgpd, and its rendering: the whole configuration as commands, the smallest
// difference between two intents, and the complete file that bgpd starts with (a graceful restart needs
// it complete: an incomplete one costs every route). Pure, any thread. Settings: frr-findings.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "bgp/vty_protocol.hpp"
#include "routes/import.hpp"

namespace gw::bgp {

struct BfdIntent {
  std::chrono::milliseconds interval{100};  // 50 ms to 60 s, both ways
  std::uint8_t multiplier = 3;              // 2 to 255
  friend bool operator==(const BfdIntent&, const BfdIntent&) = default;
};

/// One session. What the policy says of it stands under its name: filters, limits, AS numbers, isolation.
struct PeerIntent {
  std::string name;  // routes::Source::name, "paris-ce1/gw-a", "er1-primary/gw-a": description, and in error messages
  /// kVpnTunnel, kBranchVnet, kCircuit, kVnet (a VNet router), kPartner (iBGP: the other instance, the other pair) or
  /// kWan (endpoint_routes.hpp).
  routes::SourceKind kind = routes::SourceKind::kVpnTunnel;
  std::string site;    // "paris"; empty: not a site's
  std::string device;  // the tunnel's TUN device; empty: not over a tunnel of its own
  IpAddress local;     // 169.254.21.1
  IpAddress peer;      // 169.254.21.2; the key. Of an unnumbered session: `local` once more
  /// Over link-local addresses (RFC 4291 2.5.6): bgpd's neighbour is `device`, which learns its peer's address from
  /// router advertisements; `local` is this side's and no other device's, so it names the session.
  bool unnumbered = false;
  std::uint8_t multihop = 0;  // hops to the peer of an eBGP session, a loopback behind the site; 0: on link
  std::uint32_t remote_asn = 0;
  std::chrono::seconds keepalive{60};
  std::chrono::seconds hold{180};
  Secret md5;  // RFC 2385; empty: none
  bool graceful_restart = true;
  /// Not rendered: bfd_model's, for peers that answer it.
  std::optional<BfdIntent> bfd;
  bool disabled = false;  // configured, held down
  /// What it is told is a last resort (RFC 8326): its tunnel is about to move to the other instance.
  bool graceful_shutdown = false;
  friend bool operator==(const PeerIntent&, const PeerIntent&) = default;
};
/// As bgpd calls it: "169.254.21.2", "tun7".
std::string neighbour_name(const PeerIntent& peer);

/// What bgpd originates for one of the gateway's own sources: the VNet, a spoke, a static site.
struct OriginIntent {
  routes::Source source;  // as in the Rib: kind, name, site
  std::vector<Prefix> prefixes;
  std::vector<std::uint32_t> communities{};  // that the routes are told with, beside their class
  std::vector<std::uint32_t> as_path{};      // as if a session had told them: theirs may be compared with others
};

/// One that moves by BGP: the wan's routers may be told it.
struct EndpointIntent {
  IpAddress address;
  /// As it is announced by this instance; empty: it is not. In the file that bgpd starts with; while bgpd runs,
  /// announce() and withdraw() say so.
  std::optional<std::uint32_t> med{};
  friend bool operator==(const EndpointIntent&, const EndpointIntent&) = default;
};

struct BgpIntent {
  std::string instance;  // "gw-a": hostname, and in the log
  std::uint32_t asn = 65515;
  IpAddress router_id;  // IPv4
  std::vector<PeerIntent> peers;
  std::vector<OriginIntent> origins;
  std::vector<EndpointIntent> endpoints;
  /// The one that routes::Rib judges by; rendered to route-maps and lists. Never null.
  routes::PolicyPtr policy = std::make_shared<const routes::Policy>();
  std::chrono::seconds restart_time{120};  // how long peers keep our routes (RFC 4724); at most 4095 s
  std::uint16_t bmp_port = 0;              // loopback port of gwd's BmpServer; 0: no BMP
  /// Every session is told that this instance's routes are a last resort (RFC 8326): it is about to stop.
  bool graceful_shutdown = false;
};

/// Everything that would make bgpd refuse or, worse, accept: reserved ASNs, doubled peers, timers.
/// The error names the field: "peers[2].remote_asn".
Status validate(const BgpIntent& intent);

/// The whole configuration, for configure() on a daemon in any state of an earlier intent's `asn`.
/// Applying it again changes nothing and flaps nothing.
Commands render(const BgpIntent& intent);
/// What leads from `before` to `after`; an unchanged neighbour gets no command. Empty: nothing to do.
Commands diff(const BgpIntent& before, const BgpIntent& after);
/// Of several route-maps and lists, which cost bgpd far less so; one command needs none.
Commands in_transaction(Commands commands);
/// Whether these commands make bgpd judge routes anew that it has.
bool changes_import(const Commands& commands);
/// bgpd 10.3 forgets a route that comes, goes or changes while it judges its routes anew: the route stays "unsorted" as
/// it was, and neither a soft clear nor the same UPDATE again moves it (fixed upstream in June 2025, "Soft-reconfig
/// should not completely stall bestpath processing"). These commands make it choose all best paths again; they change
/// nothing.
Commands choose_again(const BgpIntent& intent);

/// bgpd's -f file; holds md5 secrets: write it 0640 frr:frr.
Secret render_file(const BgpIntent& intent);

}  // namespace gw::bgp
