// For hashes and sequences that nobody outside is to guess.
#pragma once

#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

namespace gw::worker {

inline std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) std::abort();  // cannot happen for 8 bytes
  return seed;
}

}  // namespace gw::worker
