#include "cli/run_program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <format>

#include "base/fd.hpp"

namespace gw::cli {
namespace {

constexpr int kCannotRun = 127;
constexpr std::size_t kMostBytes = std::size_t{16} << 20;

struct Pipe {
  Fd read, write;
  static Pipe make() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
    return {Fd(ends[0]), Fd(ends[1])};
  }
};

// Both pipes at once: a program that fills one while we wait for the other would never end.
void read_all(const std::array<int, 2>& from, const std::array<std::string*, 2>& into) {
  std::array<pollfd, 2> waits{pollfd{from[0], POLLIN, 0}, pollfd{from[1], POLLIN, 0}};
  std::array<char, 65536> buffer;
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    for (std::size_t i = 0; i < waits.size(); ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      const ssize_t n = ::read(waits[i].fd, buffer.data(), buffer.size());
      if (n > 0 && into[i]->size() < kMostBytes) into[i]->append(buffer.data(), static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) waits[i].fd = -1;
    }
  }
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return kCannotRun;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Ran run_program(const Command& command) {
  Ran out;
  Pipe stdout_pipe = Pipe::make();
  Pipe stderr_pipe = Pipe::make();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO,
                                     command.input.empty() ? "/dev/null" : command.input.c_str(), O_RDONLY, 0);
  if (command.output == Output::kCaptured)
    ::posix_spawn_file_actions_adddup2(&actions, stdout_pipe.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, stderr_pipe.write.get(), STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command.argv)
    argv.push_back(const_cast<char*>(word.c_str()));  // NOLINT: C's interface
  argv.push_back(nullptr);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    return {.status = kCannotRun,
            .out = {},
            .err = std::format("cannot run {}: {}\n", command.argv[0], std::strerror(error))};
  stdout_pipe.write.reset();
  stderr_pipe.write.reset();
  read_all({stdout_pipe.read.get(), stderr_pipe.read.get()}, {&out.out, &out.err});
  out.status = wait_for(child);
  return out;
}

}  // namespace gw::cli
