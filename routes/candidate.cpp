#include "routes/candidate.hpp"

#include <algorithm>
#include <format>

namespace gw::routes {

std::string_view to_string(SourceKind kind) {
  switch (kind) {
    case SourceKind::kVnet: return "vnet";
    case SourceKind::kStaticSite: return "static site";
    case SourceKind::kVpnTunnel: return "vpn tunnel";
    case SourceKind::kCircuit: return "circuit";
    case SourceKind::kBranchVnet: return "branch vnet";
    case SourceKind::kPartner: return "partner";
  }
  return "unknown";
}

std::string_view to_string(PeerType type) {
  switch (type) {
    case PeerType::kLocal: return "Network";  // the clouds' column
    case PeerType::kEbgp: return "EBgp";
    case PeerType::kIbgp: return "IBgp";
  }
  return "unknown";
}

std::string_view to_string(Origin origin) {
  switch (origin) {
    case Origin::kIgp: return "IGP";
    case Origin::kEgp: return "EGP";
    case Origin::kIncomplete: return "incomplete";
  }
  return "unknown";
}

AsPath AsPath::sequence(std::vector<std::uint32_t> asns) {
  if (asns.empty()) return {};
  return AsPath({AsSegment{AsSegment::Type::kSequence, std::move(asns)}});
}

unsigned AsPath::length() const {
  std::size_t n = 0;
  for (const AsSegment& s : segments_) {
    if (s.type == AsSegment::Type::kSequence) n += s.asns.size();
    if (s.type == AsSegment::Type::kSet) n += 1;
  }
  return static_cast<unsigned>(n);
}

std::uint32_t AsPath::neighbour_as() const {
  for (const AsSegment& s : segments_) {
    if (s.type == AsSegment::Type::kConfedSequence || s.type == AsSegment::Type::kConfedSet) continue;
    return s.type == AsSegment::Type::kSequence && !s.asns.empty() ? s.asns.front() : 0;
  }
  return 0;
}

bool AsPath::contains(std::uint32_t asn) const {
  return std::ranges::any_of(segments_, [asn](const AsSegment& s) { return std::ranges::contains(s.asns, asn); });
}

namespace {

struct Brackets {
  std::string_view open;
  std::string_view close;
  char between;
};

Brackets brackets(AsSegment::Type type) {
  switch (type) {
    case AsSegment::Type::kSet: return {"{", "}", ','};
    case AsSegment::Type::kConfedSequence: return {"(", ")", ' '};
    case AsSegment::Type::kConfedSet: return {"[", "]", ','};
    case AsSegment::Type::kSequence: break;
  }
  return {"", "", ' '};
}

}  // namespace

std::string AsPath::to_string() const {
  std::string out;
  for (const AsSegment& s : segments_) {
    const Brackets b = brackets(s.type);
    if (!out.empty()) out += ' ';
    out += b.open;
    for (std::size_t i = 0; i < s.asns.size(); ++i) {
      if (i != 0) out += b.between;
      out += std::format("{}", s.asns[i]);
    }
    out += b.close;
  }
  return out;
}

bool Attributes::has_community(std::uint32_t community) const { return std::ranges::contains(communities, community); }

}  // namespace gw::routes
