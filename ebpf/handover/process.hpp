// A process of ours that is to take the place of this one: the same user, capabilities, sandbox and environment; none
// of our descriptors. It is not ended with us. Control thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace gw::handover {

class Process {
 public:
  static Result<Process> start(const std::string& program, std::vector<std::string> options);

  pid_t pid() const { return pid_; }
  /// Readable when it has ended.
  int fd() const { return fd_.get(); }
  /// It has: how, for people.
  std::string reap();

 private:
  Process(pid_t pid, Fd fd) : pid_(pid), fd_(std::move(fd)) {}

  pid_t pid_;
  Fd fd_;
};

/// This program's path: after an upgrade another one is there.
Result<std::string> own_path();

}  // namespace gw::handover
