// What a tunnel wants of IKE, in the words of cloud operators, and its rendering to charon's load-conn and
// load-shared messages. Pure, any thread.
//
// Decisions: IKEv2, and IKEv1 main mode for devices that have nothing else (no AES-GCM for its own messages, one pair
// of selectors, no ESN: the renderer refuses or leaves out what it cannot say). gwd initiates and re-initiates itself,
// so charon starts nothing (start_action none, close_action none, dpd_action clear) and gives up after one series of
// retransmissions (keyingtries 1). unique=never: neither INITIAL_CONTACT nor a second SA may cut the one that still
// carries traffic. MOBIKE off: both ends are fixed, and a moved SA is gwd's decision. The CHILD_SA has the tunnel's
// name.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "ike/vici_message.hpp"

namespace gw::ike {

/// When an SA is replaced: rekeying starts at a random time in [rekey - jitter, rekey] after it came up; if that fails
/// until `hard`, the SA is gone.
struct Lifetime {
  std::chrono::seconds rekey;
  std::chrono::seconds jitter;
  std::chrono::seconds hard;
};

/// Cloud names (azure-conventions): {"GCMAES256", "SHA384", "ECP384"}. With GCM the integrity is the PRF.
struct IkeProposal {
  std::string encryption = "GCMAES256";
  std::string integrity = "SHA384";
  std::string dh_group = "ECP384";
};

enum class IkeVersion : std::uint8_t { kV1 = 1, kV2 = 2 };
enum class InitiateMode : std::uint8_t { kDefault, kInitiatorOnly, kResponderOnly };
enum class Encapsulation : std::uint8_t { kAuto, kForceUdp };
enum class Esn : std::uint8_t { kOffer, kNever };

struct IkeEnd {
  IpAddress address;     // on the interface, or the peer's
  std::string identity;  // "203.0.113.10", "ce1.paris.example"; empty: the address
};

struct TunnelIntent {
  std::string name;             // connection, CHILD_SA and log name: "paris-ce1/gw-a"
  std::uint32_t tunnel_id = 0;  // if_id of policies and SAs; not 0
  IkeEnd local;
  IkeEnd remote;
  Secret psk;
  IkeVersion version = IkeVersion::kV2;
  std::vector<IkeProposal> ike_proposals{IkeProposal{}};
  std::vector<std::string> esp_proposals{"aes256gcm16-esn-noesn"};  // strongSwan's words
  Lifetime ike_lifetime{
      .rekey = std::chrono::seconds(28'530), .jitter = std::chrono::seconds(270), .hard = std::chrono::seconds(28'800)};
  Lifetime ipsec_lifetime{
      .rekey = std::chrono::seconds(26'730), .jitter = std::chrono::seconds(270), .hard = std::chrono::seconds(27'000)};
  std::uint64_t ipsec_lifetime_kb = 102'400'000;  // 0: no limit
  std::chrono::seconds dpd_delay{45};
  std::uint32_t replay_window = 1024;  // packets
  InitiateMode initiate = InitiateMode::kDefault;
  Encapsulation encapsulation = Encapsulation::kAuto;
  Esn esn = Esn::kOffer;                 // what esp_proposals say: without it the SA ends by packets, too
  std::uint32_t tfc_padding = 0;         // bytes that smaller packets are padded to; 0: none
  std::vector<Prefix> local_selectors;   // empty: 0.0.0.0/0 and ::/0, with IKEv1 0.0.0.0/0
  std::vector<Prefix> remote_selectors;  // empty: as of local_selectors
};

/// Everything that render_* would refuse; the error names the field as TunnelIntent has it.
Status validate(const TunnelIntent& intent);

/// For `load-conn`.
Result<ViciMessage> render_connection(const TunnelIntent& intent);
/// For `load-shared`. Owners is the remote identity alone (three times faster handshakes); the id in charon is
/// the tunnel's name, so that loading it again replaces it and unload-shared {id} removes it.
Result<ViciMessage> render_secret(const TunnelIntent& intent);
/// For `initiate`. Returns at once; success and failure come as events.
ViciMessage render_initiate(std::string_view tunnel);
/// For `terminate` of the IKE_SA with its CHILD_SAs; returns at once.
ViciMessage render_terminate(std::string_view tunnel);
/// For `rekey` of the CHILD_SA: a new key at once.
ViciMessage render_rekey(std::string_view tunnel);

/// strongSwan's keyword ("aes256gcm16-prfsha384-ecp384"), or which name is unknown and what is known.
Result<std::string> ike_keyword(const IkeProposal& proposal);

/// Settings that charon has only globally (strongswan.conf, section charon), as key and value. Together with a
/// DPD delay they bound how long a dead peer goes unnoticed.
const std::vector<std::pair<std::string_view, std::string_view>>& charon_settings();
/// Silence to IKE_SA down, at most.
std::chrono::milliseconds detection_time(std::chrono::seconds dpd_delay);

}  // namespace gw::ike
