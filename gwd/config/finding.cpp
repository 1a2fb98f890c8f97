#include "gwd/config/finding.hpp"

#include <algorithm>
#include <format>
#include <tuple>

namespace gw::config {

std::string Finding::describe() const {
  std::string out = file;
  if (at.line != 0) out += std::format(":{}:{}", at.line, at.column);
  if (!out.empty()) out += ": ";
  if (severity == Severity::kWarning) out += "warning: ";
  if (!field.empty()) out += field + ": ";
  out += message;
  if (!expected.empty()) out += std::format(" (expected {})", expected);
  return out;
}

bool has_errors(const Findings& findings) {
  return std::ranges::any_of(findings, [](const Finding& f) { return f.severity == Severity::kError; });
}

void sort_findings(Findings& findings) {
  std::ranges::stable_sort(findings, {}, [](const Finding& f) { return std::tie(f.at, f.field); });
}

}  // namespace gw::config
