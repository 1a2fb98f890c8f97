#include "routes/policy.hpp"

#include <algorithm>
#include <format>
#include <initializer_list>

namespace gw::routes {
namespace {

std::vector<Prefix> prefixes(std::initializer_list<std::string_view> texts) {
  std::vector<Prefix> out;
  for (const std::string_view text : texts) out.push_back(Prefix::parse(text).value());
  return out;
}

}  // namespace

const std::vector<AsnRange>& reserved_asns() {
  static const std::vector<AsnRange> kRanges{
      {0, 0},         {8074, 8075},
      {12076, 12076},                            // RFC 7607; clouds' own; circuit routers
      {23456, 23456}, {64496, 64511},            // RFC 6793 AS_TRANS; RFC 5398 documentation
      {65515, 65515}, {65517, 65520},            // the clouds' gateways
      {65535, 65551}, {4294967295, 4294967295},  // RFC 7300, RFC 5398
  };
  return kRanges;
}

const std::vector<Prefix>& martians() {
  static const std::vector<Prefix> kMartians = prefixes({
      "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",  // RFC 6890
      "::/8",       // unspecified, loopback, v4-mapped (RFC 4291 2.5)
      "fe80::/10",  // link-local
      "ff00::/8",   // multicast
  });
  return kMartians;
}

std::string_view to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::kDefaultRoute: return "a default route is not accepted from this peer";
    case Refusal::kMartian:
      return "not a unicast network that can be routed (loopback, link-local, multicast, reserved)";
    case Refusal::kVnetPrefix: return "equal to a VNet prefix";
    case Refusal::kInsideVnet: return "more specific than a VNet prefix, it would take the VNet's traffic away";
    case Refusal::kOwnAsn: return "the gateway's own AS is in the path (loop)";
    case Refusal::kReservedAsn: return "a reserved AS is in the path";
  }
  return "refused";
}

bool is_reserved(const ImportPolicy& policy, std::uint32_t asn) {
  if (!std::ranges::any_of(reserved_asns(), [asn](const AsnRange& r) { return r.contains(asn); })) return false;
  return !std::ranges::contains(policy.allowed_asns, asn);
}

std::optional<Refusal> check_prefix(const ImportPolicy& policy, const Prefix& prefix) {
  if (prefix.length() > 0 && std::ranges::any_of(martians(), [&](const Prefix& m) { return m.contains(prefix); })) {
    return Refusal::kMartian;
  }
  for (const Prefix& vnet : policy.vnet_prefixes) {
    if (vnet == prefix) return Refusal::kVnetPrefix;
    if (vnet.contains(prefix)) return Refusal::kInsideVnet;
  }
  return std::nullopt;
}

std::optional<Refusal> check_import(const ImportPolicy& policy, const Prefix& prefix, const AsPath& path) {
  if (prefix.length() == 0 && policy.default_route == DefaultRoute::kRefuse) return Refusal::kDefaultRoute;
  if (const auto refusal = check_prefix(policy, prefix)) return refusal;
  if (path.contains(policy.gateway_asn)) return Refusal::kOwnAsn;
  for (const AsSegment& segment : path.segments()) {
    if (std::ranges::any_of(segment.asns, [&](std::uint32_t asn) { return is_reserved(policy, asn); })) {
      return Refusal::kReservedAsn;
    }
  }
  return std::nullopt;
}

std::optional<std::string> check_peer_asn(const ImportPolicy& policy, std::uint32_t asn) {
  if (asn == policy.gateway_asn) {
    return std::format("{} is the gateway's own ASN; a site needs another one", asn);
  }
  if (is_reserved(policy, asn)) {
    return std::format(
        "{} is reserved; use a public ASN or a private one (64512-65514, 65516, 65521-65534, "
        "4200000000-4294967294)",
        asn);
  }
  return std::nullopt;
}

LimitState check_limit(std::size_t routes, std::uint32_t maximum) {
  if (maximum == 0) return LimitState::kOk;
  if (routes >= maximum) return LimitState::kReached;
  return routes * 5 >= std::size_t{maximum} * 4 ? LimitState::kNear : LimitState::kOk;
}

}  // namespace gw::routes
