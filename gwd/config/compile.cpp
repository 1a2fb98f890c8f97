#include "gwd/config/compile.hpp"

#include <filesystem>

#include "gwd/config/validate.hpp"

namespace gw::config {

Compiled compile(const CompileInput& input) {
  const std::string base_dir = std::filesystem::path(input.file).parent_path().string();
  Document document = load_document(input.text, input.file);
  ValidateOptions options;
  options.base_dir = base_dir;
  if (input.secrets == UnreadableSecrets::kFaultTunnel) options.secret_files = ValidateOptions::SecretFiles::kIgnore;
  Compiled out;
  out.findings = validate(document, options);
  out.config = std::move(document.config);
  if (has_errors(out.findings)) return out;
  auto model = resolve(out.config, {.instance = input.instance, .base_dir = base_dir, .secrets = input.secrets});
  if (model) {
    out.model = std::move(*model);
  } else {
    const Position at = model.error().code == Errc::kNotFound ? document.source.find("gateway.instances") : Position{};
    out.findings.push_back({Severity::kError, input.file, at, model.error().field, model.error().message, ""});
    sort_findings(out.findings);
  }
  return out;
}

}  // namespace gw::config
