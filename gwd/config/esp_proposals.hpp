// What a tunnel offers for ESP: from the clouds' names (encryption, integrity, pfs) or from strongSwan-style
// proposals that operators write themselves ("aes256gcm16", "aes128gcm16-ecp256", "aes256-sha256-modp2048",
// "chacha20poly1305"). Everything that the fast path has; what is broken wants `allow_legacy`. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gwd/config/proposals.hpp"

namespace gw::config {

std::span<const Transform> esp_encryptions();
std::span<const Transform> esp_integrities();
std::span<const Transform> esp_pfs_groups();

/// A cipher that takes its integrity from a second algorithm; by cloud name.
bool wants_integrity(std::string_view encryption);
/// Encryption names that `allow_legacy` allows, by cloud name.
bool is_legacy_encryption(std::string_view encryption);
inline constexpr std::string_view kHowToAllowLegacy =
    "AES, or `allow_legacy: true` here and --allow-legacy-crypto of gw-fastpath";

struct ProposalFault {
  std::string message;
  std::string expected;
};
/// Nothing if `text` is a proposal: encryption, integrity if it wants one, then any Diffie-Hellman groups.
std::optional<ProposalFault> check_esp_proposal(std::string_view text, const v1::Ipsec& ipsec);
/// Of a good proposal: what in it is weak; empty: nothing.
std::string weak_part(std::string_view text);

/// strongSwan's proposal strings. For validated settings, with every value present but `pfs` and `integrity`.
std::vector<std::string> esp_proposals(const v1::Ipsec& ipsec);

}  // namespace gw::config
