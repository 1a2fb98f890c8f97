// gateway.yaml from anybody: load and validate (secret files are left alone).
#include <string_view>

#include "gwd/config/validate.hpp"
#include "gwd/config/yaml_loader.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto document = gw::config::load_document({reinterpret_cast<const char*>(data), size}, "fuzz.yaml");
  (void)gw::config::validate(
      document, {.base_dir = "/nonexistent", .secret_files = gw::config::ValidateOptions::SecretFiles::kIgnore});
  return 0;
}
