#include "ebpf/relay/ike_relay.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "base/log.hpp"
#include "ebpf/relay/sockets.hpp"

namespace gw::relay {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kMaxMessage = sizeof(gw_ike_datagram) + GW_IKE_RELAY_MAX_PAYLOAD;
// Room for a burst while charon computes Diffie-Hellman: a few hundred messages.
constexpr int kQueueBytes = 2 << 20;
// Datagrams handled before others get their turn on the control thread.
constexpr int kTurn = 64;
constexpr std::array<std::uint8_t, 4> kNonEspMarker{};

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof a.sun_path)
    return fail_field("ike-socket", std::format("'{}' is no path of at most {} bytes", path, sizeof a.sun_path - 1));
  path.copy(a.sun_path, sizeof a.sun_path - 1);
  return a;
}

Fd seqpacket() { return Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

/// RFC 3948 2.2: what has no marker on 4500 is ESP or a keepalive, and no business of charon's.
bool is_ike(const IkeFlow& flow, std::span<const std::uint8_t> payload) {
  if (flow.local.port == kIkePort) return true;
  return payload.size() >= kNonEspMarker.size() &&
         std::ranges::equal(payload.first(kNonEspMarker.size()), kNonEspMarker);
}

}  // namespace

IkeRelay::IkeRelay(asio::io_context& io, Parts parts)
    : io_(io), parts_(std::move(parts)), listener_(io), charon_(io), inbox_(io), grace_(io), buffer_(kMaxMessage) {}

IkeRelay::~IkeRelay() { stop(); }

std::vector<tun::NamedFd> IkeRelay::fds() {
  std::vector<tun::NamedFd> fds{{"ike", listener_.is_open() ? listener_.native_handle() : -1}};
  for (const UdpSocket& s : parts_.sockets) fds.push_back({store_name(s.port(), s.family()), s.fd()});
  return fds;
}

Status IkeRelay::listen(const std::string& path, Fd inherited) {
  if (inherited) return serve(path, std::move(inherited));
  GW_TRY_ASSIGN(const sockaddr_un address, unix_address(path));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (Fd probe = seqpacket(); probe && ::connect(probe.get(), generic, sizeof address) == 0)
    return fail(Errc::kAlreadyExists, std::format("another gw-fastpath answers on {}", path));
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  Fd listener = seqpacket();
  if (!listener) return fail_errno("opening the IKE relay's socket");
  if (::bind(listener.get(), generic, sizeof address) != 0 || ::chmod(path.c_str(), 0660) != 0 ||
      ::listen(listener.get(), 4) != 0)
    return fail_errno(std::format("making the IKE relay's socket {}", path));
  return serve(path, std::move(listener));
}

Status IkeRelay::serve(const std::string& path, Fd listener) {
  path_ = path;
  listener_.assign(listener.release());
  watch(listener_, [this] { accept(); });
  grace_.expires_after(parts_.grace);
  grace_.async_wait([this](const boost::system::error_code& error) {
    if (!error) start_receiving();
  });
  return {};
}

void IkeRelay::start_receiving() {
  if (std::exchange(receiving_, true)) return;
  grace_.cancel();
  for (const UdpSocket& socket : parts_.sockets) {
    auto& descriptor = *udp_.emplace_back(std::make_unique<Descriptor>(io_, socket.fd()));
    watch(descriptor, [this, &socket] { from_udp(socket); });
  }
  if (parts_.inbox) {
    inbox_.assign(parts_.inbox->fd());
    watch(inbox_, [this] { from_inbox(); });
  }
}

void IkeRelay::stop() {
  grace_.cancel();
  // Not ours to close: their owners do.
  for (const auto& descriptor : udp_) (void)descriptor->release();
  udp_.clear();
  if (inbox_.is_open()) (void)inbox_.release();
  boost::system::error_code ignored;
  charon_.close(ignored);
  if (!listener_.is_open()) return;
  listener_.close(ignored);
  std::error_code gone;
  if (!path_.empty()) std::filesystem::remove(path_, gone);
}

void IkeRelay::watch(Descriptor& descriptor, std::function<void()> handler) {
  descriptor.async_wait(Descriptor::wait_read, [this, &descriptor, handler = std::move(handler)](
                                                   const boost::system::error_code& error) mutable {
    if (error) return;
    handler();
    if (descriptor.is_open()) watch(descriptor, std::move(handler));
  });
}

void IkeRelay::accept() {
  Fd fd(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  if (charon_.is_open()) lose_charon("a new one has connected");
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kQueueBytes, sizeof kQueueBytes);
  charon_ = Descriptor(io_, fd.release());
  log::info("ike", "charon's socket plugin connected");
  watch(charon_, [this] { from_charon(); });
  start_receiving();
}

void IkeRelay::lose_charon(std::string_view why) {
  log::info("ike", "charon's socket plugin is gone: {}", why);
  boost::system::error_code ignored;
  charon_.close(ignored);
}

void IkeRelay::from_udp(const UdpSocket& socket) {
  for (int i = 0; i < kTurn; ++i) {
    const auto received = socket.receive(buffer_);
    if (!received) return;
    const auto payload = std::span<const std::uint8_t>(buffer_).first(received->length);
    if (is_ike(received->flow, payload))
      to_charon(received->flow, payload);
    else if (!parts_.esp || !parts_.esp(received->flow, payload))
      ++counters_.not_ike;
  }
}

void IkeRelay::from_inbox() {
  parts_.inbox->clear_event();
  for (int i = 0; i < kTurn; ++i) {
    const auto datagram = parts_.inbox->pop(buffer_);
    if (!datagram) return;
    to_charon(datagram->flow, datagram->payload);
  }
  parts_.inbox->leave_rest();
}

void IkeRelay::to_charon(const IkeFlow& flow, std::span<const std::uint8_t> payload) {
  if (!charon_.is_open()) {
    ++counters_.away;
    return;
  }
  gw_ike_datagram header = ike_header(flow);
  std::array<iovec, 2> parts{iovec{&header, sizeof header},
                             iovec{const_cast<std::uint8_t*>(payload.data()), payload.size()}};
  msghdr m{};
  m.msg_iov = parts.data();
  m.msg_iovlen = parts.size();
  if (::sendmsg(charon_.native_handle(), &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
    ++counters_.to_charon;
  else
    ++counters_.queue_full;  // a connection that is lost shows when it is read
}

void IkeRelay::from_charon() {
  for (int i = 0; i < kTurn && charon_.is_open(); ++i) {
    const ssize_t n = ::recv(charon_.native_handle(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return lose_charon(n == 0 ? "it closed the connection" : std::strerror(errno));
    const auto length = static_cast<std::size_t>(n);
    const auto message = length > buffer_.size() ? fail(Errc::kMalformed, "a message longer than any datagram")
                                                 : parse_ike_message(std::span(buffer_).first(length));
    if (!message) return lose_charon(message.error().describe());
    send(*message);
  }
}

void IkeRelay::send(const IkeMessage& message) {
  const IkeFlow& flow = message.flow;
  if (may_send_ && !may_send_(flow.local.address)) {
    ++counters_.not_ours;
    return;
  }
  const auto socket = std::ranges::find_if(parts_.sockets, [&](const UdpSocket& s) {
    return s.port() == flow.local.port && s.family() == flow.peer.address.family();
  });
  if (socket == parts_.sockets.end()) {
    ++counters_.send_failed;
    return;
  }
  if (auto sent = socket->send(flow, message.payload, leave_by_ ? leave_by_(flow) : 0); !sent) {
    ++counters_.send_failed;
    if (failure_log_.take(parts_.clock.now())) log::info("ike", "{}", sent.error().describe());
    return;
  }
  ++counters_.from_charon;
}

IkeRelay::Counters IkeRelay::counters() const {
  Counters all = counters_;
  if (parts_.inbox) all.queue_full += parts_.inbox->dropped();
  return all;
}

}  // namespace gw::relay
