#include "gwd/config/profiles.hpp"

#include <algorithm>

namespace gw::config {
namespace {

v1::Profile make_profile(std::string_view name, std::string_view ipsec_lifetime, std::string_view dpd) {
  v1::Profile profile;
  profile.set_name(std::string(name));
  v1::Ike& ike = *profile.mutable_ike();
  ike.set_version(2);
  ike.set_encryption("AES256");
  ike.set_integrity("SHA256");
  ike.set_dh_group("DHGroup14");
  ike.set_lifetime("28800s");
  v1::Ipsec& ipsec = *profile.mutable_ipsec();
  ipsec.set_encryption("GCMAES256");
  ipsec.set_lifetime(std::string(ipsec_lifetime));
  ipsec.set_lifetime_kb(102'400'000);
  ipsec.set_replay_window(1024);
  profile.mutable_dpd()->set_delay(std::string(dpd));
  return profile;
}

}  // namespace

const std::vector<v1::Profile>& built_in_profiles() {
  static const std::vector<v1::Profile> kProfiles{make_profile(kDefaultProfile, "27000s", "45s"),
                                                  make_profile("other-cloud", "3600s", "30s")};
  return kProfiles;
}

std::vector<std::string> profile_names(const v1::Config& config) {
  std::vector<std::string> names;
  for (const v1::Profile& p : built_in_profiles()) names.push_back(p.name());
  for (const v1::Profile& p : config.profiles()) names.push_back(p.name());
  return names;
}

v1::Profile effective_profile(const v1::Config& config, const v1::Connection& connection) {
  v1::Profile out = built_in_profiles().front();
  const auto lay_over = [&](const auto& profiles) {
    const auto found = std::ranges::find(profiles, connection.profile(), &v1::Profile::name);
    if (found == profiles.end()) return;
    out.MergeFrom(*found);
  };
  if (!connection.profile().empty()) {
    lay_over(built_in_profiles());
    lay_over(config.profiles());
  }
  // proto3's merge takes what is present and not zero, which is "single values override".
  out.mutable_ike()->MergeFrom(connection.ike());
  if (connection.ipsec().proposals_size() != 0) out.mutable_ipsec()->clear_proposals();  // lists replace
  out.mutable_ipsec()->MergeFrom(connection.ipsec());
  out.mutable_dpd()->MergeFrom(connection.dpd());
  return out;
}

}  // namespace gw::config
