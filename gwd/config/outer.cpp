#include "gwd/config/outer.hpp"

#include <charconv>
#include <format>

namespace gw::config {

Result<std::optional<std::uint8_t>> parse_dscp(std::string_view text) {
  constexpr unsigned kMaxDscp = 63;  // RFC 2474 3: six bits
  if (text.empty() || text == "copy") return std::nullopt;
  if (text == "none") return std::uint8_t{0};
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kMaxDscp)
    return fail_field("dscp", std::format("'{}' is no DSCP", text.substr(0, 40)));
  return static_cast<std::uint8_t>(value);
}

Result<OuterSettings> resolve_outer(const v1::OuterHeader& outer) {
  OuterSettings out;
  GW_TRY_ASSIGN(out.dscp, parse_dscp(outer.dscp()));
  out.ecn_compatibility = outer.ecn_compatibility();
  out.dont_fragment = outer.dont_fragment();
  return out;
}

}  // namespace gw::config
