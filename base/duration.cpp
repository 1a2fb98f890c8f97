#include "base/duration.hpp"

#include <array>
#include <charconv>
#include <cstdint>
#include <format>
#include <utility>

namespace gw {

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  using namespace std::chrono;
  static constexpr std::array<std::pair<std::string_view, milliseconds>, 5> kUnits{
      {{"ms", milliseconds(1)}, {"s", seconds(1)}, {"m", minutes(1)}, {"h", hours(1)}, {"d", hours(24)}}};
  constexpr milliseconds kLongest = hours(24) * 366;
  const std::string_view shown = text.substr(0, 40);
  std::uint64_t count = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (end == text.data()) return fail(Errc::kMalformed, std::format("'{}' is not a duration", shown));
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.empty()) return fail(Errc::kMalformed, std::format("'{}' has no unit", shown));
  for (const auto& [name, length] : kUnits) {
    if (unit != name) continue;
    if (ec != std::errc() || count > static_cast<std::uint64_t>(kLongest / length))
      return fail(Errc::kMalformed, std::format("'{}' is longer than a year", shown));
    return length * static_cast<milliseconds::rep>(count);
  }
  return fail(Errc::kMalformed, std::format("'{}' is not a duration", shown));
}

}  // namespace gw
