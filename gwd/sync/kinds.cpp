#include "gwd/sync/kinds.hpp"

#include <algorithm>

namespace gw::gwd::sync {

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::kControl: return "control";
    case Kind::kFastpath: return "fastpath";
    case Kind::kIke: return "ike";
    case Kind::kSessions: return "sessions";
    case Kind::kAlarms: return "alarms";
    case Kind::kRoutes: return "routes";
    case Kind::kConfig: return "config";
  }
  return "unknown";
}

std::optional<Kind> kind_of(std::uint32_t number) {
  const auto found =
      std::ranges::find_if(kKinds, [&](Kind kind) { return static_cast<std::uint32_t>(kind) == number; });
  return found == kKinds.end() ? std::nullopt : std::optional(*found);
}

std::size_t index_of(Kind kind) { return static_cast<std::size_t>(std::ranges::find(kKinds, kind) - kKinds.begin()); }

}  // namespace gw::gwd::sync
