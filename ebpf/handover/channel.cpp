#include "ebpf/handover/channel.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/local_listener.hpp"
#include "base/secret.hpp"

namespace gw::handover {
namespace {

constexpr std::size_t kFdsAtOnce = 200;  // the kernel's limit is SCM_MAX_FD, 253
constexpr std::size_t kMostFds = 4096;   // nobody needs more; a sender without end is stopped here
constexpr int kSendBuffer = 8 << 20;     // a bulk's parts do not wait for each other

Status wait_for(int fd, short events, Patience patience) {
  pollfd p{.fd = fd, .events = events, .revents = 0};
  const int n = ::poll(&p, 1, static_cast<int>(patience.count()));
  if (n > 0) return {};
  return fail(Errc::kTimeout, std::format("the other gw-fastpath says nothing for {} ms", patience.count()));
}

/// The first byte brings the descriptors.
ssize_t send_some(int fd, std::string_view bytes, std::span<const int> fds) {
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFdsAtOnce * sizeof(int))> control{};
  msghdr m{};
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  if (!fds.empty()) {
    m.msg_control = control.data();
    m.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  return ::sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

Result<std::unique_ptr<Channel>> Channel::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail_field("socket", std::format("path is too long: {}", path));
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("opening a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return nullptr;
    return fail_errno(std::format("connecting to {}", path));
  }
  // Who made the socket: what it tells is believed.
  GW_TRY_ASSIGN(const ucred who, peer_of(socket.get()));
  if (::geteuid() != 0 && !is_privileged(who))
    return fail(Errc::kPermission, std::format("{} is a socket of user {}", path, who.uid));
  return std::make_unique<Channel>(std::move(socket));
}

Channel::Channel(Fd socket) : socket_(std::move(socket)) {
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer);
}

Status Channel::send(const fp::HandoverFrame& frame, Patience patience, std::span<const int> fds) {
  if (fds.size() > kFdsAtOnce) return fail(Errc::kLimit, "too many descriptors for a frame");
  std::string payload = frame.SerializeAsString();
  std::string bytes;
  append_frame(bytes, payload);
  wipe(payload);
  Status done;
  for (std::size_t at = 0; at < bytes.size() && done;) {
    const ssize_t n = send_some(socket_.get(), std::string_view(bytes).substr(at), fds);
    if (n > 0) {
      at += static_cast<std::size_t>(n);
      fds = {};
    } else if (errno == EAGAIN) {
      done = wait_for(socket_.get(), POLLOUT, patience);
    } else if (errno != EINTR) {
      done = errno == EPIPE || errno == ECONNRESET ? fail(Errc::kClosed, "the other gw-fastpath has ended")
                                                   : fail_errno("sending to the other gw-fastpath");
    }
  }
  wipe(bytes);
  return done;
}

Status Channel::send(fp::HandoverStep step, Patience patience) {
  fp::HandoverFrame frame;
  frame.set_step(step);
  return send(frame, patience);
}

Result<std::optional<fp::HandoverFrame>> Channel::next_frame() {
  GW_TRY_ASSIGN(const auto payload, reader_.next());
  if (!payload) return std::nullopt;
  fp::HandoverFrame frame;
  if (!frame.ParseFromArray(payload->data(), static_cast<int>(payload->size())))
    return fail(Errc::kMalformed, "a frame of the handover does not parse");
  if (frame.has_refusal()) return fail(Errc::kRefused, frame.refusal().why());
  return frame;
}

/// False: nothing is there.
Result<bool> Channel::read_some() {
  std::array<std::uint8_t, 65536> buffer;
  iovec data{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFdsAtOnce * sizeof(int))> control{};
  msghdr m{};
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(socket_.get(), &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) return fail(Errc::kClosed, "the other gw-fastpath has ended");
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
      fds_.emplace_back(fd);
    }
  }
  reader_.feed(std::span(buffer).first(static_cast<std::size_t>(n)));
  wipe(buffer.data(), static_cast<std::size_t>(n));
  if (fds_.size() > kMostFds || (m.msg_flags & MSG_CTRUNC) != 0)
    return fail(Errc::kLimit, "more descriptors than a gw-fastpath has");
  return true;
}

Result<std::optional<fp::HandoverFrame>> Channel::poll() {
  for (;;) {
    GW_TRY_ASSIGN(auto frame, next_frame());
    if (frame) return frame;
    GW_TRY_ASSIGN(const bool more, read_some());
    if (!more) return std::nullopt;
  }
}

Result<fp::HandoverFrame> Channel::receive(Patience patience) {
  for (;;) {
    GW_TRY_ASSIGN(auto frame, poll());
    if (frame) return std::move(*frame);
    GW_TRY(wait_for(socket_.get(), POLLIN, patience));
  }
}

Result<Fd> Channel::next_fd() {
  if (fds_.empty()) return fail(Errc::kMalformed, "a descriptor was named and did not come");
  Fd fd = std::move(fds_.front());
  fds_.pop_front();
  return fd;
}

}  // namespace gw::handover
