// The path MTU to one peer, outside the tunnel: RFC 1191 and RFC 8201. Reports make it smaller; ten minutes after the
// last one it is what the link says again (RFC 1191 6.3), and the next report, if the path is as it was, comes with
// the next large packet. Pure: time is an argument.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.hpp"
#include "base/ip.hpp"

namespace gw::ip {

/// What every inner host may count on: RFC 8200 5 (a link's least MTU), RFC 1122 3.3.3 (what is always taken). Where
/// the path has no room for that, the outer packet is sent in fragments.
constexpr std::uint32_t least_inner_mtu(Family inner) { return inner == Family::kV4 ? 576 : 1280; }

class PathMtu {
 public:
  static constexpr std::chrono::minutes kLifetime{10};
  /// No estimate goes below, whatever a message says: an attacker would have us send crumbs. RFC 8201 4 for IPv6;
  /// every IPv4 network of our time carries 576.
  static constexpr std::uint32_t floor(Family outer) { return outer == Family::kV4 ? 576 : 1280; }

  explicit PathMtu(Family outer) : outer_(outer) {}

  /// Someone on the way says that `mtu` is what fits. The caller has checked that it is about a packet of ours. True
  /// if the estimate changed. Messages never raise it (RFC 1191 3).
  bool report(std::uint32_t mtu, MonoTime now);
  /// Every second or so. True if the estimate was given up.
  bool age(MonoTime now);
  /// Nothing: as much as the link carries.
  std::optional<std::uint32_t> value() const { return value_; }
  MonoTime last_report() const { return last_report_; }

 private:
  Family outer_;
  std::optional<std::uint32_t> value_;
  MonoTime last_report_{};
};

}  // namespace gw::ip
