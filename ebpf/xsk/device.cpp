#include "ebpf/xsk/device.hpp"

#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/netdev.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <format>

#include "base/fd.hpp"

namespace gw::xsk {

Result<std::uint32_t> rx_queues(const std::string& interface) {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("opening a socket for ethtool");
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (::ioctl(fd.get(), SIOCETHTOOL, &request) != 0) return 1;  // no such operation: a single-queue device
  return std::max<std::uint32_t>(1, channels.combined_count + channels.rx_count);
}

Status keep_vlan_tags(const std::string& interface) {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("opening a socket for ethtool");
  ethtool_value flags{.cmd = ETHTOOL_GFLAGS, .data = 0};
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&flags);
  if (::ioctl(fd.get(), SIOCETHTOOL, &request) != 0 || (flags.data & ETH_FLAG_RXVLAN) == 0) return {};
  flags.cmd = ETHTOOL_SFLAGS;
  flags.data &= ~static_cast<std::uint32_t>(ETH_FLAG_RXVLAN);
  if (::ioctl(fd.get(), SIOCETHTOOL, &request) == 0) return {};
  return fail_errno(std::format("{} takes VLAN tags out of packets and cannot be told not to", interface));
}

bool offers_zero_copy(int ifindex) {
  LIBBPF_OPTS(bpf_xdp_query_opts, options);
  return bpf_xdp_query(ifindex, 0, &options) == 0 && (options.feature_flags & NETDEV_XDP_ACT_XSK_ZEROCOPY) != 0;
}

FramesSent frames_sent(int ifindex) {
  LIBBPF_OPTS(bpf_xdp_query_opts, options);
  if (bpf_xdp_query(ifindex, 0, &options) != 0 || (options.feature_flags & NETDEV_XDP_ACT_NDO_XMIT) == 0)
    return FramesSent::kNone;
  return (options.feature_flags & NETDEV_XDP_ACT_NDO_XMIT_SG) != 0 ? FramesSent::kPieces : FramesSent::kWhole;
}

CopyChoice choose_copy_mode(std::span<const PortOffer> ports) {
  std::string without;
  for (const PortOffer& port : ports) {
    if (port.best == CopyMode::kZeroCopy) continue;
    if (!without.empty()) without += " and ";
    without += port.interface;
  }
  if (without.empty()) return {CopyMode::kZeroCopy, "all ports offer zero-copy AF_XDP"};
  return {CopyMode::kCopy, std::format("no zero-copy AF_XDP on {}; the ports share their packet buffers", without)};
}

}  // namespace gw::xsk
