#include "gwd/config/esp_proposals.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <ranges>

#include "gwd/config/suggest.hpp"

namespace gw::config {
namespace {

constexpr auto kEncryptions = std::to_array<Transform>({{"GCMAES256", "aes256gcm16"},
                                                        {"GCMAES192", "aes192gcm16"},
                                                        {"GCMAES128", "aes128gcm16"},
                                                        {"CHACHA20POLY1305", "chacha20poly1305"},
                                                        {"AES256", "aes256"},
                                                        {"AES192", "aes192"},
                                                        {"AES128", "aes128"},
                                                        {"DES3", "3des"}});
constexpr auto kIntegrities = std::to_array<Transform>(
    {{"SHA512", "sha512"}, {"SHA384", "sha384"}, {"SHA256", "sha256"}, {"SHA1", "sha1", Strength::kWeak}});
constexpr std::string_view kDefaultIntegrity = "SHA256";
constexpr auto kPfsGroups = std::to_array<Transform>({{"None", ""},
                                                      {"PFS14", "modp2048"},
                                                      {"PFS2048", "modp2048"},
                                                      {"ECP256", "ecp256"},
                                                      {"ECP384", "ecp384"},
                                                      {"PFS24", "modp2048s256", Strength::kWeak},
                                                      {"PFS2", "modp1024", Strength::kWeak}});

// Keywords of proposals beyond those of the tables above. A truncated GCM tag is what some routers offer.
constexpr std::array<std::string_view, 6> kShortTagGcm{"aes256gcm12", "aes192gcm12", "aes128gcm12",
                                                       "aes256gcm8",  "aes192gcm8",  "aes128gcm8"};
constexpr std::array<std::string_view, 10> kGroups{"modp2048", "modp3072", "modp4096",     "ecp256",   "ecp384",
                                                   "ecp521",   "x25519",   "modp2048s256", "modp1024", "curve25519"};

bool has_keyword(std::span<const Transform> transforms, std::string_view keyword) {
  return std::ranges::contains(transforms, keyword, &Transform::keyword);
}

bool is_aead(std::string_view keyword) { return keyword.contains("gcm") || keyword == "chacha20poly1305"; }

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (const auto part : text | std::views::split('-')) parts.emplace_back(part);
  if (parts.empty()) parts.emplace_back();  // of no text at all
  return parts;
}

std::vector<std::string> keywords(std::span<const Transform> transforms) {
  std::vector<std::string> out;
  for (const Transform& t : transforms)
    if (!t.keyword.empty() && t.strength == Strength::kGood && !is_legacy_encryption(t.keyword))
      out.emplace_back(t.keyword);
  return out;
}

std::vector<std::string> encryption_keywords() {
  std::vector<std::string> out = keywords(kEncryptions);
  out.insert(out.end(), kShortTagGcm.begin(), kShortTagGcm.end());
  return out;
}

ProposalFault unknown(std::string_view part, std::string_view what, const std::vector<std::string>& known) {
  const std::string meant = suggest(part, known);
  return {std::format("'{}' is no {} that this gateway has{}", part.substr(0, 40), what,
                      meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
          "one of " + join(known)};
}

std::string_view keyword_of(std::span<const Transform> transforms, std::string_view name) {
  const Transform* found = find_transform(transforms, name);
  return found == nullptr ? std::string_view() : found->keyword;
}

}  // namespace

std::span<const Transform> esp_encryptions() { return kEncryptions; }
std::span<const Transform> esp_integrities() { return kIntegrities; }
std::span<const Transform> esp_pfs_groups() { return kPfsGroups; }

bool wants_integrity(std::string_view encryption) {
  const std::string_view keyword = keyword_of(kEncryptions, encryption);
  return !keyword.empty() && !is_aead(keyword);
}

bool is_legacy_encryption(std::string_view encryption) { return encryption == "DES3" || encryption == "3des"; }

std::optional<ProposalFault> check_esp_proposal(std::string_view text, const v1::Ipsec& ipsec) {
  const auto parts = parts_of(text);
  const std::string_view encryption = parts[0];
  if (!has_keyword(kEncryptions, encryption) && !std::ranges::contains(kShortTagGcm, encryption))
    return unknown(encryption, "encryption", encryption_keywords());
  if (is_legacy_encryption(encryption) && !ipsec.allow_legacy())
    return ProposalFault{std::format("'{}' is too weak", encryption), std::string(kHowToAllowLegacy)};
  std::size_t next = 1;
  if (!is_aead(encryption)) {
    if (parts.size() == 1 || !has_keyword(kIntegrities, parts[1])) {
      if (parts.size() == 1)
        return ProposalFault{std::format("'{}' has no integrity algorithm", encryption),
                             std::format("'{}-sha256', for example", encryption)};
      return unknown(parts[1], "integrity algorithm", keywords(kIntegrities));
    }
    next = 2;
  }
  for (; next < parts.size(); ++next) {
    if (is_aead(encryption) && has_keyword(kIntegrities, parts[next]))
      return ProposalFault{std::format("'{}' has its own integrity; '{}' is one too many", encryption, parts[next]),
                           std::string(encryption)};
    if (parts[next] == "esn" || parts[next] == "noesn")
      return ProposalFault{"extended sequence numbers are not chosen here", "`no_esn: true` in place of it"};
    if (!std::ranges::contains(kGroups, parts[next]))
      return unknown(parts[next], "Diffie-Hellman group", {kGroups.begin(), kGroups.begin() + 7});
  }
  return std::nullopt;
}

std::string weak_part(std::string_view text) {
  for (const std::string_view part : parts_of(text)) {
    if (is_legacy_encryption(part)) return std::string(part);
    for (const auto& table : {std::span<const Transform>(kIntegrities), std::span<const Transform>(kPfsGroups)})
      for (const Transform& t : table)
        if (t.keyword == part && t.strength == Strength::kWeak) return std::string(part);
  }
  return {};
}

std::vector<std::string> esp_proposals(const v1::Ipsec& ipsec) {
  const std::string_view esn = ipsec.no_esn() ? "noesn" : "esn-noesn";
  std::vector<std::string> out;
  for (const std::string& proposal : ipsec.proposals()) out.push_back(std::format("{}-{}", proposal, esn));
  if (!out.empty()) return out;
  std::string algorithms(keyword_of(kEncryptions, ipsec.encryption()));
  if (wants_integrity(ipsec.encryption())) {
    const std::string_view name = ipsec.integrity().empty() ? kDefaultIntegrity : std::string_view(ipsec.integrity());
    algorithms += std::format("-{}", keyword_of(kIntegrities, name));
  }
  // strongSwan takes a proposal with groups and one without for different things, so "as the peer likes"
  // is two proposals.
  if (ipsec.pfs().empty())
    return {std::format("{}-modp2048-ecp256-ecp384-{}", algorithms, esn), std::format("{}-{}", algorithms, esn)};
  const std::string_view group = keyword_of(kPfsGroups, ipsec.pfs());
  return {group.empty() ? std::format("{}-{}", algorithms, esn) : std::format("{}-{}-{}", algorithms, group, esn)};
}

}  // namespace gw::config
