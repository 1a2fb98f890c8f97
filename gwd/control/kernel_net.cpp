#include "gwd/control/kernel_net.hpp"

#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <format>
#include <fstream>
#include <functional>
#include <memory>

namespace gw::gwd {
namespace {

// RTM routes of ours carry this protocol number, as FRR's carry theirs (iproute2 prints it as a number).
constexpr std::uint8_t kRouteProtocol = 201;
constexpr int kAckTimeoutSeconds = 2;

// One netlink request, built in place: header, fixed part, attributes.
template <class Body>
struct Request {
  nlmsghdr header{};
  Body body{};
  std::array<std::uint8_t, 128> attributes{};

  Request(std::uint16_t type, std::uint16_t flags) {
    header.nlmsg_len = NLMSG_LENGTH(sizeof(Body));
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }
  void add(std::uint16_t type, std::span<const std::uint8_t> payload) {
    const std::size_t at = NLMSG_ALIGN(header.nlmsg_len);
    rtattr attribute{};
    attribute.rta_type = type;
    attribute.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(payload.size()));
    auto* out = reinterpret_cast<std::uint8_t*>(this) + at;
    std::memcpy(out, &attribute, sizeof attribute);
    std::memcpy(out + RTA_LENGTH(0), payload.data(), payload.size());
    header.nlmsg_len = static_cast<std::uint32_t>(at + RTA_ALIGN(attribute.rta_len));
  }
  void add_u32(std::uint16_t type, std::uint32_t value) {
    std::array<std::uint8_t, 4> raw;
    std::memcpy(raw.data(), &value, sizeof value);
    add(type, raw);
  }
};

Result<std::uint32_t> index_of(const std::string& device) {
  const unsigned index = if_nametoindex(device.c_str());
  if (index == 0) return fail(Errc::kNotFound, std::format("no interface {}", device));
  return index;
}

std::uint8_t family_of(const IpAddress& a) { return a.is_v4() ? AF_INET : AF_INET6; }

Result<Request<ifaddrmsg>> address_request(const DeviceAddress& address, std::uint16_t type, std::uint16_t flags) {
  GW_TRY_ASSIGN(const std::uint32_t index, index_of(address.device));
  Request<ifaddrmsg> request(type, flags);
  request.body.ifa_family = family_of(address.local);
  request.body.ifa_prefixlen = address.length;
  request.body.ifa_index = index;
  request.add(IFA_LOCAL, address.local.bytes());
  request.add(IFA_ADDRESS, address.peer.bytes());
  // Duplicate address detection would only delay BGP by a second; a tunnel device has no neighbours to ask.
  if (address.local.is_v6()) request.add_u32(IFA_FLAGS, IFA_F_NODAD);
  return request;
}

Result<Request<rtmsg>> route_request(const DeviceRoute& route, std::uint16_t type, std::uint16_t flags) {
  GW_TRY_ASSIGN(const std::uint32_t index, index_of(route.device));
  Request<rtmsg> request(type, flags);
  request.body.rtm_family = family_of(route.prefix.address());
  request.body.rtm_dst_len = static_cast<std::uint8_t>(route.prefix.length());
  request.body.rtm_table = RT_TABLE_MAIN;
  request.body.rtm_protocol = kRouteProtocol;
  request.body.rtm_scope = route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  request.body.rtm_type = RTN_UNICAST;
  request.add(RTA_DST, route.prefix.address().bytes());
  request.add_u32(RTA_OIF, index);
  if (route.gateway) request.add(RTA_GATEWAY, route.gateway->bytes());
  return request;
}

/// False: the kernel cannot be asked.
bool for_each_address(const std::function<void(const ifaddrs&, const IpAddress&)>& visit) {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return false;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(first, ::freeifaddrs);
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    std::string_view bytes;
    if (one->ifa_addr->sa_family == AF_INET)
      bytes = {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr),
               sizeof(in_addr)};
    else if (one->ifa_addr->sa_family == AF_INET6)
      bytes = {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr),
               sizeof(in6_addr)};
    else
      continue;
    if (const auto address = IpAddress::from_bytes(bytes)) visit(*one, *address);
  }
  return true;
}

/// Of an answer to RTM_GETROUTE.
std::optional<IpAddress> gateway_in(std::span<const std::uint8_t> reply) {
  constexpr std::size_t kFixed = NLMSG_LENGTH(sizeof(rtmsg));
  nlmsghdr header{};
  if (reply.size() < kFixed) return std::nullopt;
  std::memcpy(&header, reply.data(), sizeof header);
  if (header.nlmsg_type != RTM_NEWROUTE || header.nlmsg_len > reply.size()) return std::nullopt;
  for (auto rest = reply.first(header.nlmsg_len).subspan(std::min<std::size_t>(kFixed, header.nlmsg_len));
       rest.size() >= sizeof(rtattr);) {
    rtattr attribute{};
    std::memcpy(&attribute, rest.data(), sizeof attribute);
    if (attribute.rta_len < RTA_LENGTH(0) || attribute.rta_len > rest.size()) return std::nullopt;
    if (attribute.rta_type == RTA_GATEWAY) {
      const auto address = IpAddress::from_bytes(rest.first(attribute.rta_len).subspan(RTA_LENGTH(0)));
      return address ? std::optional(*address) : std::nullopt;
    }
    rest = rest.subspan(std::min<std::size_t>(RTA_ALIGN(attribute.rta_len), rest.size()));
  }
  return std::nullopt;
}

bool means_absent(const Error& e) { return e.code == Errc::kNotFound; }

}  // namespace

Result<KernelNet> KernelNet::open() {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return fail_errno("netlink socket");
  const timeval timeout{kAckTimeoutSeconds, 0};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
    return fail_errno("netlink time-out");
  return KernelNet(std::move(fd));
}

Status KernelNet::transact(void* message, std::uint32_t bytes, std::string_view what) {
  auto* header = static_cast<nlmsghdr*>(message);
  header->nlmsg_seq = ++sequence_;
  if (send(socket_.get(), message, bytes, 0) < 0) return fail_errno(what);
  alignas(nlmsghdr) std::array<std::uint8_t, 4096> reply;
  for (;;) {
    const ssize_t got = recv(socket_.get(), reply.data(), reply.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(what);
    if (static_cast<std::size_t>(got) < NLMSG_LENGTH(sizeof(nlmsgerr))) continue;
    nlmsghdr answer;
    std::memcpy(&answer, reply.data(), sizeof answer);
    if (answer.nlmsg_type != NLMSG_ERROR || answer.nlmsg_seq != sequence_) continue;  // an earlier, timed-out one
    nlmsgerr code;
    std::memcpy(&code, reply.data() + NLMSG_HDRLEN, sizeof code);
    if (code.error == 0) return {};
    const int err = -code.error;
    if (err == EADDRNOTAVAIL || err == ESRCH || err == ENODEV)
      return fail(Errc::kNotFound, std::format("{}: {}", what, strerror(err)));
    return fail_errno(what, err);
  }
}

std::uint64_t KernelNet::speed_bps(const std::string& name) {
  std::ifstream file(std::format("/sys/class/net/{}/speed", name));
  long mbit = 0;  // -1: not known
  return file >> mbit && mbit > 0 ? static_cast<std::uint64_t>(mbit) * 1'000'000 : 0;
}

bool KernelNet::has_interface(const std::string& name) { return ::if_nametoindex(name.c_str()) != 0; }

bool KernelNet::has_carrier(const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return false;
  std::ranges::copy(name, request.ifr_name);
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr int kUp = IFF_UP | IFF_RUNNING;
  return socket && ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & kUp) == kUp;
}

std::optional<IpAddress> KernelNet::gateway_towards(const IpAddress& remote, const std::string& device) {
  const auto index = index_of(device);
  const Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  const timeval timeout{kAckTimeoutSeconds, 0};
  if (!index || !fd || setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
    return std::nullopt;
  Request<rtmsg> request(RTM_GETROUTE, 0);
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.body.rtm_family = family_of(remote);
  request.body.rtm_dst_len = static_cast<std::uint8_t>(remote.bytes().size() * 8);
  request.add(RTA_DST, remote.bytes());
  request.add_u32(RTA_OIF, *index);
  if (send(fd.get(), &request, request.header.nlmsg_len, 0) < 0) return std::nullopt;
  alignas(nlmsghdr) std::array<std::uint8_t, 4096> reply;
  const ssize_t got = recv(fd.get(), reply.data(), reply.size(), 0);
  return got > 0 ? gateway_in(std::span(reply).first(static_cast<std::size_t>(got))) : std::nullopt;
}

bool KernelNet::has_address(const IpAddress& address) {
  bool found = false;
  const bool asked = for_each_address([&](const ifaddrs&, const IpAddress& own) { found = found || own == address; });
  return found || !asked;
}

std::optional<std::string> KernelNet::interface_of(const IpAddress& address) {
  std::optional<std::string> found;
  (void)for_each_address([&](const ifaddrs& one, const IpAddress& own) {
    if (own == address) found = one.ifa_name;
  });
  return found;
}

std::vector<DeviceAddress> KernelNet::link_local_addresses(const std::string& device) {
  constexpr std::uint8_t kLength = 64;  // RFC 4291 2.5.6
  std::vector<DeviceAddress> out;
  (void)for_each_address([&](const ifaddrs& one, const IpAddress& own) {
    if (own.is_v6() && own.is_link_local() && device == one.ifa_name)
      out.push_back(DeviceAddress::on_link(device, {own, kLength}));
  });
  return out;
}

DeviceAddress DeviceAddress::point_to_point(std::string device, const IpAddress& local, const IpAddress& peer) {
  return {std::move(device), local, peer, static_cast<std::uint8_t>(address_bits(local.family()))};
}

DeviceAddress DeviceAddress::on_link(std::string device, const InterfaceAddress& address) {
  return {std::move(device), address.address, address.address, address.length};
}

Status KernelNet::add_address(const DeviceAddress& address) {
  GW_TRY_ASSIGN(auto request, address_request(address, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE));
  return transact(&request, request.header.nlmsg_len, std::format("address {} on {}", address.local, address.device));
}

Status KernelNet::remove_address(const DeviceAddress& address) {
  auto request = address_request(address, RTM_DELADDR, 0);
  if (!request) return {};  // the device is gone, and its addresses with it
  const Status done =
      transact(&*request, request->header.nlmsg_len, std::format("remove {} from {}", address.local, address.device));
  return !done && means_absent(done.error()) ? Status{} : done;
}

Status KernelNet::add_route(const DeviceRoute& route) {
  GW_TRY_ASSIGN(auto request, route_request(route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE));
  return transact(&request, request.header.nlmsg_len, std::format("route {} to {}", route.prefix, route.device));
}

Status KernelNet::remove_route(const DeviceRoute& route) {
  auto request = route_request(route, RTM_DELROUTE, 0);
  if (!request) return {};
  const Status done = transact(&*request, request->header.nlmsg_len, std::format("remove route {}", route.prefix));
  return !done && means_absent(done.error()) ? Status{} : done;
}

}  // namespace gw::gwd
