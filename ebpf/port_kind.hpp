// The two kinds of port, and which one an interface gets (ADR 9). Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gw {

enum class PortKind : std::uint8_t {
  kXsk,  // XDP and AF_XDP
  kGso,  // the kernel's sockets and a TUN device, with segmentation offload
};

/// Which kind, and why: a sentence for an operator.
struct PortChoice {
  PortKind kind = PortKind::kXsk;
  std::string reason;
};
struct PortOffer {
  std::string driver;      // empty: it has no name
  bool zero_copy = false;  // AF_XDP
};
/// What was asked for (none: automatic); else xsk where the driver offers zero-copy AF_XDP.
PortChoice choose_port_kind(std::optional<PortKind> asked, const PortOffer& offer);

}  // namespace gw
