// Semantic rules over a loaded document: required fields, names, addresses, references, ASN rules, ranges,
// overlaps, secret files. Every fault is a Finding; warnings do not stop an apply. Reads secret files
// (never shows them), otherwise pure; any thread. The rules' numbers: docs/configuration.md.
#pragma once

#include <string>

#include "gwd/config/finding.hpp"
#include "gwd/config/yaml_loader.hpp"

namespace gw::config {

struct ValidateOptions {
  /// Secret files are relative to it: the configuration file's folder.
  std::string base_dir = "/etc/gw";
  /// False leaves secret files alone (a document of another machine).
  enum class SecretFiles : std::uint8_t { kCheck, kIgnore } secret_files = SecretFiles::kCheck;
};

/// All findings of loading and validation, sorted. Rules that need a field which already has an error of
/// its own are skipped: one mistake, one finding.
Findings validate(const Document& document, const ValidateOptions& options);

}  // namespace gw::config
