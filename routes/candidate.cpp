#include "routes/candidate.hpp"

#include <algorithm>
#include <format>
#include <utility>

namespace gw::routes {

std::string_view to_string(SourceKind kind) {
  switch (kind) {
    case SourceKind::kVnet: return "vnet";
    case SourceKind::kStaticSite: return "static site";
    case SourceKind::kVpnTunnel: return "vpn tunnel";
    case SourceKind::kCircuit: return "circuit";
    case SourceKind::kBranchVnet: return "branch vnet";
    case SourceKind::kPartner: return "partner";
    case SourceKind::kSpoke: return "spoke";
    case SourceKind::kWan: return "wan";
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

bool is_private_asn(std::uint32_t asn) {
  return (asn >= 64512 && asn <= 65534) || (asn >= 4200000000U && asn <= 4294967294U);
}

AsPath AsPath::prepended(std::uint32_t asn, unsigned count) const {
  if (count == 0) return *this;
  std::vector<AsSegment> out = segments_;
  if (out.empty() || out.front().type != AsSegment::Type::kSequence) out.insert(out.begin(), AsSegment{});
  out.front().asns.insert(out.front().asns.begin(), count, asn);
  return AsPath(std::move(out));
}

AsPath AsPath::without_private(std::uint32_t keep) const {
  std::vector<AsSegment> out = segments_;
  for (AsSegment& s : out)
    std::erase_if(s.asns, [keep](std::uint32_t asn) { return asn != keep && is_private_asn(asn); });
  std::erase_if(out, [](const AsSegment& s) { return s.asns.empty(); });
  return AsPath(std::move(out));
}

AsPath AsPath::replaced(std::uint32_t from, std::uint32_t to) const {
  std::vector<AsSegment> out = segments_;
  for (AsSegment& s : out) std::ranges::replace(s.asns, from, to);
  return AsPath(std::move(out));
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

std::size_t hash_value(const Attributes& a) {
  std::uint64_t hash = hash_value(a.next_hop);
  const auto mix = [&hash](std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 29;
  };
  for (const AsSegment& s : a.as_path.segments()) {
    mix(std::to_underlying(s.type));
    for (const std::uint32_t asn : s.asns) mix(asn);
  }
  mix(std::to_underlying(a.origin) | std::uint64_t{a.weight} << 8 | std::uint64_t{a.med.has_value()} << 24 |
      std::uint64_t{a.local_preference.has_value()} << 25);
  mix(std::uint64_t{a.med.value_or(0)} << 32 | a.local_preference.value_or(0));
  for (const std::uint32_t community : a.communities) mix(community);
  return hash;
}

}  // namespace gw::routes
