// "Did you mean": the known word nearest to what was written. Pure; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gw::config {

/// The best of `known` within a small edit distance (case, '-' and '_' do not count), one that `word` begins,
/// or an empty string.
std::string suggest(std::string_view word, std::span<const std::string> known);

/// "a, b, c"
std::string join(std::span<const std::string> words);

}  // namespace gw::config
