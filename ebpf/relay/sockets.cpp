#include "ebpf/relay/sockets.hpp"

#include <filesystem>

#include "base/log.hpp"

namespace gw::relay {
namespace {

constexpr std::string_view kPrefix = "udp-";
constexpr const char* kIpv6 = "/proc/net/if_inet6";  // there if the kernel has IPv6

void warn(const Status& done) {
  if (!done) log::warning("ike", "{}", done.error().describe());
}

Result<UdpSocket> obtain(tun::FdStore& store, std::map<std::string, Fd>& kept, const std::string& name,
                         std::uint16_t port, Family family) {
  if (auto node = kept.extract(name); !node.empty()) {
    auto socket = UdpSocket::adopt(std::move(node.mapped()), UdpSocket::Use::kBoth);
    if (socket && socket->port() == port && socket->family() == family) return socket;
    warn(store.forget(name));
  }
  GW_TRY_ASSIGN(UdpSocket socket, UdpSocket::open(port, family));
  warn(store.keep(name, socket.fd()));
  return socket;
}

}  // namespace

Result<std::vector<UdpSocket>> open_sockets(tun::FdStore& store, std::span<const std::uint16_t> ports) {
  auto kept = store.take_kept(kPrefix);
  const bool v6 = std::filesystem::exists(kIpv6);
  std::vector<UdpSocket> sockets;
  for (const std::uint16_t port : ports) {
    for (const Family family : {Family::kV4, Family::kV6}) {
      if (family == Family::kV6 && !v6) continue;
      const std::string name = std::format("{}{}-{}", kPrefix, port, family == Family::kV4 ? 4 : 6);
      GW_TRY_ASSIGN(UdpSocket socket, obtain(store, kept, name, port, family));
      sockets.push_back(std::move(socket));
    }
  }
  for (const auto& [name, fd] : kept) warn(store.forget(name));
  return sockets;
}

}  // namespace gw::relay
