// How long the certificates are good of which the sync channel needs all: an instance's own, and the authority that it
// is by. What ends is said a month before, because copying files to two machines is somebody's appointment. Any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "gwd/pki/certificate.hpp"

namespace gw::pki {

enum class Lifetime : std::uint8_t { kGood, kEndsSoon, kEndsNext, kExpired };
inline constexpr std::chrono::days kSoon{30};
inline constexpr std::chrono::days kNext{7};

Lifetime lifetime(WallTime until, WallTime now);
/// "": good; "warning", "error".
std::string_view severity(Lifetime lifetime);

struct CertificateEnd {
  std::string file;  // "/etc/gw/ha/gw-a.crt"
  WallTime until;
  std::string renewal;  // commands
  friend bool operator==(const CertificateEnd&, const CertificateEnd&) = default;
};

/// "/etc/gw/ha/gw-a.crt is good until 2026-12-01, for 9 more days"
std::string describe(const CertificateEnd& end, WallTime now);

/// Of the files in `folder`. What cannot be read is left out: the sync channel says why.
std::vector<CertificateEnd> certificate_ends(const std::string& folder, const std::string& instance);

}  // namespace gw::pki
