// What goes into and comes out of a change of the configuration. Values; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "gwd/config/finding.hpp"
#include "gwd/config/revisions.hpp"

namespace gw::gwd {

/// Why a document or revision was not taken.
struct ConfigFailure {
  Error error;
  config::Findings findings;
};

struct ConfigOutcome {
  std::uint32_t revision = 0;        // running now
  std::vector<std::string> changes;  // for people; empty: nothing changed, no new revision
  config::Findings warnings;
  std::chrono::seconds confirm_within{0};  // 0: nothing to confirm
};

template <class T>
using ConfigResult = std::expected<T, ConfigFailure>;

struct ConfigDocument {
  std::string text;
  std::string file;  // absolute path: names it in findings; secret files are relative to its folder
};

struct ApplyOptions {
  std::chrono::seconds confirm_within{0};
  std::string comment;
  config::Origin origin = config::Origin::kApply;
  bool alone = false;                   // of two instances: here, although the other does not answer
  std::optional<std::uint64_t> serial;  // among both instances'; none: the next one
  std::function<void()> committed;      // it is stored, and about to be activated
};

}  // namespace gw::gwd
