// What makes two instances one gateway: who they are to each other, which endpoints there are and how each moves,
// who may take over. Part of the GatewayModel; the same on both instances but for `self`. A value; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "gw/config/v1/config.pb.h"

namespace gw::config {

enum class HaMode : std::uint8_t { kActiveActive, kActiveStandby };
enum class MoveBy : std::uint8_t { kGarp, kHook, kBgp };
std::string_view to_string(MoveBy move);  // the document's word
enum class LeaseKind : std::uint8_t { kEmbedded, kEtcd };
enum class Failback : std::uint8_t { kAuto, kManual };

/// An instance's number: its place in gateway.instances, and what gw-fastpath's --instance says.
using InstanceNumber = std::uint32_t;

struct HaInstance {
  std::string name;
  std::vector<IpAddress> sync;  // one or two; the n-th path goes from one's n-th to the other's n-th
  std::optional<IpAddress> vnet_address;
  friend bool operator==(const HaInstance&, const HaInstance&) = default;
};

struct HaEndpoint {
  IpAddress address;
  std::optional<IpAddress> public_address;
  InstanceNumber home = 0;  // whose it is while all is well (active-active)
  MoveBy move = MoveBy::kGarp;
  std::string hook;  // absolute path; kHook only
  friend bool operator==(const HaEndpoint&, const HaEndpoint&) = default;
};

struct EtcdModel {
  std::vector<std::string> endpoints;  // "https://192.0.2.1:2379"
  std::string ca_file;                 // absolute paths; empty: none
  std::string cert_file;
  std::string key_file;
  std::chrono::seconds ttl{};
  friend bool operator==(const EtcdModel&, const EtcdModel&) = default;
};

struct HaModel {
  InstanceNumber self = 0;
  std::vector<HaInstance> instances;  // by number, this one included
  std::vector<HaEndpoint> endpoints;  // of all instances, in the document's order
  HaMode mode = HaMode::kActiveActive;
  InstanceNumber preferred = 0;  // kActiveStandby
  LeaseKind lease = LeaseKind::kEmbedded;
  EtcdModel etcd;  // kEtcd
  Failback failback = Failback::kAuto;
  std::chrono::milliseconds failback_delay{};
  std::chrono::milliseconds heartbeat{};
  std::uint32_t multiplier = 0;
  std::chrono::milliseconds hook_timeout{};
  std::uint16_t port = 0;  // TCP between sync addresses, UDP between VNet addresses
  std::string tls_dir;     // absolute: ca.crt, <instance>.crt, <instance>.key

  /// The other one. There are two instances.
  InstanceNumber peer() const { return self == 0 ? 1 : 0; }
  friend bool operator==(const HaModel&, const HaModel&) = default;
};

/// At 50 ms x 3 a dead instance is noticed after 150 ms; less is at the mercy of the scheduler (findings/ike.md).
inline constexpr std::chrono::milliseconds kDefaultHeartbeat{50};
inline constexpr std::uint32_t kDefaultMultiplier = 3;

/// About how long a takeover lasts (embedded lease): the silence that it waits for, and what it takes to decide, to
/// switch and to be heard. 350 ms at 50 ms x 3: docs/ha.md, "Times".
constexpr std::chrono::milliseconds takeover_time(std::chrono::milliseconds heartbeat, std::uint32_t multiplier) {
  return heartbeat * multiplier + std::chrono::milliseconds(200);
}
/// BFD that waits at least so long does not end a session whose endpoint is taken over.
constexpr std::chrono::milliseconds patient_bfd(std::chrono::milliseconds takeover) { return 2 * takeover; }

/// For whom the model is, and what paths are relative to.
struct HaResolve {
  const std::string& instance;
  const std::string& base_dir;
};

/// Nothing if the instances have no `sync`. `gateway` has passed check_ha().
Result<std::optional<HaModel>> resolve_ha(const v1::Gateway& gateway, const HaResolve& options);

}  // namespace gw::config
