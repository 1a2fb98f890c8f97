#include "ebpf/handover/process.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string_view>

namespace gw::handover {
namespace {

/// systemd's watchdog is whoever's reads this without a process id (sd_watchdog_enabled(3)): the successor's, too.
constexpr std::string_view kOnlyOurs = "WATCHDOG_PID=";

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

/// Descriptors above these are ours alone: libraries do not mark all of theirs.
class StandardStreamsOnly {
 public:
  StandardStreamsOnly() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
  }
  ~StandardStreamsOnly() { ::posix_spawn_file_actions_destroy(&actions_); }
  StandardStreamsOnly(const StandardStreamsOnly&) = delete;
  StandardStreamsOnly& operator=(const StandardStreamsOnly&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

}  // namespace

Result<Process> Process::start(const std::string& program, std::vector<std::string> options) {
  options.insert(options.begin(), program);
  std::vector<char*> environment;
  for (char** e = ::environ; *e != nullptr; ++e)
    if (!std::string_view(*e).starts_with(kOnlyOurs)) environment.push_back(*e);
  environment.push_back(nullptr);
  const StandardStreamsOnly streams;
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program.c_str(), streams.get(), nullptr, pointers(options).data(), environment.data());
  if (error != 0) return fail_errno(std::format("starting {}", program), error);
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail_errno("watching a process");
  return Process(pid, std::move(fd));
}

std::string Process::reap() {
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return "ended";
  if (WIFSIGNALED(status)) return std::format("ended by signal {}", WTERMSIG(status));
  return std::format("ended with status {}", WEXITSTATUS(status));
}

Result<std::string> own_path() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail_errno("looking for this program", error.value());
  return path.string();
}

}  // namespace gw::handover
