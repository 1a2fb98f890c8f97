#include "gwd/pki/lifetime.hpp"

#include <format>
#include <fstream>
#include <iterator>

namespace gw::pki {
namespace {

constexpr std::size_t kMaxPem = 64 * 1024;

std::string read_some(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxPem, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::string left_text(std::chrono::seconds left) {
  const auto days = std::chrono::floor<std::chrono::days>(left).count();
  if (days >= 2) return std::format("{} more days", days);
  const auto hours = std::chrono::floor<std::chrono::hours>(left).count();
  return hours >= 2 ? std::format("{} more hours", hours) : std::format("{} more minutes", left.count() / 60);
}

}  // namespace

Lifetime lifetime(WallTime until, WallTime now) {
  if (until <= now) return Lifetime::kExpired;
  if (until - now <= kNext) return Lifetime::kEndsNext;
  return until - now <= kSoon ? Lifetime::kEndsSoon : Lifetime::kGood;
}

std::string_view severity(Lifetime lifetime) {
  switch (lifetime) {
    case Lifetime::kGood: return "";
    case Lifetime::kEndsSoon: return "warning";
    case Lifetime::kEndsNext:
    case Lifetime::kExpired: return "error";
  }
  return "error";
}

std::string describe(const CertificateEnd& end, WallTime now) {
  const auto day = std::chrono::floor<std::chrono::days>(end.until);
  if (end.until <= now) return std::format("{} has expired on {:%F}", end.file, day);
  return std::format("{} is good until {:%F}, for {}", end.file, day,
                     left_text(std::chrono::floor<std::chrono::seconds>(end.until - now)));
}

std::vector<CertificateEnd> certificate_ends(const std::string& folder, const std::string& instance) {
  std::vector<CertificateEnd> out;
  const std::string own = read_some(std::format("{}/{}.crt", folder, instance));
  const auto info = read_certificate(own);
  if (!info) return out;
  out.push_back({std::format("{}/{}.crt", folder, instance), info->until,
                 std::format("gwctl ha renew (where ca.key is), then copy {0}.crt and {0}.key to {0}", instance)});
  // An old authority may end beside the new one.
  for (const std::string& authority : split_certificates(read_some(folder + "/ca.crt"))) {
    const auto by = read_certificate(authority);
    if (!by || !is_issued_by({own, authority})) continue;
    out.push_back(
        {folder + "/ca.crt", by->until, "gwctl ha renew --authority (where ca.key is), and the steps it names"});
    break;
  }
  return out;
}

}  // namespace gw::pki
