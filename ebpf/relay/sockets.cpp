#include "ebpf/relay/sockets.hpp"

#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>

#include "base/log.hpp"

namespace gw::relay {
namespace {

constexpr std::string_view kPrefix = "udp-";
constexpr std::string_view kEspPrefix = "esp-";
constexpr const char* kIpv6 = "/proc/net/if_inet6";  // there if the kernel has IPv6

void warn(const Status& done) {
  if (!done) log::warning("ike", "{}", done.error().describe());
}

Result<UdpSocket> obtain(tun::FdStore& store, std::map<std::string, Fd>& kept, const std::string& name,
                         std::uint16_t port, Family family) {
  if (auto node = kept.extract(name); !node.empty()) {
    auto socket = UdpSocket::adopt(std::move(node.mapped()));
    if (socket && socket->port() == port && socket->family() == family && socket->shares_port() == (port == kNatTPort))
      return socket;
    warn(store.forget(name));
  }
  GW_TRY_ASSIGN(UdpSocket socket, UdpSocket::open(port, family));
  warn(store.keep(name, socket.fd()));
  return socket;
}

Result<Fd> open_esp_taker(Family family) {
  Fd fd(::socket(family == Family::kV4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ESP));
  if (!fd) return fail_errno("opening a raw socket for ESP");
  std::array<sock_filter, 1> nothing{{BPF_STMT(BPF_RET | BPF_K, 0)}};
  const sock_fprog program{nothing.size(), nothing.data()};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return fail_errno("closing a raw socket to receiving");
  return fd;
}

}  // namespace

std::string store_name(std::uint16_t port, Family family) {
  return std::format("{}{}-{}", kPrefix, port, family == Family::kV4 ? 4 : 6);
}

Result<std::vector<UdpSocket>> open_sockets(tun::FdStore& store, std::span<const std::uint16_t> ports) {
  auto kept = store.take_kept(kPrefix);
  const bool v6 = std::filesystem::exists(kIpv6);
  std::vector<UdpSocket> sockets;
  for (const std::uint16_t port : ports) {
    for (const Family family : {Family::kV4, Family::kV6}) {
      if (family == Family::kV6 && !v6) continue;
      const std::string name = store_name(port, family);
      GW_TRY_ASSIGN(UdpSocket socket, obtain(store, kept, name, port, family));
      sockets.push_back(std::move(socket));
    }
  }
  for (const auto& [name, fd] : kept) warn(store.forget(name));
  return sockets;
}

Result<std::vector<Fd>> open_esp_takers(tun::FdStore& store) {
  auto kept = store.take_kept(kEspPrefix);
  std::vector<Fd> takers;
  for (const Family family : {Family::kV4, Family::kV6}) {
    if (family == Family::kV6 && !std::filesystem::exists(kIpv6)) continue;
    const std::string name = std::format("{}{}", kEspPrefix, family == Family::kV4 ? 4 : 6);
    if (auto node = kept.extract(name); !node.empty()) {
      takers.push_back(std::move(node.mapped()));
      continue;
    }
    GW_TRY_ASSIGN(Fd fd, open_esp_taker(family));
    warn(store.keep(name, fd.get()));
    takers.push_back(std::move(fd));
  }
  return takers;
}

}  // namespace gw::relay
