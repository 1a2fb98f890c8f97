// Traffic selectors (RFC 4301 4.4.1.1): address ranges with protocol and ports, and the check of a packet
// against those of its SA. Pure; the compiled form is read-only and may be shared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/esp/inner.hpp"

namespace gw::esp {

struct Selector {
  IpAddress first;
  IpAddress last;
  std::uint8_t protocol = 0;  // 0 any
  std::uint16_t first_port = 0;
  std::uint16_t last_port = 65535;  // 0..65535 is any; ICMP: type << 8 | code
};

class SelectorSet {
 public:
  /// Empty lists are refused: an SA without selectors carries nothing. Faults name `local` or `remote`.
  static Result<SelectorSet> compile(std::span<const Selector> local, std::span<const Selector> remote);

  enum class Way : std::uint8_t { kLocalToRemote, kRemoteToLocal };
  /// `packet` starts with a header that check_inner() accepted.
  bool matches(std::span<const std::uint8_t> packet, Family family, Way way) const {
    return any_[static_cast<std::size_t>(family)] || matches_ranges(packet, family, way);
  }

 private:
  struct Range {
    std::uint64_t first[2];  // host order, most significant first; IPv4 in first[1]
    std::uint64_t last[2];
    std::uint16_t first_port;
    std::uint16_t last_port;
    std::uint8_t protocol;
    Family family;
  };
  static Result<std::vector<Range>> compile_side(std::span<const Selector> side, std::string_view name);
  static bool side_matches(std::span<const Range> side, const Flow& flow, std::size_t end);
  bool matches_ranges(std::span<const std::uint8_t> packet, Family family, Way way) const;

  std::vector<Range> local_;
  std::vector<Range> remote_;
  bool any_[2] = {false, false};  // both sides take every packet of the family: the usual route-based tunnel
};

}  // namespace gw::esp
