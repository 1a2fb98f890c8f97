#include "gwd/control/hook.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"

namespace gw::gwd {
namespace asio = boost::asio;
namespace {

// What a program may say; more is refused to it (a write fails), so that it cannot fill the memory.
constexpr off_t kOutputBytes = 1 << 20;
constexpr std::size_t kWordsBytes = 300;  // in the error: the end is where the reason stands

/// A file in memory: nobody has to read it while the program runs, so it never waits for us.
Result<Fd> output_file() {
  Fd fd(memfd_create("hook", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("memfd_create");
  if (ftruncate(fd.get(), kOutputBytes) != 0) return fail_errno("ftruncate");
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) return fail_errno("F_ADD_SEALS");
  return fd;
}

std::string last_words(const Fd& output) {
  const off_t end = lseek(output.get(), 0, SEEK_CUR);  // shared with the program: where it stopped
  if (end <= 0) return {};
  const auto bytes = std::min(static_cast<std::size_t>(end), kWordsBytes);
  std::string text(bytes, '\0');
  if (pread(output.get(), text.data(), bytes, end - static_cast<off_t>(bytes)) < 0) return {};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return log::one_line(text);
}

/// Kills and reaps what has not been reaped.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    kill_group();
    (void)reap();
  }
  void kill_group() const { (void)::kill(-pid_, SIGKILL); }
  int reap() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

Result<pid_t> spawn(Hook& hook, const Fd& output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.get(), STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  std::vector<std::string> words{hook.program};
  words.insert(words.end(), hook.arguments.begin(), hook.arguments.end());
  std::vector<char*> argv = pointers(words);
  std::vector<char*> environment = pointers(hook.environment);
  pid_t pid = -1;
  const int err = posix_spawn(&pid, hook.program.c_str(), &actions, &attributes, argv.data(), environment.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (err != 0) return fail_errno("cannot run " + hook.program, err);
  return pid;
}

Status verdict(const Hook& hook, int status, const std::string& words) {
  const std::string said = words.empty() ? "" : ": " + words;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status))
    return fail(Errc::kIo, std::format("{} ended with status {}{}", hook.program, WEXITSTATUS(status), said));
  return fail(Errc::kIo, std::format("{} was ended by signal {}{}", hook.program, WTERMSIG(status), said));
}

}  // namespace

asio::awaitable<Status> run_hook(Hook hook) {
  using namespace asio::experimental::awaitable_operators;
  auto output = output_file();
  if (!output) co_return std::unexpected(output.error());
  const auto pid = spawn(hook, *output);
  if (!pid) co_return std::unexpected(pid.error());
  Child child(*pid);
  Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, child.pid(), 0)));
  if (!pidfd) co_return fail_errno("pidfd_open");

  const auto executor = co_await asio::this_coro::executor;
  asio::posix::stream_descriptor ended(executor, pidfd.release());
  asio::steady_timer limit(executor, hook.timeout);
  constexpr auto kRead = asio::posix::stream_descriptor::wait_read;
  const auto first = co_await (ended.async_wait(kRead, asio::as_tuple(asio::use_awaitable)) ||
                               limit.async_wait(asio::as_tuple(asio::use_awaitable)));
  if (first.index() == 1) {
    child.kill_group();
    (void)child.reap();  // SIGKILL has no delay worth waiting for
    const std::string words = last_words(*output);
    co_return fail(Errc::kTimeout, std::format("{} had not ended after {} ms and was killed{}", hook.program,
                                               hook.timeout.count(), words.empty() ? "" : ": " + words));
  }
  co_return verdict(hook, child.reap(), last_words(*output));
}

}  // namespace gw::gwd
