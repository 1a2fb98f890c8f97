#include "ebpf/tun/fd_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
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
  store.manager_ = ServiceManager::from_environment();
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

Fd FdStore::take(const std::string& name) {
  auto node = kept_.extract(name);
  return node.empty() ? Fd() : std::move(node.mapped());
}

Status FdStore::keep(std::string_view name, int fd) {
  // FDPOLL=0: a TUN descriptor may report an error for a moment; systemd would then close it.
  return manager_.send(std::format("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name), fd);
}

Status FdStore::forget(std::string_view name) {
  return manager_.notify(std::format("FDSTOREREMOVE=1\nFDNAME={}", name));
}

}  // namespace gw::tun
