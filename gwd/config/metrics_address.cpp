#include "gwd/config/metrics_address.hpp"

#include <charconv>
#include <format>

namespace gw::config {

Result<MetricsAddress> parse_metrics_address(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::kMalformed, std::format("'{}' is not an address and port", text.substr(0, 60)));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  if (!address || address->is_v6() != bracketed) return wrong();
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (ec != std::errc() || end != digits.data() + digits.size() || port == 0) return wrong();
  if (!address->is_loopback())
    return fail(Errc::kInvalidArgument, std::format("{} is not a loopback address", *address));
  return MetricsAddress{*address, port};
}

}  // namespace gw::config
