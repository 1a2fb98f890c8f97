#include "routes/import.hpp"

#include <algorithm>
#include <format>
#include <utility>

namespace gw::routes {
namespace {

constexpr std::uint16_t kLocalWeight = 32768;  // FRR's, of what it originates

bool is_local(const Source& source) { return source.type == PeerType::kLocal; }

bool match_source(const Match& m, const Source& s) {
  return (!m.kind || *m.kind == s.kind) && (m.site.empty() || m.site == s.site) &&
         (m.instance.empty() || m.instance == s.instance) && (m.source.empty() || m.source == s.name);
}

bool match_attributes(const Match& m, const Attributes& a) {
  return (!m.community || a.has_community(*m.community)) && (!m.asn_in_path || a.as_path.contains(*m.asn_in_path));
}

/// Without a prefix, a rule that asks for one does not match.
bool match_prefix(const Match& m, const Prefix* prefix) {
  if (m.prefixes.empty()) return true;
  return prefix != nullptr &&
         std::ranges::any_of(m.prefixes, [&](const PrefixRange& r) { return r.contains(*prefix); });
}

constexpr std::uint32_t kCircuitAsn = 12076;

std::optional<LineId> check_path(const ImportPolicy& safe, const PeerPolicy& peer, const Source& source,
                                 const AsPath& path) {
  if (path.contains(safe.gateway_asn)) return kLineOwnAsn;
  if (source.kind == SourceKind::kPartner) return std::nullopt;  // it has checked what it learned
  for (const AsSegment& segment : path.segments()) {
    for (const std::uint32_t asn : segment.asns) {
      const bool circuits_own = asn == kCircuitAsn && source.kind == SourceKind::kCircuit;
      if (is_reserved(safe, asn) && !circuits_own && !std::ranges::contains(peer.allowed_asns, asn)) {
        return kLineReservedAsn;
      }
    }
  }
  return std::nullopt;
}

LineId line_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::kDefaultRoute: return kLineDefaultRoute;
    case Refusal::kMartian: return kLineMartian;
    case Refusal::kVnetPrefix: return kLineVnetPrefix;
    case Refusal::kInsideVnet: return kLineInsideVnet;
    case Refusal::kOwnAsn: return kLineOwnAsn;
    case Refusal::kReservedAsn: return kLineReservedAsn;
  }
  return kLineAccept;
}

void apply_set(const Set& set, Attributes& a) {
  if (set.local_preference) a.local_preference = set.local_preference;
  if (set.weight) a.weight = *set.weight;
  if (set.med) a.med = set.med;
  for (const std::uint32_t community : set.add_communities) {
    if (!a.has_community(community)) a.communities.push_back(community);
  }
  if (set.prepend > 0 && a.as_path.neighbour_as() != 0) {
    a.as_path = a.as_path.prepended(a.as_path.neighbour_as(), set.prepend);
  }
}

}  // namespace

ClassWeights class_weights(Prefer prefer) {
  const std::uint16_t circuit = prefer == Prefer::kCircuit ? 200 : 100;
  const std::uint16_t vpn = prefer == Prefer::kCircuit ? 100 : 200;
  ClassWeights w{};
  w[std::to_underlying(SourceKind::kVnet)] = kLocalWeight;
  w[std::to_underlying(SourceKind::kSpoke)] = kLocalWeight;
  w[std::to_underlying(SourceKind::kStaticSite)] = vpn;
  w[std::to_underlying(SourceKind::kCircuit)] = circuit;
  w[std::to_underlying(SourceKind::kVpnTunnel)] = vpn;
  w[std::to_underlying(SourceKind::kBranchVnet)] = vpn;
  w[std::to_underlying(SourceKind::kPartner)] = 0;  // a route whose class is not known
  return w;
}

bool is_internal_community(std::uint32_t community) {
  return community >= kFirstInternalCommunity && community < kFirstInternalCommunity + kInternalCommunities;
}

std::uint32_t class_community(SourceKind original) { return kFirstInternalCommunity + std::to_underlying(original); }

SourceKind original_kind(const Source& source, const Attributes& attributes) {
  if (source.kind != SourceKind::kPartner) return source.kind;
  for (std::size_t kind = 0; kind < kSourceKinds; ++kind) {
    if (attributes.has_community(class_community(static_cast<SourceKind>(kind)))) return static_cast<SourceKind>(kind);
  }
  return SourceKind::kPartner;
}

const PeerPolicy& Policy::peer(std::string_view name) const {
  static const PeerPolicy kDefaults{};
  const auto it = peers.find(name);
  return it == peers.end() ? kDefaults : it->second;
}

Importer::Importer(PolicyPtr policy) : policy_(std::move(policy)) {
  lines_ = {"accepted: nothing speaks against it",
            "safe prefixes: a default route is not accepted from this peer",
            "safe prefixes: not a network that can be routed (loopback, link-local, multicast, reserved)",
            "safe prefixes: equal to a VNet prefix",
            "safe prefixes: more specific than a VNet prefix",
            "AS numbers: the gateway's own AS is in the path (loop)",
            "AS numbers: a reserved AS is in the path",
            "filter: no line of the peer's import filter matches",
            "graceful shutdown: the peer asked to use it last (RFC 8326)",
            "local: the gateway's own configuration",
            "held back: the policy was another, and bgpd has not told this route again since"};
  for (const Rule& rule : policy_->import_rules) {
    rules_.push_back({&rule, static_cast<LineId>(lines_.size())});
    lines_.push_back(std::format("policy {}", rule.name));
  }
  for (const auto& [name, peer] : policy_->peers) {
    first_filter_line_[name] = static_cast<LineId>(lines_.size());
    for (const FilterLine& line : peer.import_filter) lines_.push_back(std::format("filter {}", line.name));
  }
  const auto suspect = [this](const Prefix& p) {
    const unsigned first = p.address().bytes()[0];
    const unsigned span = p.length() >= 8 ? 1 : 1U << (8 - p.length());
    for (unsigned i = first; i < first + span; ++i) (p.family() == Family::kV4 ? suspect_v4_ : suspect_v6_).set(i);
  };
  for (const Prefix& p : martians()) suspect(p);
  for (const Prefix& p : policy_->safe.vnet_prefixes) suspect(p);
}

std::optional<LineId> Importer::check_safe(const PeerPolicy& peer, const Prefix& prefix) const {
  if (prefix.length() == 0) {
    const bool allowed =
        peer.default_route == DefaultRoute::kAllow || policy_->safe.default_route == DefaultRoute::kAllow;
    return allowed ? std::nullopt : std::optional(kLineDefaultRoute);
  }
  const unsigned first = prefix.address().bytes()[0];
  if (!(prefix.family() == Family::kV4 ? suspect_v4_ : suspect_v6_).test(first)) return std::nullopt;
  const auto refusal = check_prefix(policy_->safe, prefix);
  return refusal ? std::optional(line_of(*refusal)) : std::nullopt;
}

bool Importer::depends_on_prefix(const Source& source) const {
  if (!is_local(source) && !policy_->peer(source.name).import_filter.empty()) return true;
  return std::ranges::any_of(rules_, [&](const OwnRule& own) {
    return !own.rule->match.prefixes.empty() && match_source(own.rule->match, source);
  });
}

std::optional<ImportVerdict> Importer::run_filter(const Source& source, const PeerPolicy& peer,
                                                  const Prefix& prefix) const {
  if (peer.import_filter.empty()) return std::nullopt;
  const auto hit =
      std::ranges::find_if(peer.import_filter, [&](const FilterLine& l) { return l.range.contains(prefix); });
  if (hit == peer.import_filter.end()) return ImportVerdict{kLineNoFilterMatch, Action::kRefuse};
  const auto index = static_cast<LineId>(hit - peer.import_filter.begin());
  return ImportVerdict{static_cast<LineId>(first_filter_line_.find(source.name)->second + index), hit->action};
}

// Steps 2 to 7; those that need a prefix are left out without one.
ImportVerdict Importer::run(const Source& source, const Prefix* prefix, Attributes& a) const {
  ImportVerdict verdict{is_local(source) ? kLineLocal : kLineAccept, Action::kAccept};
  if (!is_local(source)) {
    const PeerPolicy& peer = policy_->peer(source.name);
    // 2
    if (prefix != nullptr) {
      if (const auto filtered = run_filter(source, peer, *prefix)) {
        if (filtered->action == Action::kRefuse) return *filtered;
        verdict = *filtered;
      }
    }
    // 3
    if (const auto line = check_path(policy_->safe, peer, source, a.as_path)) return {*line, Action::kRefuse};
  }
  // 4
  if (source.kind != SourceKind::kPartner) std::erase_if(a.communities, is_internal_community);
  a.weight = policy_->weights[std::to_underlying(original_kind(source, a))];
  // 5
  for (const OwnRule& own : rules_) {
    const Match& m = own.rule->match;
    if (!match_source(m, source) || !match_attributes(m, a) || !match_prefix(m, prefix)) continue;
    if (own.rule->action == Action::kRefuse) return {own.line, Action::kRefuse};
    apply_set(own.rule->set, a);
    verdict.line = own.line;
    break;
  }
  // 6
  if (!is_local(source) && a.has_community(kGracefulShutdown)) {
    a.weight = 0;
    a.local_preference = 0;
    verdict.line = kLineGracefulShutdown;
  }
  // 7
  if (!is_local(source) && a.has_community(kBlackhole) && !a.has_community(kNoExport)) {
    a.communities.push_back(kNoExport);
  }
  return verdict;
}

ImportVerdict Importer::apply(const Source& source, const Prefix& prefix, Attributes& attributes) const {
  if (!is_local(source)) {
    if (const auto line = check_safe(policy_->peer(source.name), prefix)) return {*line, Action::kRefuse};
  }
  return run(source, &prefix, attributes);
}

ImportVerdict Importer::apply_to_path(const Source& source, Attributes& attributes) const {
  return run(source, nullptr, attributes);
}

}  // namespace gw::routes
