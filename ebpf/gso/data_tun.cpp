#include "ebpf/gso/data_tun.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <format>
#include <fstream>

#include "base/log.hpp"
#include "ebpf/gso/superpacket.hpp"

// Linux 6.2; older headers lack them.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace gw::gso {
namespace {

// No limit of its own: the tunnels' MTUs are checked packet by packet.
constexpr int kMtu = 65535;
// Packets that may wait for a worker: 10 ms of small ones at 400 kpps, three time slices of the scheduler (the default
// of 500 is less than one). As many superpackets would be 256 MiB, but of TCP only its windows wait.
constexpr int kQueueLength = 4096;

ifreq request_for(const std::string& name) {
  ifreq r{};
  name.copy(r.ifr_name, IFNAMSIZ - 1);
  return r;
}

Result<Fd> open_queue(const std::string& name) {
  Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_errno("opening /dev/net/tun");
  ifreq r = request_for(name);
  r.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
  if (::ioctl(fd.get(), TUNSETIFF, &r) != 0) {
    if (errno == EBUSY || errno == EINVAL)
      return fail(Errc::kAlreadyExists,
                  std::format("interface '{}' exists and is not ours: another gw-fastpath in this "
                              "network namespace?",
                              name));
    return fail_errno(std::format("making the TUN device '{}'", name));
  }
  const int header = sizeof(VnetHeader);
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header) != 0) return fail_errno("setting the size of virtio headers");
  return fd;
}

/// All offloads that the kernel has; UDP's came with Linux 6.2.
Result<UdpMerging> set_offloads(int fd) {
  constexpr unsigned kBasic = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (::ioctl(fd, TUNSETOFFLOAD, kBasic | TUN_F_USO4 | TUN_F_USO6) == 0) return UdpMerging::kYes;
  if (::ioctl(fd, TUNSETOFFLOAD, kBasic) != 0) return fail_errno("switching a TUN device's offloads on");
  log::info("gso", "this kernel has no UDP segmentation on TUN devices (Linux 6.2): UDP goes packet by packet");
  return UdpMerging::kNo;
}

void set_sysctl(const std::string& path, const char* value) {
  std::ofstream file(path);
  file << value;
  if (!file.flush()) log::debug("gso", "cannot write {}", path);  // a kernel without IPv6, or a read-only /proc
}

std::string read_sysctl(const std::string& path) {
  std::string value;
  std::ifstream(path) >> value;
  return value;
}

}  // namespace

Result<DataTun> DataTun::open(const std::string& name, std::size_t queues) {
  std::vector<Fd> fds;
  for (std::size_t i = 0; i < queues; ++i) {
    GW_TRY_ASSIGN(Fd fd, open_queue(name));
    fds.push_back(std::move(fd));
  }
  return adopt(name, std::move(fds));
}

Result<DataTun> DataTun::adopt(const std::string& name, std::vector<Fd> fds) {
  if (fds.empty() || !fds.front()) return fail(Errc::kNotFound, std::format("no queue of '{}' was handed over", name));
  GW_TRY_ASSIGN(const UdpMerging udp, set_offloads(fds.front().get()));
  DataTun tun(name, std::move(fds), udp);
  tun.steering_ = Fd(::fcntl(tun.queues_.front().get(), F_DUPFD_CLOEXEC, 0));
  if (!tun.steering_) return fail_errno("duplicating a TUN descriptor");
  GW_TRY(tun.bring_up());
  return tun;
}

Status DataTun::bring_up() {
  const Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return fail_errno("opening a socket for interface settings");
  ifreq r = request_for(name_);
  if (::ioctl(control.get(), SIOCGIFINDEX, &r) != 0) return fail_errno(std::format("finding '{}'", name_));
  ifindex_ = r.ifr_ifindex;
  r.ifr_mtu = kMtu;
  if (::ioctl(control.get(), SIOCSIFMTU, &r) != 0) return fail_errno(std::format("setting the MTU of '{}'", name_));
  r.ifr_qlen = kQueueLength;
  if (::ioctl(control.get(), SIOCSIFTXQLEN, &r) != 0)
    return fail_errno(std::format("setting the queue length of '{}'", name_));
  // No link-local address, hence no neighbour discovery of its own.
  const std::string v6 = "/proc/sys/net/ipv6/conf/" + name_;
  set_sysctl(v6 + "/addr_gen_mode", "1");
  set_sysctl(v6 + "/router_solicitations", "0");
  set_sysctl(v6 + "/accept_ra", "0");
  // What is written here came out of a tunnel, and the best route back leads into the tunnel's own device: strict
  // reverse path filtering would drop it. The kernel takes the larger of "all" and the device's value. Sources were
  // checked against the forwarding table.
  const bool strict = read_sysctl("/proc/sys/net/ipv4/conf/all/rp_filter") == "1";
  set_sysctl("/proc/sys/net/ipv4/conf/" + name_ + "/rp_filter", strict ? "2" : "0");
  r = request_for(name_);
  if (::ioctl(control.get(), SIOCGIFFLAGS, &r) != 0) return fail_errno(std::format("reading the flags of '{}'", name_));
  r.ifr_flags = static_cast<short>(r.ifr_flags | IFF_UP);
  if (::ioctl(control.get(), SIOCSIFFLAGS, &r) != 0) return fail_errno(std::format("bringing '{}' up", name_));
  return {};
}

Status DataTun::set_steering(const SteeredQueue& queue, int program_fd) {
  if (::ioctl(queue.fd, TUNSETSTEERINGEBPF, &program_fd) != 0)
    return fail_errno("setting the queue program of a data TUN");
  return {};
}

}  // namespace gw::gso
