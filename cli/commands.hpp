// gwctl's commands: the tree of words and options, and what each does: one request to gwd, its answer as a
// table or as JSON, an exit code. Owner: main (or a test); one thread.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "cli/client.hpp"
#include "cli/render.hpp"
#include "cli/run_program.hpp"

namespace gw::cli {

inline constexpr const char* kDefaultSocket = "/run/gw/gwd.sock";
inline constexpr const char* kDefaultConfig = "/etc/gw/gateway.yaml";

enum Exit : int {
  kOk = 0,
  kNo = 1,           // the answer is no: validation failed, apply refused, the doctor found something
  kUsage = 2,        // the command line is wrong, a file cannot be read
  kUnreachable = 3,  // gwd does not answer
  kNotUp = 4,        // --check found something that is not up
};

/// Where a run of gwctl reads from and writes to.
struct Surroundings {
  std::ostream& out;
  std::ostream& err;
  Style style = Style::kPlain;
  std::string default_socket = kDefaultSocket;  // $GWD_SOCKET, if that is set
  std::string version;                          // gwctl's own; gwd's is in `status`
  std::function<WallTime()> now;
  /// Between two rounds of --watch; false ends it.
  std::function<bool(std::chrono::seconds)> pause;
  /// Standard output and error of a shell command.
  std::function<std::string(const std::string& command)> run_command;
  /// A program of this machine, without a shell.
  std::function<Ran(const Command&)> run_program;
  /// Never goes back, whatever happens to the clock.
  std::function<std::chrono::milliseconds()> uptime;
  std::function<std::unique_ptr<Transport>(const std::string& socket, std::chrono::milliseconds timeout)> connect;
};

/// `words` without the program's name. Returns the exit code.
int run(const std::vector<std::string>& words, const Surroundings& surroundings);

}  // namespace gw::cli
