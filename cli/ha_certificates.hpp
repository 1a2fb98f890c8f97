// `gwctl ha init`, `renew` and `certificates`: the sync channel's certificates in their folder. Nothing of it asks gwd,
// which reads new files by itself and replaces its connections one by one, without a gap. Keys are written with mode
// 0600, every file in one step (rename): whoever reads sees the old or the new one. Owner: one run of gwctl.
#pragma once

#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace gw::cli {

inline constexpr const char* kDefaultCertificates = "/etc/gw/ha";

struct CertificateFolder {
  std::string path;
  WallTime now;
};

struct NewPair {
  std::string gateway;
  std::vector<std::string> instances;
};

/// Each returns what to tell the operator.
/// An authority and a certificate for each instance. kAlreadyExists when the folder has an authority.
Result<std::string> init_certificates(const CertificateFolder& folder, const NewPair& pair);
/// New certificates and keys for all instances in the folder.
Result<std::string> renew_certificates(const CertificateFolder& folder);
/// A new authority, beside the old one: both are trusted until drop_old_authority().
Result<std::string> renew_authority(const CertificateFolder& folder);
Result<std::string> drop_old_authority(const CertificateFolder& folder);
/// What there is, and until when it is good.
Result<std::string> describe_certificates(const CertificateFolder& folder);

}  // namespace gw::cli
