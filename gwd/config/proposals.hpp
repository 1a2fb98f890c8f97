// Algorithm names of the clouds' custom policies and strongSwan's keywords for them: the type, and those of IKE. Pure;
// any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gw/config/v1/config.pb.h"

namespace gw::config {

enum class Strength : std::uint8_t { kGood, kWeak };

struct Transform {
  std::string_view name;     // "ECP384"
  std::string_view keyword;  // "ecp384"; empty for "None"
  Strength strength = Strength::kGood;
};

std::span<const Transform> ike_encryptions();
std::span<const Transform> ike_integrities();
std::span<const Transform> ike_dh_groups();

const Transform* find_transform(std::span<const Transform> transforms, std::string_view name);
std::vector<std::string> names_of(std::span<const Transform> transforms);

/// For settings whose names are all known (validated), with every value present. ESP's: esp_proposals.hpp.
std::vector<std::string> ike_proposals(const v1::Ike& ike);

}  // namespace gw::config
