#include "ebpf/net/netlink.hpp"

#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

#include "base/wire.hpp"

namespace gw::net {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kReceiveBytes = std::size_t{64} << 10;
constexpr int kMonitorBufferBytes = 4 << 20;  // a burst of 10,000 route changes

// --- writing -----------------------------------------------------------------------------------------

void append(std::vector<std::uint8_t>& out, const void* data, std::size_t bytes) {
  const auto* p = static_cast<const std::uint8_t*>(data);
  out.insert(out.end(), p, p + bytes);
  out.resize(NLMSG_ALIGN(out.size()));
}

struct MessageKind {
  std::uint16_t type;
  std::uint16_t flags;
};

template <class Body>
std::vector<std::uint8_t> message(MessageKind kind, const Body& body) {
  nlmsghdr header{};
  header.nlmsg_type = kind.type;
  header.nlmsg_flags = static_cast<std::uint16_t>(kind.flags | NLM_F_REQUEST);
  std::vector<std::uint8_t> out;
  append(out, &header, sizeof header);
  append(out, &body, sizeof body);
  return out;
}

void append_attribute(std::vector<std::uint8_t>& out, std::uint16_t type, Bytes value) {
  const rtattr a{static_cast<std::uint16_t>(RTA_LENGTH(value.size())), type};
  append(out, &a, sizeof a);
  append(out, value.data(), value.size());
}

std::uint8_t family_of(const IpAddress& a) { return a.is_v4() ? AF_INET : AF_INET6; }

// --- reading: lengths are checked against what was received ------------------------------------------

template <class Body>
std::optional<Body> body_of(Bytes payload) {
  if (payload.size() < sizeof(Body)) return std::nullopt;
  Body b;
  std::memcpy(&b, payload.data(), sizeof b);
  return b;
}

template <class Body>
std::optional<Bytes> attribute(Bytes payload, std::uint16_t wanted) {
  std::size_t at = NLMSG_ALIGN(sizeof(Body));
  while (at + sizeof(rtattr) <= payload.size()) {
    rtattr a;
    std::memcpy(&a, payload.data() + at, sizeof a);
    if (a.rta_len < sizeof a || a.rta_len > payload.size() - at) break;
    if ((a.rta_type & NLA_TYPE_MASK) == wanted) return payload.subspan(at + sizeof a, a.rta_len - sizeof a);
    at += RTA_ALIGN(a.rta_len);
  }
  return std::nullopt;
}

/// Calls handler(header, payload) for each message; false if the bytes are not netlink.
template <class Handler>
void for_each_message(Bytes bytes, const Handler& handler) {
  while (bytes.size() >= sizeof(nlmsghdr)) {
    nlmsghdr h;
    std::memcpy(&h, bytes.data(), sizeof h);
    if (h.nlmsg_len < sizeof h || h.nlmsg_len > bytes.size()) return;
    handler(h, bytes.subspan(sizeof h, h.nlmsg_len - sizeof h));
    bytes = bytes.subspan(std::min<std::size_t>(NLMSG_ALIGN(h.nlmsg_len), bytes.size()));
  }
}

std::optional<Neighbour> parse_neighbour(const nlmsghdr& header, Bytes payload) {
  const auto n = body_of<ndmsg>(payload);
  const auto dst = attribute<ndmsg>(payload, NDA_DST);
  if (!n || !dst || (n->ndm_flags & NTF_PROXY)) return std::nullopt;
  const auto address = IpAddress::from_bytes(*dst);
  if (!address) return std::nullopt;
  Neighbour result{.key = {n->ndm_ifindex, *address}, .mac = std::nullopt};
  result.failed = header.nlmsg_type == RTM_NEWNEIGH && n->ndm_state == NUD_FAILED;
  constexpr int kUsable = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;
  const auto mac = attribute<ndmsg>(payload, NDA_LLADDR);
  if (header.nlmsg_type == RTM_NEWNEIGH && (n->ndm_state & kUsable) && mac && mac->size() == 6) {
    result.mac.emplace();
    std::ranges::copy(*mac, result.mac->begin());
  }
  return result;
}

/// Attributes in a plain list (nested, or behind an rtnexthop).
std::optional<Bytes> nested(Bytes list, std::uint16_t wanted) {
  while (list.size() >= sizeof(rtattr)) {
    rtattr a;
    std::memcpy(&a, list.data(), sizeof a);
    if (a.rta_len < sizeof a || a.rta_len > list.size()) break;
    if ((a.rta_type & NLA_TYPE_MASK) == wanted) return list.subspan(sizeof a, a.rta_len - sizeof a);
    list = list.subspan(std::min<std::size_t>(RTA_ALIGN(a.rta_len), list.size()));
  }
  return std::nullopt;
}

template <class T>
T value_of(const std::optional<Bytes>& bytes) {
  T value{};
  if (bytes && bytes->size() >= sizeof value) std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

std::optional<VlanTag> parse_vlan(Bytes link_info) {
  const auto kind = nested(link_info, IFLA_INFO_KIND);
  const auto data = nested(link_info, IFLA_INFO_DATA);
  constexpr std::string_view kVlan = "vlan";
  if (!kind || !data || kind->size() < kVlan.size() || std::memcmp(kind->data(), kVlan.data(), kVlan.size()) != 0)
    return std::nullopt;
  // "vlan" and its end; not "vlan-something".
  if (kind->size() > kVlan.size() && (*kind)[kVlan.size()] != 0) return std::nullopt;
  VlanTag tag;
  tag.id = value_of<std::uint16_t>(nested(*data, IFLA_VLAN_ID));
  tag.type = be_to_host(value_of<std::uint16_t>(nested(*data, IFLA_VLAN_PROTOCOL)));
  return tag;
}

std::optional<Link> parse_link(Bytes payload) {
  const auto info = body_of<ifinfomsg>(payload);
  const auto name = attribute<ifinfomsg>(payload, IFLA_IFNAME);
  if (!info || !name) return std::nullopt;
  Link link{.ifindex = info->ifi_index, .up = (info->ifi_flags & IFF_UP) != 0};
  const auto* text = reinterpret_cast<const char*>(name->data());
  link.name.assign(text, ::strnlen(text, name->size()));
  if (const auto mac = attribute<ifinfomsg>(payload, IFLA_ADDRESS); mac && mac->size() == link.mac.size())
    std::ranges::copy(*mac, link.mac.begin());
  link.mtu = value_of<std::uint32_t>(attribute<ifinfomsg>(payload, IFLA_MTU));
  link.parent = value_of<int>(attribute<ifinfomsg>(payload, IFLA_LINK));
  if (const auto link_info = attribute<ifinfomsg>(payload, IFLA_LINKINFO)) link.vlan = parse_vlan(*link_info);
  constexpr std::size_t kTxDropped = offsetof(rtnl_link_stats64, tx_dropped);
  if (const auto stats = attribute<ifinfomsg>(payload, IFLA_STATS64);
      stats && stats->size() >= kTxDropped + sizeof link.tx_dropped)
    std::memcpy(&link.tx_dropped, stats->data() + kTxDropped, sizeof link.tx_dropped);
  return link;
}

constexpr unsigned kUnusable = RTNH_F_DEAD | RTNH_F_LINKDOWN | RTNH_F_UNRESOLVED;

/// RTA_GATEWAY, or RTA_VIA (RFC 5549), or on link.
IpAddress gateway_of(const std::optional<Bytes>& gateway, const std::optional<Bytes>& via, const IpAddress& dst) {
  const auto from = [&](Bytes bytes) { return IpAddress::from_bytes(bytes).value_or(dst); };
  if (gateway) return from(*gateway);
  return via && via->size() > 2 ? from(via->subspan(2)) : dst;
}

std::vector<NextHop> parse_multipath(Bytes hops, const IpAddress& dst) {
  std::vector<NextHop> all;
  while (hops.size() >= sizeof(rtnexthop)) {
    rtnexthop h;
    std::memcpy(&h, hops.data(), sizeof h);
    if (h.rtnh_len < sizeof h || h.rtnh_len > hops.size()) break;
    const Bytes attributes = hops.subspan(sizeof h, h.rtnh_len - sizeof h);
    if (!(h.rtnh_flags & kUnusable))
      all.push_back({{h.rtnh_ifindex, gateway_of(nested(attributes, RTA_GATEWAY), nested(attributes, RTA_VIA), dst)},
                     h.rtnh_hops + 1u});
    const std::size_t aligned = (std::size_t{h.rtnh_len} + RTNH_ALIGNTO - 1) & ~std::size_t{RTNH_ALIGNTO - 1};
    hops = hops.subspan(std::min(aligned, hops.size()));
  }
  return all;
}

std::vector<NextHop> parse_route(Bytes payload, const IpAddress& dst) {
  const auto route = body_of<rtmsg>(payload);
  if (!route || route->rtm_type != RTN_UNICAST) return {};
  if (const auto hops = attribute<rtmsg>(payload, RTA_MULTIPATH)) return parse_multipath(*hops, dst);
  const auto oif = attribute<rtmsg>(payload, RTA_OIF);
  if (!oif || (route->rtm_flags & kUnusable)) return {};
  return {{{value_of<int>(oif),
            gateway_of(attribute<rtmsg>(payload, RTA_GATEWAY), attribute<rtmsg>(payload, RTA_VIA), dst)},
           1}};
}

std::vector<std::uint8_t> route_request(const Flow& flow, unsigned flags) {
  rtmsg body{};
  body.rtm_family = family_of(flow.dst);
  body.rtm_dst_len = static_cast<unsigned char>(address_bits(flow.dst.family()));
  body.rtm_src_len = body.rtm_dst_len;
  body.rtm_flags = flags;
  auto request = message({RTM_GETROUTE, NLM_F_ACK}, body);
  append_attribute(request, RTA_DST, flow.dst.bytes());
  append_attribute(request, RTA_SRC, flow.src.bytes());
  return request;
}

Result<Fd> open_socket(int flags, std::uint32_t groups) {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE));
  if (!fd) return fail_errno("opening a netlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("binding a netlink socket");
  return fd;
}

constexpr std::uint32_t group(unsigned g) { return 1u << (g - 1); }

}  // namespace

// --- questions ---------------------------------------------------------------------------------------

Result<Netlink> Netlink::open() {
  GW_TRY_ASSIGN(Fd fd, open_socket(0, 0));
  const timeval timeout{2, 0};  // the kernel answers at once; anything else is a fault
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
    return fail_errno("netlink timeout");
  return Netlink(std::move(fd));
}

/// Sends and hands every answer to `handler` until the kernel says done (dump) or acknowledges.
template <class Handler>
Status Netlink::ask(std::vector<std::uint8_t>& request, const Handler& handler) {
  nlmsghdr h;
  std::memcpy(&h, request.data(), sizeof h);
  h.nlmsg_len = static_cast<std::uint32_t>(request.size());
  h.nlmsg_seq = ++sequence_;
  std::memcpy(request.data(), &h, sizeof h);
  if (::send(fd_.get(), request.data(), request.size(), 0) < 0) return fail_errno("netlink request");
  std::vector<std::uint8_t> buffer(kReceiveBytes);
  std::optional<int> end;  // 0 or an errno
  while (!end) {
    const ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("netlink answer");
    for_each_message(Bytes(buffer).first(static_cast<std::size_t>(n)), [&](const nlmsghdr& m, Bytes payload) {
      if (m.nlmsg_seq != sequence_ || end) return;
      if (m.nlmsg_type == NLMSG_DONE) {
        end = 0;
      } else if (m.nlmsg_type == NLMSG_ERROR) {
        const auto e = body_of<nlmsgerr>(payload);
        end = e ? -e->error : EBADMSG;
      } else {
        handler(m, payload);
      }
    });
  }
  if (*end != 0) return fail_errno("netlink", *end);
  return {};
}

Result<Link> Netlink::link(const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return fail(Errc::kNotFound, std::format("interface '{}' does not exist", name));
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(index);
  auto request = message({RTM_GETLINK, NLM_F_ACK}, body);
  std::optional<Link> found;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    if (m.nlmsg_type == RTM_NEWLINK) found = parse_link(payload);
  }));
  if (!found) return fail(Errc::kNotFound, std::format("interface '{}' does not exist", name));
  return *found;
}

Result<std::vector<IpAddress>> Netlink::local_addresses() {
  auto request = message({RTM_GETADDR, NLM_F_DUMP}, ifaddrmsg{});
  std::vector<IpAddress> all;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    if (m.nlmsg_type != RTM_NEWADDR) return;
    auto bytes = attribute<ifaddrmsg>(payload, IFA_LOCAL);  // IPv4; point to point has the peer in IFA_ADDRESS
    if (!bytes) bytes = attribute<ifaddrmsg>(payload, IFA_ADDRESS);
    if (!bytes) return;
    if (const auto a = IpAddress::from_bytes(*bytes)) all.push_back(*a);
  }));
  return all;
}

/// Computed, not read: `ip addr add` sets no broadcast address unless told to, and the hosts have one all the same.
Result<std::vector<NeighbourKey>> Netlink::broadcasts() {
  auto request = message({RTM_GETADDR, NLM_F_DUMP}, ifaddrmsg{});
  std::vector<NeighbourKey> all;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    const auto info = body_of<ifaddrmsg>(payload);
    const auto bytes = attribute<ifaddrmsg>(payload, IFA_LOCAL);
    constexpr unsigned kLongest = 30;  // RFC 3021: a /31 has none
    if (m.nlmsg_type != RTM_NEWADDR || !info || info->ifa_family != AF_INET || info->ifa_prefixlen > kLongest || !bytes)
      return;
    const auto address = IpAddress::from_bytes(*bytes);
    if (!address || !address->is_v4()) return;
    const std::uint32_t hosts = info->ifa_prefixlen == 0 ? ~0u : (1u << (32u - info->ifa_prefixlen)) - 1;
    all.push_back({static_cast<int>(info->ifa_index), IpAddress::from_v4(address->v4() | hosts)});
  }));
  return all;
}

Result<std::vector<Neighbour>> Netlink::neighbours() {
  auto request = message({RTM_GETNEIGH, NLM_F_DUMP}, ndmsg{});
  std::vector<Neighbour> all;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    if (auto n = parse_neighbour(m, payload)) all.push_back(*n);
  }));
  return all;
}

Result<std::vector<Link>> Netlink::links() {
  auto request = message({RTM_GETLINK, NLM_F_DUMP}, ifinfomsg{});
  std::vector<Link> all;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    if (m.nlmsg_type != RTM_NEWLINK) return;
    if (auto link = parse_link(payload)) all.push_back(std::move(*link));
  }));
  return all;
}

Result<std::vector<NextHop>> Netlink::next_hops(const Flow& flow) {
  auto request = route_request(flow, RTM_F_FIB_MATCH);
  std::vector<NextHop> found;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    if (m.nlmsg_type == RTM_NEWROUTE) found = parse_route(payload, flow.dst);
  }));
  if (found.empty()) return fail(Errc::kNotFound, std::format("no route to {}", flow.dst));
  return found;
}

Result<NextHop> Netlink::route_by(const Flow& flow, int ifindex) {
  auto request = route_request(flow, 0);
  std::array<std::uint8_t, sizeof ifindex> oif{};
  std::memcpy(oif.data(), &ifindex, sizeof ifindex);
  append_attribute(request, RTA_OIF, oif);
  std::vector<NextHop> found;
  GW_TRY(ask(request, [&](const nlmsghdr& m, Bytes payload) {
    if (m.nlmsg_type == RTM_NEWROUTE) found = parse_route(payload, flow.dst);
  }));
  if (found.empty()) return fail(Errc::kNotFound, std::format("no route to {}", flow.dst));
  return found.front();
}

/// NTF_USE takes NUD_PERMANENT away (__neigh_update()): an operator's entry would be forgotten.
bool Netlink::is_fixed(const NeighbourKey& neighbour) {
  ndmsg body{};
  body.ndm_family = family_of(neighbour.address);
  body.ndm_ifindex = neighbour.ifindex;
  auto request = message({RTM_GETNEIGH, NLM_F_ACK}, body);
  append_attribute(request, NDA_DST, neighbour.address.bytes());
  bool fixed = false;
  const Status known = ask(request, [&](const nlmsghdr& m, Bytes payload) {
    const auto n = body_of<ndmsg>(payload);
    fixed = m.nlmsg_type == RTM_NEWNEIGH && n && (n->ndm_state & (NUD_PERMANENT | NUD_NOARP)) != 0;
  });
  return known && fixed;
}

Status Netlink::use(const NeighbourKey& neighbour) {
  if (is_fixed(neighbour)) return {};
  ndmsg body{};
  body.ndm_family = family_of(neighbour.address);
  body.ndm_ifindex = neighbour.ifindex;
  body.ndm_flags = NTF_USE;
  auto request = message({RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE}, body);
  append_attribute(request, NDA_DST, neighbour.address.bytes());
  return ask(request, [](const nlmsghdr&, Bytes) {});
}

// --- changes -----------------------------------------------------------------------------------------

Result<NetlinkMonitor> NetlinkMonitor::open() {
  const std::uint32_t groups = group(RTNLGRP_LINK) | group(RTNLGRP_NEIGH) | group(RTNLGRP_IPV4_IFADDR) |
                               group(RTNLGRP_IPV6_IFADDR) | group(RTNLGRP_IPV4_ROUTE) | group(RTNLGRP_IPV6_ROUTE);
  GW_TRY_ASSIGN(Fd fd, open_socket(SOCK_NONBLOCK, groups));
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kMonitorBufferBytes, sizeof kMonitorBufferBytes);
  return NetlinkMonitor(std::move(fd));
}

std::vector<Change> NetlinkMonitor::read() {
  std::vector<Change> changes;
  std::vector<std::uint8_t> buffer(kReceiveBytes);
  for (;;) {
    const ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ENOBUFS) {
      changes.emplace_back(Overrun{});
      continue;
    }
    if (n <= 0) return changes;
    for_each_message(Bytes(buffer).first(static_cast<std::size_t>(n)), [&](const nlmsghdr& m, Bytes payload) {
      switch (m.nlmsg_type) {
        case RTM_NEWNEIGH:
        case RTM_DELNEIGH:
          if (auto neighbour = parse_neighbour(m, payload)) changes.emplace_back(*neighbour);
          break;
        case RTM_NEWLINK:
        case RTM_DELLINK: changes.emplace_back(LinkChanged{}); break;
        case RTM_NEWADDR:
        case RTM_DELADDR: changes.emplace_back(AddressesChanged{}); break;
        case RTM_NEWROUTE:
        case RTM_DELROUTE: changes.emplace_back(RoutesChanged{}); break;
        default: break;
      }
    });
  }
}

}  // namespace gw::net
