#include "tests/support/sandbox.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <format>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

namespace gw::test {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  throw std::runtime_error(std::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace

void enter_namespaces(const std::vector<std::filesystem::path>& hide) {
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) give_up("unshare (needs root)");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) give_up("mount --make-rprivate /");
  for (const auto& folder : hide) {
    std::filesystem::create_directories(folder);
    if (::mount("tmpfs", folder.c_str(), "tmpfs", 0, "mode=0777") != 0) give_up("mount " + folder.string());
  }
  run("ip link set lo up");
}

std::string run(const std::string& shell_command) {
  FILE* pipe = ::popen((shell_command + " 2>&1").c_str(), "re");
  if (pipe == nullptr) give_up(shell_command);
  std::string out;
  std::array<char, 4096> bytes{};
  while (const std::size_t n = std::fread(bytes.data(), 1, bytes.size(), pipe)) out.append(bytes.data(), n);
  if (const int status = ::pclose(pipe); status != 0) {
    throw std::runtime_error(std::format("{}: status {}: {}", shell_command, status, out));
  }
  return out;
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) give_up("writing " + path.string());
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Scratch::Scratch() {
  std::string name = (std::filesystem::temp_directory_path() / "gw-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) give_up("mkdtemp");
  path_ = name;
  // Daemons that drop root write here.
  std::filesystem::permissions(path_, std::filesystem::perms::all);
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Process::Process(std::vector<std::string> argv, const std::filesystem::path& log,
                 std::vector<std::string> environment) {
  std::vector<char*> args;
  for (std::string& a : argv) args.push_back(a.data());
  args.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) give_up("fork");
  if (pid_ > 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // Asio's sockets are inherited otherwise
  // The sanitizers of the test are not the daemon's business.
  ::unsetenv("LD_PRELOAD");
  for (std::string& e : environment) ::putenv(e.data());
  ::execvp(args[0], args.data());
  std::perror(args[0]);
  ::_exit(127);
}

Process::Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    end(SIGKILL);
    pid_ = std::exchange(other.pid_, -1);
  }
  return *this;
}

Process::~Process() { end(SIGKILL); }

void Process::end(int signal) {
  if (pid_ < 0) return;
  ::kill(pid_, signal);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Process::signal(int signal) const {
  ::kill(pid_, signal);
  if (signal == SIGSTOP) ::waitpid(pid_, nullptr, WUNTRACED);  // its threads stop one after the other
}

bool Process::running() const { return pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == 0; }

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

}  // namespace gw::test
