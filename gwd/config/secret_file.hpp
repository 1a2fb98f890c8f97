// Reading a secret from a file that only its owner may read. The secret itself never appears in an error.
// Any thread.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace gw::config {

inline constexpr std::size_t kMaxSecretBytes = 4096;

/// `file` as written in the document; relative to `base_dir`.
std::string resolve_path(const std::string& file, const std::string& base_dir);

/// A regular file of 1 to 4096 bytes, no permission for group or others; one trailing newline is
/// stripped. Errors: kNotFound, kPermission, kInvalidArgument, kIo.
Result<Secret> read_secret_file(const std::string& path);

}  // namespace gw::config
