#include "bgp/fpm.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <format>
#include <type_traits>

#include "base/wire.hpp"

namespace gw::bgp {
namespace {

using Bytes = std::span<const std::uint8_t>;

// FRR fpm/fpm.h: version, type, length with the header in network order.
constexpr std::size_t kFrameHeader = 4;
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kNetlink = 1;

static_assert(RTPROT_BGP == kProtocolBgp);

std::unexpected<Error> bad(std::string what) { return fail(Errc::kMalformed, std::move(what)); }

/// Netlink has the order of this machine; the caller has checked the length.
template <class T>
T load(Bytes bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

constexpr std::size_t aligned(std::size_t length) { return (length + 3) & ~std::size_t{3}; }

/// `each` gets the type and the value of every attribute.
template <class Each>
Status for_each_attribute(Bytes bytes, Each each) {
  while (bytes.size() >= sizeof(rtattr)) {
    const auto header = load<rtattr>(bytes);
    if (header.rta_len < sizeof(rtattr) || header.rta_len > bytes.size()) return bad("netlink attribute is cut short");
    GW_TRY(each(static_cast<unsigned>(header.rta_type & NLA_TYPE_MASK),
                bytes.subspan(sizeof(rtattr), header.rta_len - sizeof(rtattr))));
    bytes = bytes.subspan(std::min(bytes.size(), aligned(header.rta_len)));
  }
  return {};
}

Status add_device(Bytes value, std::vector<std::uint32_t>& devices) {
  if (value.size() != sizeof(std::uint32_t)) return bad("netlink RTA_OIF is no interface index");
  devices.push_back(load<std::uint32_t>(value));
  return {};
}

Status add_multipath(Bytes value, std::vector<std::uint32_t>& devices) {
  while (value.size() >= sizeof(rtnexthop)) {
    const auto hop = load<rtnexthop>(value);
    if (hop.rtnh_len < sizeof(rtnexthop) || hop.rtnh_len > value.size()) return bad("netlink next hop is cut short");
    devices.push_back(static_cast<std::uint32_t>(hop.rtnh_ifindex));
    value = value.subspan(std::min(value.size(), aligned(hop.rtnh_len)));
  }
  return {};
}

Result<std::optional<FpmRoute>> parse_route(Bytes body, std::uint16_t type) {
  if (body.size() < sizeof(rtmsg)) return bad("netlink route is cut short");
  const auto header = load<rtmsg>(body);
  const bool v4 = header.rtm_family == AF_INET;
  if (!v4 && header.rtm_family != AF_INET6) return std::nullopt;
  const std::size_t size = v4 ? 4 : 16;
  std::array<std::uint8_t, 16> address{};  // 0/0 comes without RTA_DST
  std::uint32_t table = header.rtm_table;
  FpmRoute route;
  route.protocol = header.rtm_protocol;
  GW_TRY(for_each_attribute(body.subspan(aligned(sizeof(rtmsg))), [&](unsigned kind, Bytes value) -> Status {
    switch (kind) {
      case RTA_DST:
        if (value.size() != size) return bad("netlink RTA_DST has not the size of an address");
        std::ranges::copy(value, address.begin());
        return {};
      case RTA_TABLE:
        if (value.size() != sizeof table) return bad("netlink RTA_TABLE is no number");
        table = load<std::uint32_t>(value);
        return {};
      case RTA_OIF: return add_device(value, route.devices);
      case RTA_MULTIPATH: return add_multipath(value, route.devices);
      default: return {};
    }
  }));
  if (table != RT_TABLE_MAIN && table != RT_TABLE_UNSPEC) return std::nullopt;
  GW_TRY_ASSIGN(const IpAddress destination, IpAddress::from_bytes(Bytes(address).first(size)));
  GW_TRY_ASSIGN(route.prefix, Prefix::make(destination, header.rtm_dst_len));
  if (type == RTM_DELROUTE) route.devices.clear();
  std::ranges::sort(route.devices);
  const auto repeated = std::ranges::unique(route.devices);
  route.devices.erase(repeated.begin(), repeated.end());
  return route;
}

}  // namespace

void FpmSession::feed(Bytes bytes) {
  if (inner_ == 0 && frame_ > 0) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(frame_));
    frame_ = 0;
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<FpmRoute>> FpmSession::next() {
  for (;;) {
    const Bytes rest = Bytes(buffer_).subspan(frame_);
    if (rest.size() < kFrameHeader) return std::nullopt;
    if (rest[0] != kVersion) return bad(std::format("FPM version {}, this is version {}", rest[0], kVersion));
    const std::size_t length = load_be<std::uint16_t>(rest.data() + 2);
    if (length < kFrameHeader) return bad(std::format("FPM frame of {} bytes", length));
    if (rest.size() < length) return std::nullopt;
    if (inner_ == 0) inner_ = kFrameHeader;
    const Bytes messages = rest.first(length).subspan(std::min(inner_, length));
    if (rest[1] != kNetlink || messages.size() < sizeof(nlmsghdr)) {
      frame_ += length;
      inner_ = 0;
      continue;
    }
    const auto header = load<nlmsghdr>(messages);
    if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > messages.size()) {
      return bad("netlink message is cut short");
    }
    inner_ += aligned(header.nlmsg_len);
    if (header.nlmsg_type != RTM_NEWROUTE && header.nlmsg_type != RTM_DELROUTE) continue;
    GW_TRY_ASSIGN(auto route, parse_route(messages.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr)),
                                          header.nlmsg_type));
    if (route) return route;
  }
}

}  // namespace gw::bgp
