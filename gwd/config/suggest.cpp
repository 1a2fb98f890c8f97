#include "gwd/config/suggest.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace gw::config {
namespace {

constexpr std::size_t kLongestWord = 64;  // longer ones are no typing mistakes

std::string fold(std::string_view word) {
  std::string out;
  for (const char c : word) {
    if (c == '-' || c == '_') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

// Levenshtein with swapped neighbours counted as one (optimal string alignment).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({changed, last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string suggest(std::string_view word, std::span<const std::string> known) {
  if (word.empty() || word.size() > kLongestWord) return {};
  const std::string written = fold(word);
  const std::string* best = nullptr;
  std::size_t best_distance = std::min<std::size_t>(2, written.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t d = distance(written, fold(candidate));
    if (d < best_distance) {
      best_distance = d;
      best = &candidate;
    }
  }
  if (best == nullptr && written.size() >= 3) {
    const auto begun = std::ranges::find_if(known, [&](const std::string& k) { return fold(k).starts_with(written); });
    if (begun != known.end()) best = &*begun;
  }
  return best == nullptr ? std::string() : *best;
}

std::string join(std::span<const std::string> words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace gw::config
