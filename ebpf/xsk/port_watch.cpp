#include "ebpf/xsk/port_watch.hpp"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "ebpf/xsk/device.hpp"

namespace gw::xsk {
namespace {

/// 0: it did not say.
std::uint32_t mtu_of(const std::string& interface) {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  if (!fd || ::ioctl(fd.get(), SIOCGIFMTU, &request) != 0) return 0;
  return static_cast<std::uint32_t>(request.ifr_mtu);
}

}  // namespace

Status PortWatch::check() {
  const auto queues = rx_queues(start_.interface);
  if (queues && *queues > start_.queues)
    return fail(Errc::kUnsupported,
                std::format("{} has {} receive queues now and AF_XDP sockets on {} of them; a restart serves all",
                            start_.interface, *queues, start_.queues));
  const std::uint32_t mtu = mtu_of(start_.interface);
  if (mtu > start_.largest_ip && mtu != warned_mtu_)
    log::warning("port",
                 "the MTU of {} is {} now; packets of more than {} bytes are lost until gw-fastpath is restarted",
                 start_.interface, mtu, start_.largest_ip);
  warned_mtu_ = mtu > start_.largest_ip ? mtu : 0;
  return {};
}

}  // namespace gw::xsk
