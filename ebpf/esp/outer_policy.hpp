// What the outer header takes over from the inner one: DSCP (RFC 4301 5.1.2.1, RFC 2983), ECN (RFC 6040 4.1), the
// Don't Fragment flag (RFC 4301 8.1). Compiled to masks, so that a packet costs the same under every policy. Pure.
#pragma once

#include <cstdint>

#include "base/ip.hpp"
#include "base/ip_headers.hpp"

namespace gw::esp {

enum class DscpPolicy : std::uint8_t {
  kCopy,   // of the inner packet
  kFixed,  // OuterPolicy::dscp; 0: nothing about the inner packet shows
};
enum class EcnPolicy : std::uint8_t {
  kNormal,         // copied; the other end combines it (RFC 6040 4.1)
  kCompatibility,  // outer Not-ECT: for another end that does not understand ECN
};
enum class DfPolicy : std::uint8_t {
  kSet,  // path MTU discovery is the gateway's job
  kCopy,
  kClear,  // routers may fragment
};

struct OuterPolicy {
  DscpPolicy dscp_policy = DscpPolicy::kCopy;
  std::uint8_t dscp = 0;  // 0..63, with kFixed
  EcnPolicy ecn = EcnPolicy::kNormal;
  DfPolicy df = DfPolicy::kSet;
  friend bool operator==(const OuterPolicy&, const OuterPolicy&) = default;
};

class OuterMarks {
 public:
  constexpr OuterMarks() : OuterMarks(OuterPolicy{}) {}
  constexpr explicit OuterMarks(const OuterPolicy& p)
      : class_copied_(static_cast<std::uint8_t>((p.dscp_policy == DscpPolicy::kCopy ? 0xfc : 0) |
                                                (p.ecn == EcnPolicy::kNormal ? 0x03 : 0))),
        class_set_(static_cast<std::uint8_t>(p.dscp_policy == DscpPolicy::kFixed ? p.dscp << 2 : 0)),
        df_copied_(p.df == DfPolicy::kCopy ? kDontFragment : 0),
        df_set_(p.df == DfPolicy::kSet ? kDontFragment : 0) {}

  /// Of TOS or traffic class.
  std::uint8_t traffic_class(std::uint8_t inner) const {
    return static_cast<std::uint8_t>((inner & class_copied_) | class_set_);
  }
  /// The outer IPv4 fragment field for the inner one; an IPv6 packet counts as kDontFragment (RFC 8200 5).
  std::uint16_t fragment_field(std::uint16_t inner) const {
    return static_cast<std::uint16_t>((inner & df_copied_) | df_set_);
  }

 private:
  std::uint8_t class_copied_;
  std::uint8_t class_set_;
  std::uint16_t df_copied_;
  std::uint16_t df_set_;
};

}  // namespace gw::esp
