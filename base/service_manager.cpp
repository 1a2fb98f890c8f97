#include "base/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/fd.hpp"

namespace gw {
namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : std::string_view{};
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

}  // namespace

ServiceManager ServiceManager::from_environment() {
  ServiceManager manager;
  manager.socket_ = environment("NOTIFY_SOCKET");
  const auto interval = number(environment("WATCHDOG_USEC"));
  // Without WATCHDOG_PID it is whoever reads it (sd_watchdog_enabled(3)).
  const bool for_us =
      environment("WATCHDOG_PID").empty() || number(environment("WATCHDOG_PID")) == std::int64_t{::getpid()};
  if (interval && *interval > 0 && for_us) manager.watchdog_ = std::chrono::microseconds(*interval);
  return manager;
}

Status ServiceManager::send(std::string_view state, int fd) const {
  if (socket_.empty()) return {};
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof to.sun_path) return fail(Errc::kInvalidArgument, "NOTIFY_SOCKET is too long");
  socket_.copy(to.sun_path, sizeof to.sun_path - 1);
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const Fd s(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!s) return fail_errno("opening a socket to the service manager");

  iovec data{const_cast<char*>(state.data()), state.size()};
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
  if (::sendmsg(s.get(), &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return fail_errno("telling the service manager");
  return {};
}

}  // namespace gw
