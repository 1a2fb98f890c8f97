#include "cli/capture/sink.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <format>

namespace gw::cli::capture {
namespace {

// After a signal, for a reader that is slow.
constexpr int kStandsStillMs = 500;
constexpr int kLookForReaderMs = 100;
constexpr std::size_t kPageBytes = PIPE_BUF;

}  // namespace

Sink::Sink(Fd fd, Interrupts& interrupts) : fd_(std::move(fd)), interrupts_(&interrupts) {
  struct stat status{};
  if (::fstat(fd_.get(), &status) == 0 && S_ISREG(status.st_mode))
    way_ = Way::kNeverWaits;
  else if ((::fcntl(fd_.get(), F_GETFL) & O_NONBLOCK) != 0)
    way_ = Way::kRefuses;
}

Result<Sink> Sink::standard_output(Interrupts& interrupts) {
  struct stat status{};
  Fd fd;
  // A description of our own, where the kernel gives one: others have this one, too, and would not expect O_NONBLOCK.
  if (::fstat(STDOUT_FILENO, &status) == 0 && !S_ISREG(status.st_mode))
    fd.reset(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) fd.reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
  if (!fd) return fail_errno("writing to standard output");
  return Sink(std::move(fd), interrupts);
}

/// Clear packets never go into a file that was there: it may have other names, or somebody may have it open.
Result<Sink> Sink::create(const std::string& path, Interrupts& interrupts) {
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd) {
      Sink made(std::move(fd), interrupts);
      made.ours_ = true;
      return made;
    }
    if (errno != EEXIST) return fail_errno(std::format("making {}", path));
    struct stat there{};
    if (::lstat(path.c_str(), &there) != 0) continue;  // it has gone meanwhile
    if (S_ISLNK(there.st_mode))
      return fail(Errc::kIo, std::format("{} is a symbolic link: name the file itself", path));
    if (!S_ISREG(there.st_mode)) return open_special(path, there.st_mode, interrupts);
    if (there.st_uid != ::geteuid())
      return fail(Errc::kPermission,
                  std::format("{} belongs to user {}: name another file, or remove that one", path, there.st_uid));
    if (::unlink(path.c_str()) != 0) return fail_errno(std::format("replacing {}", path));
  }
  return fail(Errc::kIo, std::format("somebody else makes {} again and again: name a file where only you may", path));
}

Result<Sink> Sink::open_special(const std::string& path, mode_t mode, Interrupts& interrupts) {
  for (;;) {
    // O_CREAT: so the kernel refuses a FIFO that somebody has laid into a folder like /tmp (fs.protected_fifos).
    Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600));
    if (fd) {
      Sink made(std::move(fd), interrupts);
      if (made.way_ == Way::kRefuses) return made;
      return fail(Errc::kIo, std::format("{} has become a file meanwhile: try again", path));
    }
    if (errno != ENXIO || !S_ISFIFO(mode)) return fail_errno(std::format("opening {}", path));
    pollfd p{.fd = interrupts.fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&p, 1, kLookForReaderMs);
    if (interrupts.count() > 0) return fail(Errc::kTimeout, std::format("nobody reads {}", path));
  }
}

Status Sink::write(std::string_view& bytes) {
  while (!bytes.empty()) {
    if (way_ != Way::kNeverWaits) GW_TRY(wait_for_room());
    const std::size_t most = way_ == Way::kWaits ? kPageBytes : bytes.size();
    const ssize_t n = ::write(fd_.get(), bytes.data(), std::min(most, bytes.size()));
    if (n >= 0)
      bytes.remove_prefix(static_cast<std::size_t>(n));
    else if (errno != EINTR && errno != EAGAIN)
      return fail_errno("writing the capture");
  }
  return {};
}

Status Sink::wait_for_room() {
  for (;;) {
    const unsigned signals = interrupts_->count();
    std::array<pollfd, 2> p{pollfd{fd_.get(), POLLOUT, 0}, pollfd{signals == 0 ? interrupts_->fd() : -1, POLLIN, 0}};
    const int patience_ms = signals == 0 ? -1 : signals == 1 ? kStandsStillMs : 0;
    const int n = ::poll(p.data(), p.size(), patience_ms);
    if (p[0].revents != 0) return {};  // if it is an error, write() says which
    if (n == 0) return fail(Errc::kTimeout, "writing the capture: its reader stands still");
  }
}

void Sink::take_back(std::size_t bytes) {
  struct stat status{};
  if (!ours_ || bytes == 0 || ::fstat(fd_.get(), &status) != 0) return;
  (void)!::ftruncate(fd_.get(), status.st_size - static_cast<off_t>(bytes));
}

}  // namespace gw::cli::capture
