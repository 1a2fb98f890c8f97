// Text for people: units, tables, colours. Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gw::cli {

/// "0 B", "999 B", "1.2 GiB"
std::string human_bytes(std::uint64_t bytes);
/// "500 Mbit/s", "1.25 Gbit/s"
std::string human_rate(std::uint64_t bits_per_second);
/// "12s", "3m12s", "2h05m", "4d03h"
std::string human_duration(std::chrono::seconds duration);
/// "2026-01-31 12:00:00Z"; UTC, because gateways of one pair may be configured differently.
std::string human_time(std::uint64_t unix_ms);
/// Control characters replaced by '?': names and reasons may come from a peer, the terminal is ours.
std::string printable(std::string_view text);

enum class Colour : std::uint8_t { kNone, kGood, kWarning, kBad, kDim };
enum class Style : std::uint8_t { kPlain, kColoured };

/// `text` in that colour, if the style has colours.
std::string paint(std::string_view text, Colour colour, Style style);

struct Cell {
  std::string text;
  Colour colour = Colour::kNone;
  Cell(std::string t, Colour c = Colour::kNone) : text(std::move(t)), colour(c) {}  // NOLINT: cells are mostly text
  Cell(const char* t) : text(t) {}                                                  // NOLINT
  Cell(std::uint64_t n) : text(std::to_string(n)) {}                                // NOLINT
};

enum class Align : std::uint8_t { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

/// Columns as wide as their widest cell, two spaces between them, no trailing spaces.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void row(std::vector<Cell> cells) { rows_.push_back({std::move(cells), {}}); }
  /// A line below the last row, indented.
  void note(std::string text) { rows_.back().notes.push_back(std::move(text)); }
  bool empty() const { return rows_.empty(); }
  /// An empty cell is shown as "-".
  std::string render(Style style) const;

 private:
  struct Row {
    std::vector<Cell> cells;
    std::vector<std::string> notes;
  };
  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

}  // namespace gw::cli
