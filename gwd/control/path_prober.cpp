#include "gwd/control/path_prober.hpp"

#include <linux/icmp.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <random>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kLargest = 9216;

// RFC 792, RFC 4443 4.1: type, code, checksum, identifier, sequence; then the nonce.
struct EchoHeader {
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  std::uint16_t checksum_be = 0;
  std::uint16_t identifier_be = 0;
  std::uint16_t sequence_be = 0;
  std::uint64_t nonce = 0;
};
static_assert(sizeof(EchoHeader) == 16);

// RFC 1071
std::uint16_t checksum(std::string_view bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const auto high = static_cast<unsigned char>(bytes[i]);
    const auto low = i + 1 < bytes.size() ? static_cast<unsigned char>(bytes[i + 1]) : 0U;
    sum += static_cast<std::uint32_t>(high << 8U) + low;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

// Answers only; the host's other ICMP stays where it is.
Status filter(int socket, Family family) {
  int failed = 0;
  if (family == Family::kV4) {
    const icmp_filter only{.data = ~(1U << ICMP_ECHOREPLY)};
    failed = ::setsockopt(socket, SOL_RAW, ICMP_FILTER, &only, sizeof only);
  } else {
    icmp6_filter only{};
    ICMP6_FILTER_SETBLOCKALL(&only);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only);
    failed = ::setsockopt(socket, IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof only);
  }
  return failed == 0 ? Status{} : fail_errno("cannot filter ICMP");
}

Result<Fd> open_socket(Family family) {
  const bool v4 = family == Family::kV4;
  const int protocol = v4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return fail_errno("cannot open a raw socket for ICMP");
  GW_TRY(filter(fd.get(), family));
  // DF, and no less than was asked for, whatever the kernel has heard of the path: a packet that does not fit is the
  // answer to the question.
  const int mode = v4 ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE;
  const int done = v4 ? ::setsockopt(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, &mode, sizeof mode)
                      : ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mode, sizeof mode);
  if (done != 0) return fail_errno("cannot set DF for ICMP");
  return fd;
}

// Out of this device with this source, whatever the routes say.
template <class Info>
void attach(msghdr& message, std::span<std::byte> room, std::pair<int, int> kind, const Info& info) {
  message.msg_control = room.data();
  message.msg_controllen = CMSG_SPACE(sizeof info);
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = kind.first;
  control->cmsg_type = kind.second;
  control->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(control), &info, sizeof info);
}

Status send_from(int socket, const ProbeTarget& target, std::string_view bytes) {
  const unsigned index = ::if_nametoindex(target.device.c_str());
  if (index == 0) return fail_errno(target.device);
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(in6_pktinfo))> room{};
  sockaddr_in to4{};
  sockaddr_in6 to6{};
  if (target.peer.is_v4()) {
    to4.sin_family = AF_INET;
    std::memcpy(&to4.sin_addr, target.peer.bytes().data(), 4);
    message.msg_name = &to4;
    message.msg_namelen = sizeof to4;
    in_pktinfo info{};
    info.ipi_ifindex = static_cast<int>(index);
    std::memcpy(&info.ipi_spec_dst, target.local.bytes().data(), 4);
    attach(message, room, {IPPROTO_IP, IP_PKTINFO}, info);
  } else {
    to6.sin6_family = AF_INET6;
    std::memcpy(&to6.sin6_addr, target.peer.bytes().data(), 16);
    message.msg_name = &to6;
    message.msg_namelen = sizeof to6;
    in6_pktinfo info{};
    info.ipi6_ifindex = index;
    std::memcpy(&info.ipi6_addr, target.local.bytes().data(), 16);
    attach(message, room, {IPPROTO_IPV6, IPV6_PKTINFO}, info);
  }
  if (::sendmsg(socket, &message, MSG_DONTWAIT) < 0) return fail_errno("cannot send an echo");
  return {};
}

IpAddress address_of(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &from, sizeof v4);
    return IpAddress::from_v4(ntohl(v4.sin_addr.s_addr));
  }
  sockaddr_in6 v6{};
  std::memcpy(&v6, &from, sizeof v6);
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(v6.sin6_addr.s6_addr, 16));
}

}  // namespace

PathProber::PathProber(asio::io_context& io, const Clock& clock, FastpathClient& fastpath, HasIke has_ike)
    : io_(io), clock_(clock), fastpath_(fastpath), has_ike_(std::move(has_ike)), tick_timer_(io), look_timer_(io) {
  std::random_device random;
  identifier_ = static_cast<std::uint16_t>(random());
  nonce_ = (static_cast<std::uint64_t>(random()) << 32) | random();
}

void PathProber::open(Family family) {
  auto fd = open_socket(family);
  if (!fd) {
    log::warning("probe", "{}: tunnels are not proven by echoes", fd.error().describe());
    return;
  }
  auto& socket = family == Family::kV4 ? v4_ : v6_;
  socket.emplace(io_, fd->release());
  asio::co_spawn(io_, receive(*socket, family), kEndOnException);
}

void PathProber::start() {
  open(Family::kV4);
  open(Family::kV6);
  asio::co_spawn(io_, tick(), kEndOnException);
  asio::co_spawn(io_, look(), kEndOnException);
}

void PathProber::stop() {
  stopping_ = true;
  tick_timer_.cancel();
  look_timer_.cancel();
  boost::system::error_code ignored;
  if (v4_) v4_->close(ignored);
  if (v6_) v6_->close(ignored);
}

void PathProber::set_targets(std::vector<ProbeTarget> targets) {
  targets_.clear();
  by_peer_.clear();
  std::map<std::uint32_t, Asked> all;
  for (ProbeTarget& target : targets) {
    const bool askable = !target.peer.is_unspecified();
    all[target.tunnel_id] = askable ? Asked::kYes : Asked::kNo;
    if (!askable) continue;
    by_peer_[target.peer] = target.tunnel_id;
    targets_[target.tunnel_id] = std::move(target);
  }
  proofs_.set_tunnels(all);
}

asio::awaitable<void> PathProber::tick() {
  while (!stopping_) {
    for (const Echo& echo : proofs_.due(clock_.now()))
      if (!send(echo)) proofs_.not_sent(echo);
    tick_timer_.expires_after(kTick);
    co_await tick_timer_.async_wait(kAwait);
  }
}

asio::awaitable<void> PathProber::look() {
  while (!stopping_) {
    fp::ClientFrame frame;
    frame.mutable_list_tunnels();
    if (const auto reply = co_await fastpath_.request(std::move(frame))) {
      traffic_.look(reply->tunnels(), clock_.now());
      for (const fp::TunnelInfo& tunnel : reply->tunnels().tunnels()) look_at(tunnel);
      if (looked_) looked_();
    }
    if (stopping_) co_return;
    look_timer_.expires_after(kLookEvery);
    co_await look_timer_.async_wait(kAwait);
  }
}

void PathProber::look_at(const fp::TunnelInfo& tunnel) {
  const auto target = targets_.find(tunnel.tunnel_id());
  const bool alive = tunnel.carrier() && (target == targets_.end() || has_ike_(target->second.name));
  proofs_.set_link(tunnel.tunnel_id(), {alive ? LinkState::kUp : LinkState::kDown, tunnel.inner_mtu()}, moment());
}

Status PathProber::send(const Echo& echo) {
  const auto it = targets_.find(echo.tunnel_id);
  if (it == targets_.end()) return fail(Errc::kNotFound, "no such tunnel");
  const bool v4 = it->second.peer.is_v4();
  auto& socket = v4 ? v4_ : v6_;
  if (!socket) return fail(Errc::kPermission, "no raw socket");
  const std::size_t ip_header = v4 ? 20 : 40;
  std::string bytes(std::max(sizeof(EchoHeader), std::min<std::size_t>(echo.bytes, kLargest) - ip_header), '\0');
  EchoHeader header{.type = static_cast<std::uint8_t>(v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST),
                    .identifier_be = htons(identifier_),
                    .sequence_be = htons(echo.sequence),
                    .nonce = nonce_};
  std::memcpy(bytes.data(), &header, sizeof header);
  if (v4) {  // of ICMPv6 the kernel makes it
    header.checksum_be = checksum(bytes);
    std::memcpy(bytes.data(), &header, sizeof header);
  }
  return send_from(socket->native_handle(), it->second, bytes);
}

asio::awaitable<void> PathProber::receive(Socket& socket, Family family) {
  std::array<char, kLargest + 64> buffer;
  while (!stopping_) {
    const auto [error] = co_await socket.async_wait(Socket::wait_read, kAwait);
    if (error) co_return;
    sockaddr_storage from{};
    socklen_t from_size = sizeof from;
    const ssize_t size = ::recvfrom(socket.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                                    reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 0) continue;
    std::string_view packet(buffer.data(), static_cast<std::size_t>(size));
    if (family == Family::kV4) {  // comes with its IP header
      const std::size_t header = packet.empty() ? 0 : (static_cast<unsigned char>(packet[0]) & 0x0fU) * 4U;
      if (header < 20 || packet.size() < header) continue;
      packet.remove_prefix(header);
    }
    on_packet(address_of(from), packet);
  }
}

void PathProber::on_packet(const IpAddress& from, std::string_view icmp) {
  EchoHeader header;
  if (icmp.size() < sizeof header) return;
  std::memcpy(&header, icmp.data(), sizeof header);
  if (header.identifier_be != htons(identifier_) || header.nonce != nonce_) return;
  if (const auto id = by_peer_.find(from); id != by_peer_.end())
    proofs_.answered(id->second, ntohs(header.sequence_be), moment());
}

}  // namespace gw::gwd
