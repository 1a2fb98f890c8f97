// What would move if policy were another, a peer or the circuit were down: computed on the live routes, which stay as
// they are. Data of Rib::what_if(). Pure, the Rib's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "routes/import.hpp"
#include "routes/path_sets.hpp"
#include "routes/policy.hpp"

namespace gw::routes {

struct Scenario {
  PolicyPtr policy{};                    // null: the present one
  std::vector<SourceId> down{};          // these sessions are gone
  std::vector<SourceKind> kinds_down{};  // kCircuit: the circuit is down, here and at the other instance
  std::size_t most_moves = 1000;         // moves are counted all, but listed only so many
};

enum class MoveKind : std::uint8_t { kMoves, kLost, kAppears };

struct Move {
  Prefix prefix;
  MoveKind kind = MoveKind::kMoves;
  std::vector<Path> from;
  std::vector<Path> to;
};

/// A session that comes near its limit, or over it, and was not before.
struct LimitBreak {
  SourceId source = 0;
  Family family = Family::kV4;
  std::size_t before = 0;
  std::size_t after = 0;
  std::uint32_t limit = 0;
  LimitState state = LimitState::kNear;
};

/// A site that has announced prefixes (or has static ones) to which no route of anybody is left. Shorter prefixes
/// that cover them do not count: nobody knows whether they lead there.
struct CutOff {
  std::string site;
  std::size_t prefixes = 0;  // that had a route
  std::size_t lost = 0;      // equal: the whole site
};

struct WhatIf {
  std::size_t prefixes = 0;  // looked at
  std::size_t moved = 0;
  std::size_t lost = 0;
  std::size_t appeared = 0;
  std::vector<Move> moves;  // sorted by prefix
  std::vector<LimitBreak> limits;
  std::vector<CutOff> cut_off;  // sorted by site
};

}  // namespace gw::routes
