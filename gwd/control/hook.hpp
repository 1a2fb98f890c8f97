// Runs an operator's program: without a shell, in a process group of its own, with a time limit, and keeps what it says
// for the error. Thread: the io_context's only one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace gw::gwd {

struct Hook {
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // without the program itself
  std::vector<std::string> environment;  // "NAME=value", all of it: nothing of gwd's own is passed on
  std::chrono::milliseconds timeout{};
};

/// Success: it ended with status 0. kIo: it could not be started, or ended otherwise, with its last words; kTimeout: it
/// and all of its process group were killed. A coroutine that is destroyed kills them, too.
boost::asio::awaitable<Status> run_hook(Hook hook);

}  // namespace gw::gwd
