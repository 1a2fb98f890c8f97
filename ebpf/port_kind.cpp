#include "ebpf/port_kind.hpp"

#include <format>

namespace gw {

PortChoice choose_port_kind(std::optional<PortKind> asked, const PortOffer& offer) {
  if (asked) return {*asked, "as gw-fastpath was told"};
  const std::string driver = offer.driver.empty() ? "the driver" : std::format("the driver {}", offer.driver);
  if (offer.zero_copy) return {PortKind::kXsk, std::format("{} offers zero-copy AF_XDP", driver)};
  return {PortKind::kGso,
          std::format("{} offers no zero-copy AF_XDP, and segmentation offload is faster than copying", driver)};
}

}  // namespace gw
