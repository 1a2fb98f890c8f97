// What a route becomes when it is learned: the import policy, and the line of it that decided.
//
// In this order, as the route-maps that bgp/ renders have it:
//   1 safe prefixes    no 0/0 unless the peer may, no APIPA or other martian, no VNet prefix, nothing inside the VNet
//   2 the peer's own prefix filter, first match wins; with lines and no match: refused
//   3 AS numbers       no own ASN (loop), no reserved ones (routes/policy.hpp)
//   4 class            the weight of the kind of source; who is not the partner cannot claim a class by community
//   5 rules            by name, first match wins: refuse, or set local preference, weight, MED, communities, prepends
//   6 GRACEFUL_SHUTDOWN (RFC 8326) makes weight and local preference 0: a last resort whatever the rules say
//   7 BLACKHOLE (RFC 7999 3.2) adds NO_EXPORT, as bgpd does by itself
// Local sources (VNet, static sites, spokes) are configuration: only 4 and 5 apply.
// Pure; an Importer is immutable: any thread.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "routes/candidate.hpp"
#include "routes/policy.hpp"

namespace gw::routes {

enum class Action : std::uint8_t { kAccept, kRefuse };

/// Prefixes within `within` whose length is in [shortest, longest]: FRR's "ge" and "le".
struct PrefixRange {
  Prefix within;
  std::uint8_t shortest = 0;
  std::uint8_t longest = 128;
  bool contains(const Prefix& p) const { return p.length() >= shortest && p.length() <= longest && within.contains(p); }
  friend bool operator==(const PrefixRange&, const PrefixRange&) = default;
};

struct FilterLine {
  std::string name;  // "paris-in/10"
  PrefixRange range;
  Action action = Action::kAccept;
  friend bool operator==(const FilterLine&, const FilterLine&) = default;
};

/// Every condition that is there must hold; one without conditions matches all.
struct Match {
  std::optional<SourceKind> kind{};
  std::string site{};
  std::string instance{};
  std::string source{};  // Source::name
  std::vector<PrefixRange> prefixes{};
  std::optional<std::uint32_t> community{};
  std::optional<std::uint32_t> asn_in_path{};
  friend bool operator==(const Match&, const Match&) = default;
};

struct Set {
  std::optional<std::uint32_t> local_preference{};
  std::optional<std::uint16_t> weight{};
  std::optional<std::uint32_t> med{};
  std::vector<std::uint32_t> add_communities{};
  std::uint8_t prepend = 0;  // import: the neighbour's AS once more, this often; export: our own
  friend bool operator==(const Set&, const Set&) = default;
};

/// One line of the operator's `policy:`.
struct Rule {
  std::string name;
  Match match{};
  Action action = Action::kAccept;
  Set set{};
  friend bool operator==(const Rule&, const Rule&) = default;
};

/// The same step of AS paths for every route of a peer.
enum class PrivateAsns : std::uint8_t { kKeep, kRemove };
enum class AsOverride : std::uint8_t { kNo, kYes };
/// Sites see each other's routes unless one of them is isolated.
enum class Isolation : std::uint8_t { kSeesOtherSites, kIsolated };

/// What is special about one BGP session.
struct PeerPolicy {
  DefaultRoute default_route = DefaultRoute::kRefuse;  // learning it
  DefaultRoute advertise_default_route = DefaultRoute::kRefuse;
  std::vector<std::uint32_t> allowed_asns{};  // reserved ones that are fine here: 12076 on the circuit
  std::vector<FilterLine> import_filter{};
  std::vector<FilterLine> export_filter{};
  std::uint32_t max_routes = kDefaultMaxRoutes;  // of a family; 0: no limit
  LimitAction at_limit = LimitAction::kDropSession;
  PrivateAsns private_asns = PrivateAsns::kKeep;  // when advertising
  AsOverride as_override = AsOverride::kNo;       // when advertising
  Isolation isolation = Isolation::kSeesOtherSites;
  friend bool operator==(const PeerPolicy&, const PeerPolicy&) = default;
};

enum class Transit : std::uint8_t { kClosed, kOpen };
enum class Publishing : std::uint8_t { kPublishes, kSilent };

using ClassWeights = std::array<std::uint16_t, kSourceKinds>;  // by SourceKind
/// VNet and spokes: FRR's weight of what it originates. The better of circuit and VPN has 200, the other 100; a static
/// site is VPN like any other (and wins over learned routes as locally originated).
enum class Prefer : std::uint8_t { kCircuit, kVpn };
ClassWeights class_weights(Prefer prefer);

struct Policy {
  ImportPolicy safe{};
  ClassWeights weights = class_weights(Prefer::kCircuit);
  std::vector<Rule> import_rules{};
  std::vector<Rule> export_rules{};
  std::map<std::string, PeerPolicy, std::less<>> peers{};  // by Source::name; absent: the defaults
  Transit transit = Transit::kClosed;                      // circuit <-> VPN
  Publishing vnet = Publishing::kPublishes;                // this pair tells the VNet

  const PeerPolicy& peer(std::string_view name) const;
  friend bool operator==(const Policy&, const Policy&) = default;
};
using PolicyPtr = std::shared_ptr<const Policy>;

// Communities of the gateway's own (65515:1200 to 65515:1219): bgpd has them between import and export, and the partner
// is told them. Nobody else hears them, and nobody else can set them.
bool is_internal_community(std::uint32_t community);
inline constexpr std::uint32_t kFirstInternalCommunity = 65515U << 16 | 1200U;
inline constexpr std::uint32_t kInternalCommunities = 20;
/// Carried to the partner, which gives the route the weight of its original class.
std::uint32_t class_community(SourceKind original);
/// Carried to the partner: other sites are not told.
inline constexpr std::uint32_t kIsolatedCommunity = 65515U << 16 | 1210U;
/// The host route of an endpoint that moves by BGP: for the wan's routers, and for nobody else.
inline constexpr std::uint32_t kEndpointCommunity = 65515U << 16 | 1211U;
/// The class that a route of the partner had at its source; kPartner when it says nothing.
SourceKind original_kind(const Source& source, const Attributes& attributes);

using LineId = std::uint16_t;
// Lines that every policy has; the operator's follow.
inline constexpr LineId kLineAccept = 0;
inline constexpr LineId kLineDefaultRoute = 1;
inline constexpr LineId kLineMartian = 2;
inline constexpr LineId kLineVnetPrefix = 3;
inline constexpr LineId kLineInsideVnet = 4;
inline constexpr LineId kLineOwnAsn = 5;
inline constexpr LineId kLineReservedAsn = 6;
inline constexpr LineId kLineNoFilterMatch = 7;
inline constexpr LineId kLineGracefulShutdown = 8;
inline constexpr LineId kLineLocal = 9;
inline constexpr LineId kLineHeldBack = 10;  // the Rib's, see Rib::set_policy
inline constexpr LineId kFirstOwnLine = 11;

struct ImportVerdict {
  LineId line = kLineAccept;
  Action action = Action::kAccept;
};

/// A Policy made ready to be applied to many routes.
class Importer {
 public:
  explicit Importer(PolicyPtr policy);

  const Policy& policy() const { return *policy_; }
  /// "safe: equal to a VNet prefix", "policy paris-lp", "filter paris-in/10".
  const std::string& line(LineId id) const { return lines_[id]; }
  /// Whether the operator wrote it.
  static bool is_own(LineId id) { return id >= kFirstOwnLine; }

  /// The reference: everything at once. `attributes` become what the route has after policy.
  ImportVerdict apply(const Source& source, const Prefix& prefix, Attributes& attributes) const;

  /// Step 1 alone, for a peer that is not local. Fast: most prefixes need one look at their first byte.
  std::optional<LineId> check_safe(const PeerPolicy& peer, const Prefix& prefix) const;
  /// Whether any of the steps 2 to 7 looks at the prefix for this source; if not, their outcome is the same for all
  /// prefixes with the same attributes, and apply_to_path() has it.
  bool depends_on_prefix(const Source& source) const;
  ImportVerdict apply_to_path(const Source& source, Attributes& attributes) const;

 private:
  struct OwnRule {
    const Rule* rule;
    LineId line;
  };
  ImportVerdict run(const Source& source, const Prefix* prefix, Attributes& attributes) const;
  std::optional<ImportVerdict> run_filter(const Source& source, const PeerPolicy& peer, const Prefix& prefix) const;

  PolicyPtr policy_;
  std::vector<std::string> lines_;
  std::vector<OwnRule> rules_;
  std::map<std::string, LineId, std::less<>> first_filter_line_;  // by peer
  std::bitset<256> suspect_v4_;                                   // first bytes of prefixes that step 1 has to look at
  std::bitset<256> suspect_v6_;
};

}  // namespace gw::routes
