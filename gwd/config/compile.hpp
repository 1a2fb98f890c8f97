// From a document's text to the model in one call: load, validate, resolve. What gwd uses for start,
// validate and apply. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gwd/config/finding.hpp"
#include "gwd/config/model.hpp"
#include "gwd/config/yaml_loader.hpp"

namespace gw::config {

struct Compiled {
  v1::Config config;
  Findings findings;                  // warnings only, if there is a model
  std::optional<GatewayModel> model;  // nothing is to be applied without it
};

/// What a document is compiled from: its text, its path (names it in findings; secret files are relative
/// to its folder) and the instance to resolve for (empty: the only one).
struct CompileInput {
  std::string_view text;
  std::string file;
  std::string instance;
  UnreadableSecrets secrets = UnreadableSecrets::kRefuse;
};

Compiled compile(const CompileInput& input);

}  // namespace gw::config
