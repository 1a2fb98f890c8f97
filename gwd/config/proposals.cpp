#include "gwd/config/proposals.hpp"

#include <algorithm>
#include <array>
#include <format>

namespace gw::config {
namespace {

// 1024-bit groups and SHA-1 are weak by today's standards (RFC 8247 2.3, 2.4); group 24's structure is
// suspicious. They are there because old customer routers speak nothing else.
constexpr std::array<Transform, 5> kIkeEncryptions{{{"GCMAES256", "aes256gcm16"},
                                                    {"GCMAES128", "aes128gcm16"},
                                                    {"AES256", "aes256"},
                                                    {"AES192", "aes192"},
                                                    {"AES128", "aes128"}}};
constexpr std::array<Transform, 3> kIkeIntegrities{
    {{"SHA384", "sha384"}, {"SHA256", "sha256"}, {"SHA1", "sha1", Strength::kWeak}}};
constexpr std::array<Transform, 5> kIkeDhGroups{{{"DHGroup14", "modp2048"},
                                                 {"ECP256", "ecp256"},
                                                 {"ECP384", "ecp384"},
                                                 {"DHGroup24", "modp2048s256", Strength::kWeak},
                                                 {"DHGroup2", "modp1024", Strength::kWeak}}};

std::string_view keyword(std::span<const Transform> transforms, std::string_view name) {
  const Transform* found = find_transform(transforms, name);
  return found == nullptr ? std::string_view() : found->keyword;
}

}  // namespace

std::span<const Transform> ike_encryptions() { return kIkeEncryptions; }
std::span<const Transform> ike_integrities() { return kIkeIntegrities; }
std::span<const Transform> ike_dh_groups() { return kIkeDhGroups; }

const Transform* find_transform(std::span<const Transform> transforms, std::string_view name) {
  const auto found = std::ranges::find(transforms, name, &Transform::name);
  return found == transforms.end() ? nullptr : &*found;
}

std::vector<std::string> names_of(std::span<const Transform> transforms) {
  std::vector<std::string> names;
  for (const Transform& t : transforms) names.emplace_back(t.name);
  return names;
}

std::vector<std::string> ike_proposals(const v1::Ike& ike) {
  const std::string_view encryption = keyword(kIkeEncryptions, ike.encryption());
  // AEAD ciphers bring their integrity along and need a PRF by name (RFC 5282 8).
  const std::string_view prf = encryption.contains("gcm") ? "prf" : "";
  return {std::format("{}-{}{}-{}", encryption, prf, keyword(kIkeIntegrities, ike.integrity()),
                      keyword(kIkeDhGroups, ike.dh_group()))};
}

}  // namespace gw::config
