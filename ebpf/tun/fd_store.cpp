#include "ebpf/tun/fd_store.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ranges>
#include <vector>

namespace gw::tun {
namespace {

constexpr int kFirstFd = 3;  // SD_LISTEN_FDS_START

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : std::string_view{};
}

int number(std::string_view text) {
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  return error == std::errc{} && end == text.data() + text.size() ? n : 0;
}

}  // namespace

FdStore FdStore::from_environment() {
  FdStore store;
  store.socket_ = environment("NOTIFY_SOCKET");
  const int count = number(environment("LISTEN_PID")) == ::getpid() ? number(environment("LISTEN_FDS")) : 0;
  const auto names =
      environment("LISTEN_FDNAMES") | std::views::split(':') | std::ranges::to<std::vector<std::string>>();
  for (int i = 0; i < count; ++i) {
    Fd fd(kFirstFd + i);
    if (::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) {
      (void)fd.release();  // not open: not ours to close
      continue;
    }
    const auto index = static_cast<std::size_t>(i);
    store.kept_[index < names.size() ? names[index] : "unknown"] = std::move(fd);
  }
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  return store;
}

std::map<std::string, Fd> FdStore::take_kept(std::string_view prefix) {
  std::map<std::string, Fd> taken;
  for (auto it = kept_.begin(); it != kept_.end();) {
    if (it->first.starts_with(prefix)) {
      const auto next = std::next(it);
      taken.insert(kept_.extract(it));
      it = next;
    } else {
      ++it;
    }
  }
  return taken;
}

Status FdStore::send(std::string_view message, int fd) {
  if (socket_.empty()) return {};
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof to.sun_path) return fail(Errc::kInvalidArgument, "NOTIFY_SOCKET is too long");
  socket_.copy(to.sun_path, sizeof to.sun_path - 1);
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  Fd s(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!s) return fail_errno("opening a socket to the service manager");

  iovec data{const_cast<char*>(message.data()), message.size()};
  msghdr m{};
  m.msg_name = &to;
  m.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (fd >= 0) {
    m.msg_control = control.data();
    m.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  if (::sendmsg(s.get(), &m, MSG_NOSIGNAL) < 0) return fail_errno("telling the service manager");
  return {};
}

Status FdStore::keep(std::string_view name, int fd) {
  // FDPOLL=0: a TUN descriptor may report an error for a moment; systemd would then close it.
  return send(std::format("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name), fd);
}

Status FdStore::forget(std::string_view name) { return send(std::format("FDSTOREREMOVE=1\nFDNAME={}", name), -1); }
Status FdStore::notify(std::string_view state) { return send(state, -1); }

}  // namespace gw::tun
