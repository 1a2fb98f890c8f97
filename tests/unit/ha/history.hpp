// One history of a World: disturbances and partial repairs as `choose` says, then all is well and it must settle.
// Thread: the caller's.
#pragma once

#include <functional>
#include <string>

#include "tests/unit/ha/world.hpp"

namespace gw::ha::sim {

/// A number below the argument; the last choices of a fuzzer's input are all 0.
using Choose = std::function<std::uint64_t(std::uint64_t)>;

/// What went wrong; empty: nothing.
std::string live(World& world, const Choose& choose);

}  // namespace gw::ha::sim
