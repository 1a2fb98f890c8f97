// One fault in a configuration document: where it is, what is wrong, what would be right. Findings are
// collected, not thrown: an operator sees all of them at once. Never contains a secret. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gw::config {

enum class Severity : std::uint8_t { kError, kWarning };

/// A place in the text; both count from 1. 0 is "the document as a whole".
struct Position {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  friend auto operator<=>(const Position&, const Position&) = default;
};

struct Finding {
  Severity severity = Severity::kError;
  std::string file;
  Position at;
  std::string field;     // "connections[0].ipsec.encryption"; empty for faults of the YAML itself
  std::string message;   // what is wrong
  std::string expected;  // what would be right; may be empty

  /// "gateway.yaml:12:5: connections[0].name: message (expected ...)"; warnings have "warning: " before the field.
  std::string describe() const;
  friend bool operator==(const Finding&, const Finding&) = default;
};

using Findings = std::vector<Finding>;

bool has_errors(const Findings& findings);
/// By position, then field: the order in which people read.
void sort_findings(Findings& findings);

}  // namespace gw::config
