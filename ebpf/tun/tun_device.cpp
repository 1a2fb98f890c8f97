#include "ebpf/tun/tun_device.hpp"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include "base/log.hpp"

namespace gw::tun {
namespace {

ifreq request_for(const std::string& name) {
  ifreq r{};
  name.copy(r.ifr_name, IFNAMSIZ - 1);
  return r;
}

void set_sysctl(const std::string& path, const char* value) {
  std::ofstream file(path);
  file << value;
  if (!file.flush()) log::debug("tun", "cannot write {}", path);  // a kernel without IPv6, or a read-only /proc
}

std::string read_sysctl(const std::string& path) {
  std::string value;
  std::ifstream(path) >> value;
  return value;
}

/// The kernel tells of carriers once a second (linkwatch): of a hundred tunnels that lose their SAs together zebra
/// would hear of the first now and of the others a second later. Asking for the link state has it told at once.
void tell_carrier_now(const std::string& name) {
  const Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_value link{.cmd = ETHTOOL_GLINK, .data = 0};
  ifreq r = request_for(name);
  r.ifr_data = reinterpret_cast<char*>(&link);
  if (::ioctl(control.get(), SIOCETHTOOL, &r) != 0) log::debug("tun", "no link state of '{}'", name);
}

}  // namespace

Result<TunDevice> TunDevice::open(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ || name.find_first_of("/ %") != std::string::npos)
    return fail_field("device", std::format("'{}' is no interface name", name));
  Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_errno("opening /dev/net/tun");
  ifreq r = request_for(name);
  r.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(fd.get(), TUNSETIFF, &r) != 0) {
    if (errno == EBUSY || errno == EINVAL)
      return fail_field("device", std::format("interface '{}' exists and is in use", name), Errc::kAlreadyExists);
    return fail_errno(std::format("making the TUN device '{}'", name));
  }
  if (::ioctl(fd.get(), TUNSETPERSIST, 1) != 0) return fail_errno(std::format("keeping the TUN device '{}'", name));
  return TunDevice(std::move(fd), name);
}

Result<TunDevice> TunDevice::adopt(Fd fd) {
  ifreq r{};
  if (::ioctl(fd.get(), TUNGETIFF, &r) != 0) return fail(Errc::kNotFound, "the kept descriptor is no TUN device");
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0)
    return fail_errno("adopting a TUN descriptor");
  r.ifr_name[IFNAMSIZ - 1] = '\0';
  return TunDevice(std::move(fd), r.ifr_name);
}

bool TunDevice::exists() const {
  ifreq r{};
  return ::ioctl(fd_.get(), TUNGETIFF, &r) == 0;
}

Status TunDevice::bring_up(std::uint32_t mtu) {
  Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return fail_errno("opening a socket for interface settings");
  ifreq r = request_for(name_);
  r.ifr_mtu = static_cast<int>(mtu);
  if (::ioctl(control.get(), SIOCSIFMTU, &r) != 0) return fail_errno(std::format("setting the MTU of '{}'", name_));
  r = request_for(name_);
  if (::ioctl(control.get(), SIOCGIFFLAGS, &r) != 0) return fail_errno(std::format("reading the flags of '{}'", name_));
  if (r.ifr_flags & IFF_UP) return {};
  // The link-local address stays: without an IPv6 address on the device bgpd refuses a session that
  // negotiates IPv6 routes. Nothing on the other side wants router solicitations, and no site's router tells this
  // machine its addresses and routes.
  set_sysctl("/proc/sys/net/ipv6/conf/" + name_ + "/router_solicitations", "0");
  set_sysctl("/proc/sys/net/ipv6/conf/" + name_ + "/accept_ra", "0");
  // A decrypted packet was checked against the SA's selectors; strict reverse path filtering would drop
  // what arrives over one of several equal tunnels. The kernel takes the larger of "all" and the device's
  // value: where "all" is strict (1, common hardening), only loose (2) ends that.
  const bool strict = read_sysctl("/proc/sys/net/ipv4/conf/all/rp_filter") == "1";
  set_sysctl("/proc/sys/net/ipv4/conf/" + name_ + "/rp_filter", strict ? "2" : "0");
  r.ifr_flags = static_cast<short>(r.ifr_flags | IFF_UP);
  if (::ioctl(control.get(), SIOCSIFFLAGS, &r) != 0) return fail_errno(std::format("bringing '{}' up", name_));
  return {};
}

Status TunDevice::set_carrier(Carrier carrier) {
  const unsigned on = carrier == Carrier::kUp ? 1 : 0;
  if (::ioctl(fd_.get(), TUNSETCARRIER, &on) != 0) return fail_errno(std::format("setting the carrier of '{}'", name_));
  tell_carrier_now(name_);
  return {};
}

void TunDevice::destroy(TunDevice device) {
  if (!device.exists()) return;  // somebody was faster
  if (::ioctl(device.fd(), TUNSETPERSIST, 0) != 0) log::warning("tun", "cannot remove '{}'", device.name());
}

}  // namespace gw::tun
