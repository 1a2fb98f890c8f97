// The resolved, typed intent for one instance: what gwd brings about. Profiles and defaults are resolved,
// addresses parsed, identifiers allocated, secrets read. Equal models need no action, and an unchanged
// TunnelModel is an unchanged tunnel. A value: owned by whoever made it; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "gw/config/v1/config.pb.h"
#include "gwd/config/finding.hpp"
#include "gwd/config/ha_model.hpp"
#include "gwd/config/outer.hpp"
#include "gwd/config/rates.hpp"
#include "routes/import.hpp"

namespace gw::config {

/// When a SA is replaced: rekeying starts at a random time in [rekey - jitter, rekey] after it came up; if
/// rekeying fails until `hard`, the SA is gone. VICI: rekey_time, rand_time, life_time.
struct RekeyTimes {
  std::chrono::seconds rekey{};
  std::chrono::seconds jitter{};
  std::chrono::seconds hard{};
  friend bool operator==(const RekeyTimes&, const RekeyTimes&) = default;
};

/// Cloud names as the operator writes them, and the same as strongSwan's proposal strings.
struct IkeSettings {
  std::uint32_t version = 2;           // 1: main mode
  std::string encryption;              // "GCMAES256"
  std::string integrity;               // "SHA384"
  std::string dh_group;                // "ECP384"
  std::vector<std::string> proposals;  // "aes256gcm16-prfsha384-ecp384"
  RekeyTimes times;
  friend bool operator==(const IkeSettings&, const IkeSettings&) = default;
};

struct EspSettings {
  std::vector<std::string> proposals;  // "aes256gcm16-ecp384-esn-noesn"
  RekeyTimes times;
  std::uint64_t rekey_bytes = 0;  // soft byte lifetime; `hard_bytes` is the configured one
  std::uint64_t hard_bytes = 0;
  std::uint32_t replay_window = 0;  // packets
  std::uint32_t tfc_padding = 0;    // bytes; 0: none
  bool esn = true;
  friend bool operator==(const EspSettings&, const EspSettings&) = default;
};

/// How soon a dead path is noticed: after `interval` times `multiplier` (RFC 5880 6.8.4).
struct BfdSettings {
  std::chrono::milliseconds interval{};
  std::uint8_t multiplier = 0;
  friend bool operator==(const BfdSettings&, const BfdSettings&) = default;
};

struct BgpSettings {
  IpAddress local;  // ours, on the tunnel device
  IpAddress peer;
  std::uint32_t peer_asn = 0;
  std::chrono::seconds keepalive{};
  std::chrono::seconds hold{};
  SharedSecret md5;             // empty: none
  bool md5_unreadable = false;  // see TunnelModel::fault
  bool graceful_restart = true;
  std::uint32_t max_routes = 0;
  std::optional<BfdSettings> bfd;  // none: BGP's timers only
  std::uint8_t multihop = 0;       // hops to the peer; 0: it is at the other end of the link
  /// Over link-local addresses: `local` is ours on the tunnel's device, the same on no other; the peer's is learned,
  /// and `peer` is `local` once more, as the session's key.
  bool unnumbered = false;
  friend bool operator==(const BgpSettings&, const BgpSettings&) = default;
};

enum class Initiate : std::uint8_t { kDefault, kInitiatorOnly, kResponderOnly };

struct TunnelModel {
  std::string name;                                          // "paris-ce1/gw-a"
  std::string connection;                                    // "paris-ce1"
  std::string home;                                          // the instance that its endpoint belongs to: "gw-a"
  std::string carrier;                                       // the instance that has the endpoint now; empty: none
  std::string site;                                          // "paris"
  std::string site_device;                                   // "ce1"
  routes::SourceKind kind = routes::SourceKind::kVpnTunnel;  // or kBranchVnet
  std::uint32_t tunnel_id = 0;                               // 1..2^24-1: if_id of the SAs; stable, see allocate.hpp
  std::string device;                                        // TUN device, "tun" + tunnel_id: at most 11 characters
  IpAddress local;                                           // endpoint address on the wan interface
  IpAddress remote;
  std::string local_identity;  // the public address where a 1:1 NAT is in front
  std::string remote_identity;
  SharedSecret psk;
  IkeSettings ike;
  EspSettings esp;
  std::chrono::seconds dpd_delay{};
  Initiate initiate = Initiate::kDefault;
  v1::Encapsulation encapsulation = v1::ENCAPSULATION_AUTO;
  bool disabled = false;
  std::string fault;      // why a secret could not be read (UnreadableSecrets::kFaultTunnel); empty: none
  std::uint32_t mtu = 0;  // inner
  std::uint32_t mss = 0;
  bool fragment = false;  // IPv4 without DF that is too big
  OuterSettings outer;
  RateSettings rates;
  std::vector<Prefix> static_prefixes;  // the site's
  std::optional<BgpSettings> bgp;
  friend bool operator==(const TunnelModel&, const TunnelModel&) = default;
};

struct WanEndpoint {
  IpAddress address;
  std::optional<IpAddress> public_address;
  friend bool operator==(const WanEndpoint&, const WanEndpoint&) = default;
};

/// A BGP session that is not a tunnel's.
struct SessionModel {
  std::string name;  // "er1-primary/gw-a", "vnet:rs1/gw-a", "wan:edge1/gw-a", "instance:gw-b", "partner:10.0.0.6"
  routes::SourceKind kind = routes::SourceKind::kCircuit;  // or kVnet (a router), kWan (a router), kPartner
  std::string circuit;                                     // "er1"; empty: none
  std::string interface;                                   // the peer is on link there
  BgpSettings bgp;
  std::string fault;  // as TunnelModel::fault
  friend bool operator==(const SessionModel&, const SessionModel&) = default;
};

struct SpokeModel {
  std::string name;
  std::vector<Prefix> prefixes;
  friend bool operator==(const SpokeModel&, const SpokeModel&) = default;
};

struct GatewayModel {
  std::string gateway;
  std::string instance;
  std::uint32_t asn = 0;
  IpAddress router_id;
  std::string wan_interface;
  std::vector<WanEndpoint> endpoints;
  std::string vnet_interface;
  std::vector<Prefix> vnet_prefixes;
  std::vector<IpAddress> vnet_next_hops;  // for VNet prefixes that are not on link; one of a family
  std::optional<IpAddress> vnet_address;  // this instance's own; set if there are sessions on the VNet
  std::vector<SpokeModel> spokes;         // with gateway transit only
  std::string circuit_interface;          // empty: none
  std::vector<InterfaceAddress> circuit_addresses;
  std::vector<SessionModel> sessions;
  routes::Policy policy;
  std::string sku;              // "VpnGw3"
  RateSettings rates;           // of all tunnels together
  std::string metrics_address;  // "127.0.0.1"
  std::uint16_t metrics_port = 0;
  std::vector<TunnelModel> tunnels;  // by connection, in the document's order; disabled ones included
  std::optional<HaModel> ha;         // there is another instance that takes over from this one
  // With `ha`: the tunnels of endpoints that are with it now. They are prepared
  // here (in gw-fastpath and charon), and nothing is sent by them.
  std::vector<TunnelModel> elsewhere;

  const TunnelModel* find_tunnel(std::string_view name) const;
  friend bool operator==(const GatewayModel&, const GatewayModel&) = default;
};

/// Rates of the document that the wan link of this speed cannot carry; none if the speed is 0. `model` is what the
/// document means here. Without a file and a place in it.
Findings rates_beyond(const v1::Config& config, const GatewayModel& model, std::uint64_t wan_bps);

/// Whom BGP on the wan is with (wan.routers), sorted, each once.
std::vector<IpAddress> wan_routers(const GatewayModel& model);

/// Which instance (by name) carries an endpoint now; an absent one has nobody.
using Carriers = std::map<IpAddress, std::string>;
/// The same document with the endpoints there: tunnels are carried where their endpoint is.
GatewayModel carried_model(const GatewayModel& model, const Carriers& carriers);

/// kFaultTunnel is for going on with what was running: one lost file must not take the other tunnels down.
enum class UnreadableSecrets : std::uint8_t { kRefuse, kFaultTunnel };

struct ResolveOptions {
  std::string instance;  // whose model; empty: the only one of a document with one instance
  std::string base_dir = "/etc/gw";
  UnreadableSecrets secrets = UnreadableSecrets::kRefuse;
};

/// `config` must have passed validate(); reads the secret files again.
/// Errors: kNotFound when the document has no such instance, those of read_secret_file().
Result<GatewayModel> resolve(const v1::Config& config, const ResolveOptions& options);

}  // namespace gw::config
