// FRR's Forwarding Plane Manager stream (zebra -M dplane_fpm_nl): what zebra would have a kernel forward, as netlink
// messages (RFC 3549, linux/rtnetlink.h) behind a header of four bytes. Pure and strict: a frame whose lengths do not
// agree ends the stream. Only unicast routes of the main table come out. One thread.
//
// Asked for without next-hop groups (`no fpm use-next-hop-groups`), so that every route has its own next hops. There is
// no end of the first dump: it is over when nothing comes any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::bgp {

struct FpmRoute {
  Prefix prefix;
  std::uint8_t protocol = 0;           // RTPROT_BGP...: who it is of
  std::vector<std::uint32_t> devices;  // interface indexes of its next hops, sorted, each once; empty: it is gone
};

/// RTPROT_BGP of linux/rtnetlink.h.
inline constexpr std::uint8_t kProtocolBgp = 186;

class FpmSession {
 public:
  void feed(std::span<const std::uint8_t> bytes);
  /// The next route; nothing when more bytes are needed; an error when the stream is beyond repair.
  Result<std::optional<FpmRoute>> next();

 private:
  std::vector<std::uint8_t> buffer_;
  std::size_t frame_ = 0;  // where the next frame begins
  std::size_t inner_ = 0;  // the next netlink message of the frame before; 0: none is open
};

}  // namespace gw::bgp
