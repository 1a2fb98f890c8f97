// Real daemons for tests: a private network and mount namespace for the test process, a scratch folder,
// child processes that cannot outlive the test. Linux, root. One thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace gw::test {

/// Puts this process into network and mount namespaces of its own, with loopback up and a tmpfs on each of
/// `hide` (folders where daemons keep fixed paths). Once per process; throws std::runtime_error.
void enter_namespaces(const std::vector<std::filesystem::path>& hide);

/// Runs a command to its end and returns its output; throws with the output if it fails.
std::string run(const std::string& shell_command);

void write_file(const std::filesystem::path& path, std::string_view text);
std::string read_file(const std::filesystem::path& path);

/// A folder that goes away with its contents.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A child process; killed and reaped on destruction, and by the kernel if the test dies.
class Process {
 public:
  Process() = default;
  /// `environment` entries are "NAME=value", added to ours. Output goes to `log`.
  Process(std::vector<std::string> argv, const std::filesystem::path& log, std::vector<std::string> environment = {});
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();
  /// Sends the signal and waits until the process is gone.
  void end(int signal);
  void signal(int signal) const;
  bool running() const;

 private:
  pid_t pid_ = -1;
};

/// Polls until true; false after `limit`.
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit);

}  // namespace gw::test
