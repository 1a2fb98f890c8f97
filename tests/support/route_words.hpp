// Routes as words on a line, for the tools that hold routes/ beside another router.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "routes/candidate.hpp"

namespace gw::routes::words {

/// "-" is absent.
inline std::optional<std::uint32_t> number(const std::string& word) {
  if (word == "-") return std::nullopt;
  return static_cast<std::uint32_t>(std::stoul(word));
}

/// "65021,7,{1,2}"; "-" is empty.
inline AsPath path(const std::string& text) {
  std::vector<AsSegment> segments;
  bool fresh = true;  // the next number begins a segment
  AsSegment::Type type = AsSegment::Type::kSequence;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '{' || text[at] == '}') {
      type = text[at] == '{' ? AsSegment::Type::kSet : AsSegment::Type::kSequence;
      fresh = true;
      ++at;
    } else if (text[at] == ',' || text[at] == '-') {
      ++at;
    } else {
      if (fresh) segments.push_back({type, {}});
      fresh = false;
      std::size_t used = 0;
      segments.back().asns.push_back(static_cast<std::uint32_t>(std::stoul(text.substr(at), &used)));
      at += used;
    }
  }
  return AsPath(std::move(segments));
}

inline SourceKind kind(std::string_view word) {
  if (word == "circuit") return SourceKind::kCircuit;
  if (word == "partner") return SourceKind::kPartner;
  if (word == "branch") return SourceKind::kBranchVnet;
  if (word == "static") return SourceKind::kStaticSite;
  if (word == "spoke") return SourceKind::kSpoke;
  return word == "vnet" ? SourceKind::kVnet : SourceKind::kVpnTunnel;
}

}  // namespace gw::routes::words
