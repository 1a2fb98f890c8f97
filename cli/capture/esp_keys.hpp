// The keys of SAs as Wireshark reads them (its table `esp_sa`: Preferences, Protocols, ESP, "ESP SAs"), for the wan
// side of a capture. One run of gwctl.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "gw/fastpath/v1/capture.pb.h"

namespace gw::cli::capture {

namespace fp = ::gw::fastpath::v1;

/// A new file, mode 0600: keys never go into one that was there.
Result<Fd> create_key_file(const std::string& path);

/// A line for each SA, once. SAs of algorithms that Wireshark does not know are left out.
class KeyLines {
 public:
  /// Those of SAs that had none yet; the caller wipes them.
  std::string take(const fp::CaptureKeys& keys);
  Status write(int fd, const fp::CaptureKeys& keys);
  std::size_t count() const { return seen_.size(); }

 private:
  std::set<std::pair<std::uint32_t, std::string>> seen_;  // SPI, destination
};

/// Overwrites what the message has of keys.
void wipe_keys(fp::CaptureKeys& keys);

}  // namespace gw::cli::capture
