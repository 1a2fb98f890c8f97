#include "ebpf/net/interface.hpp"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.hpp"

namespace gw::net {
namespace {

bool ask(unsigned long question, const std::string& interface, ifreq& request) {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  return fd && ::ioctl(fd.get(), question, &request) == 0;
}

}  // namespace

std::string driver_name(const std::string& interface) {
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  request.ifr_data = reinterpret_cast<char*>(&info);
  if (!ask(SIOCETHTOOL, interface, request)) return {};
  info.driver[sizeof info.driver - 1] = '\0';
  return info.driver;
}

std::uint32_t interface_mtu(const std::string& interface) {
  ifreq request{};
  return ask(SIOCGIFMTU, interface, request) ? static_cast<std::uint32_t>(request.ifr_mtu) : 0;
}

int interface_index(const std::string& interface) { return static_cast<int>(::if_nametoindex(interface.c_str())); }

}  // namespace gw::net
