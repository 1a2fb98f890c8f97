// `gwctl capture`: asks gw-fastpath for packets, filters them, and writes them, until there are enough, time is up,
// somebody presses Ctrl-C or the disk is full. One run of gwctl.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "cli/text.hpp"

namespace gw::cli::capture {

inline constexpr const char* kSocketName = "capture.sock";  // beside gwd's

/// A capture that somebody forgot ends by itself.
inline constexpr std::uint32_t kDefaultSeconds = 300;
inline constexpr std::uint64_t kDefaultCount = 1'000'000;
inline constexpr std::uint32_t kDefaultSnap = 65535;  // whole packets

struct Words {
  std::vector<std::string> points;  // "inner", "outer", "drops", "all"
  std::string tunnel;
  std::optional<std::uint32_t> worker;
  std::uint64_t count = kDefaultCount;
  std::uint32_t seconds = kDefaultSeconds;
  std::uint32_t snap = kDefaultSnap;
  std::string file;      // "-": standard output; empty: lines
  std::string esp_keys;  // a file to be made; empty: none
  std::vector<std::string> filter;
};

struct Surroundings {
  std::ostream& err;
  Style style;
  bool json;
  std::string version;
  std::string socket;
};

/// The exit code.
int run(const Words& words, const Surroundings& surroundings);

}  // namespace gw::cli::capture
