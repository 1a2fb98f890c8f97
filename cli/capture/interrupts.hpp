// Ctrl-C and its like (SIGINT, SIGTERM, SIGHUP) as something to read: what was captured is written before gwctl ends.
// While this exists they do nothing by themselves, and a pipe without a reader is an error instead of SIGPIPE. One run
// of gwctl, its only thread.
#pragma once

#include <signal.h>

#include "base/fd.hpp"

namespace gw::cli::capture {

class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Readable when there are more than count() has said.
  int fd() const { return fd_.get(); }
  /// How many have come so far.
  unsigned count();
  /// From now on they end gwctl, as without this.
  void let_through();

 private:
  sigset_t set_{};
  sigset_t before_{};
  Fd fd_;
  void (*pipe_before_)(int) = nullptr;
  unsigned count_ = 0;
};

}  // namespace gw::cli::capture
