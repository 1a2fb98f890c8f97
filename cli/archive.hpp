// A support bundle's form: a gzip'ed tar (POSIX.1-1988 ustar), which every system can open. Plain files only.
// Pure; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace gw::cli {

struct ArchiveFile {
  std::string name;  // with its folder, at most 99 bytes
  std::string content;
};

/// Names that are too long are cut.
std::string pack(std::span<const ArchiveFile> files, WallTime time);

/// Unpacked, a bundle has a few MiB; more than this is refused: 40 kB of gzip can be 40 MB of zeros.
inline constexpr std::size_t kMaxUnpackedBytes = std::size_t{256} << 20;
/// kMalformed: not gzip, not tar, cut off, a wrong checksum; kLimit. What is no plain file is left out.
Result<std::vector<ArchiveFile>> unpack(std::string_view bytes);

bool is_gzip(std::string_view bytes);  // RFC 1952 2.3.1

}  // namespace gw::cli
