#include "cli/text.hpp"

#include <algorithm>
#include <array>
#include <format>

namespace gw::cli {

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 1023.95 would round to "1024.0".
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return std::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_rate(std::uint64_t bits_per_second) {
  static constexpr std::array<std::string_view, 4> kUnits{"bit/s", "kbit/s", "Mbit/s", "Gbit/s"};
  auto value = static_cast<double>(bits_per_second);
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return std::format("{:.4g} {}", value, kUnits[unit]);
}

std::string human_duration(std::chrono::seconds duration) {
  const auto s = std::max<std::chrono::seconds::rep>(0, duration.count());
  if (s < 60) return std::format("{}s", s);
  if (s < 3600) return std::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return std::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return std::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

std::string human_time(std::uint64_t unix_ms) {
  const std::chrono::sys_seconds time{std::chrono::seconds(unix_ms / 1000)};
  return std::format("{:%Y-%m-%d %H:%M:%S}Z", time);
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

std::string paint(std::string_view text, Colour colour, Style style) {
  static constexpr std::array<std::string_view, 5> kCodes{"", "32", "33", "31", "2"};
  if (style == Style::kPlain || colour == Colour::kNone) return std::string(text);
  return std::format("\033[{}m{}\033[0m", kCodes[static_cast<std::size_t>(colour)], text);
}

std::string Table::render(Style style) const {
  const auto shown = [](const Cell& cell) { return cell.text.empty() ? std::string("-") : printable(cell.text); };
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t width = columns_[c].title.size();
    for (const Row& row : rows_) width = std::max(width, shown(row.cells[c]).size());
    widths.push_back(width);
  }
  std::string out;
  const auto put = [&](std::size_t column, const std::string& text, Colour colour) {
    const std::string pad(widths[column] - text.size(), ' ');
    const bool right = columns_[column].align == Align::kRight;
    const bool last = column + 1 == columns_.size();
    out += (right ? pad : "") + paint(text, colour, style) + (right || last ? "" : pad) + (last ? "\n" : "  ");
  };
  for (std::size_t c = 0; c < columns_.size(); ++c) put(c, columns_[c].title, Colour::kNone);
  for (const Row& row : rows_) {
    for (std::size_t c = 0; c < columns_.size(); ++c) put(c, shown(row.cells[c]), row.cells[c].colour);
    for (const std::string& note : row.notes) out += "    " + printable(note) + "\n";
  }
  return out;
}

}  // namespace gw::cli
