// What is never learned from a peer, and which AS numbers may be used. The same rules are rendered to FRR's
// prefix-lists and AS-path lists by bgp/config_model, so that FRR and gwd agree route by route.
// Numbers follow the clouds (azure-conventions). Pure, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "routes/candidate.hpp"

namespace gw::routes {

enum class DefaultRoute : std::uint8_t { kRefuse, kAllow };

/// Inclusive range of AS numbers.
struct AsnRange {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool contains(std::uint32_t asn) const { return first <= asn && asn <= last; }
};
/// Reserved by the clouds or by IANA: refused for a peer and inside a learned AS path.
const std::vector<AsnRange>& reserved_asns();

/// Never learned from a site, with everything inside them: this-network, loopback, APIPA, multicast and
/// reserved space, IPv6 link-local, multicast and v4-mapped.
const std::vector<Prefix>& martians();

inline constexpr std::uint32_t kDefaultMaxRoutes = 4000;
/// A circuit's routers take so many routes from a gateway, of each family, and end the session above
/// (azure-conventions).
inline constexpr std::uint32_t kToldToCircuit = 1000;

struct ImportPolicy {
  std::uint32_t gateway_asn = 65515;
  std::vector<Prefix> vnet_prefixes{};
  DefaultRoute default_route = DefaultRoute::kRefuse;
  std::vector<std::uint32_t> allowed_asns{};  // reserved ones that are fine here (the partner pair's)
  friend bool operator==(const ImportPolicy&, const ImportPolicy&) = default;
};

enum class Refusal : std::uint8_t {
  kDefaultRoute,
  kMartian,
  kVnetPrefix,  // equal to a VNet prefix: the cloud filters it silently
  kInsideVnet,  // more specific than a VNet prefix: it would take VNet traffic away
  kOwnAsn,      // loop (RFC 4271 9.1.2)
  kReservedAsn,
};
/// A sentence for an operator, without the prefix.
std::string_view to_string(Refusal refusal);

/// The part of check_import() that looks at the prefix alone; the default route is not its business.
std::optional<Refusal> check_prefix(const ImportPolicy& policy, const Prefix& prefix);
bool is_reserved(const ImportPolicy& policy, std::uint32_t asn);

/// Whether a route may be learned from a VPN site; absent: accepted.
std::optional<Refusal> check_import(const ImportPolicy& policy, const Prefix& prefix, const AsPath& path);

/// Whether an AS number may be configured for a VPN site's router; the reason when not.
std::optional<std::string> check_peer_asn(const ImportPolicy& policy, std::uint32_t asn);

enum class LimitState : std::uint8_t { kOk, kNear, kReached };
/// What bgpd does at the limit: log it, or end the session.
enum class LimitAction : std::uint8_t { kWarn, kDropSession };
/// kNear from 80 % on (fault RouteLimitNear). A maximum of 0 is "no limit". `routes`: of one family, as bgpd counts.
LimitState check_limit(std::size_t routes, std::uint32_t maximum);

}  // namespace gw::routes
