#include "gwd/api/redact.hpp"

#include <ranges>

namespace gw::gwd {
namespace {

constexpr std::string_view kMasked = "<secret>";
// A shorter one stands in every other word.
constexpr std::size_t kShortest = 4;

void replace_all(std::string& text, std::string_view secret) {
  if (secret.size() < kShortest) return;
  for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at + kMasked.size()))
    text.replace(at, secret.size(), kMasked);
}

}  // namespace

// "neighbor 169.254.21.2 password SECRET", "password SECRET": whatever follows the word.
std::string mask_passwords(std::string_view frr_config) {
  constexpr std::string_view kWord = "password ";
  std::string out;
  for (const auto part : frr_config | std::views::split('\n')) {
    const std::string_view line(part);
    const std::size_t at = line.find(kWord);
    out += line.substr(0, at == std::string_view::npos ? at : at + kWord.size());
    if (at != std::string_view::npos) out += kMasked;
    out += '\n';
  }
  if (!out.empty()) out.pop_back();
  return out;
}

std::string without_secrets(std::string text, const config::GatewayModel& model) {
  for (const auto& tunnel : model.tunnels) {
    replace_all(text, tunnel.psk.text());
    if (tunnel.bgp) replace_all(text, tunnel.bgp->md5.text());
  }
  for (const auto& session : model.sessions) replace_all(text, session.bgp.md5.text());
  return text;
}

}  // namespace gw::gwd
