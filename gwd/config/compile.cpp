#include "gwd/config/compile.hpp"

#include <algorithm>
#include <filesystem>
#include <format>

#include "gwd/config/validate.hpp"

namespace gw::config {
namespace {

/// Which of the document's instances this machine is, gwd is told at its start: nothing, if it is one of them.
std::optional<Finding> unknown_instance(const Document& document, const std::string& told) {
  const auto& instances = document.config.gateway().instances();
  if (told.empty() ? instances.size() == 1 : std::ranges::contains(instances, told, &v1::Instance::name)) return {};
  std::string known;
  for (const v1::Instance& instance : instances) known += (known.empty() ? "" : " or ") + instance.name();
  return Finding{Severity::kError,
                 document.file,
                 document.source.find("gateway.instances"),
                 "gateway.instances",
                 told.empty() ? "gwd was not told which of them this machine is"
                              : std::format("gwd was told that this machine is '{}', which is none of them", told),
                 std::format("gwd --instance {}: GWD_OPTIONS in /etc/default/gw", known)};
}

}  // namespace

Compiled compile(const CompileInput& input) {
  const std::string base_dir = std::filesystem::path(input.file).parent_path().string();
  Document document = load_document(input.text, input.file);
  ValidateOptions options;
  options.base_dir = base_dir;
  if (input.secrets == UnreadableSecrets::kFaultTunnel) options.secret_files = ValidateOptions::SecretFiles::kIgnore;
  Compiled out;
  out.findings = validate(document, options);
  auto unknown = unknown_instance(document, input.instance);
  out.config = std::move(document.config);
  if (has_errors(out.findings)) return out;
  if (unknown) {
    out.findings.push_back(std::move(*unknown));
    sort_findings(out.findings);
    return out;
  }
  auto model = resolve(out.config, {.instance = input.instance, .base_dir = base_dir, .secrets = input.secrets});
  if (model) {
    out.model = std::move(*model);
  } else {
    out.findings.push_back({Severity::kError, input.file, {}, model.error().field, model.error().message, ""});
    sort_findings(out.findings);
  }
  return out;
}

}  // namespace gw::config
