// The sync channel's certificates (RFC 5280): an authority for each gateway, and one certificate for each instance,
// whose name is a URI in the subject's alternative names: gw://hub-east/gw-a. ECDSA with P-256 and SHA-256. gwctl makes
// them, gwd reads them. Any thread.
#pragma once

#include <openssl/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace gw::pki {

/// Both in PEM.
struct KeyPair {
  std::string certificate;
  Secret key;
};

struct InstanceName {
  std::string gateway;
  std::string instance;
  /// "gw://hub-east/gw-a"
  std::string uri() const;
  friend bool operator==(const InstanceName&, const InstanceName&) = default;
};

struct Validity {
  WallTime from;
  std::chrono::days length{};
};

/// Ten years: replacing an authority means a visit to both machines.
inline constexpr std::chrono::days kAuthorityDays{3650};
/// Two years; `gwctl ha renew` makes new ones without a gap.
inline constexpr std::chrono::days kInstanceDays{730};

Result<KeyPair> make_authority(const std::string& gateway, const Validity& validity);
Result<KeyPair> issue(const KeyPair& authority, const InstanceName& name, const Validity& validity);

struct CertificateInfo {
  std::vector<std::string> uris;  // of the subject's alternative names
  std::string subject;            // "CN=gw-a,O=hub-east"
  WallTime from;
  WallTime until;
  std::string fingerprint;  // SHA-256, "ab:cd:..."
};

/// The first certificate in `pem`. kMalformed when there is none.
Result<CertificateInfo> read_certificate(const std::string& pem);
CertificateInfo describe(const X509& certificate);
/// Each certificate of `pem` by itself: an authority file has two while one replaces the other.
std::vector<std::string> split_certificates(const std::string& pem);
/// Both in PEM; the first certificate of each counts.
struct Chain {
  const std::string& certificate;
  const std::string& authority;
};
bool is_issued_by(const Chain& chain);

}  // namespace gw::pki
