// Sets of paths that prefixes are forwarded by, each set once: a full table has few of them, and "did it change" is a
// comparison of two numbers. Owned by a Rib, its thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "routes/candidate.hpp"
#include "routes/rib_store.hpp"

namespace gw::routes {

using SourceId = std::uint16_t;

/// What forwarding sees of a route.
struct Path {
  SourceId source = 0;
  IpAddress next_hop;
  SourceKind original = SourceKind::kVpnTunnel;  // of a route of the partner: what it is there
  friend auto operator<=>(const Path&, const Path&) = default;
};

using PathSetId = std::uint32_t;
inline constexpr PathSetId kNoPaths = 0;

class PathSets {
 public:
  PathSets();
  /// The set with these paths (sorted), with one user more; kNoPaths for none.
  PathSetId acquire(std::span<const Path> sorted);
  void retain(PathSetId id) { ++items_[id].users; }
  void release(PathSetId id);
  std::span<const Path> operator[](PathSetId id) const { return items_[id].paths; }
  /// Sets in use.
  std::size_t size() const { return index_.size(); }

 private:
  struct Item {
    std::vector<Path> paths;
    std::uint32_t users = 0;
    std::uint32_t hash = 0;
  };
  std::vector<Item> items_;
  std::vector<PathSetId> free_;
  IdIndex index_;
};

}  // namespace gw::routes
