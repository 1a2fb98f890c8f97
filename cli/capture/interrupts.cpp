#include "cli/capture/interrupts.hpp"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace gw::cli::capture {

Interrupts::Interrupts() {
  sigemptyset(&set_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, signal);
  ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  fd_.reset(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
  pipe_before_ = ::signal(SIGPIPE, SIG_IGN);
}

Interrupts::~Interrupts() {
  let_through();
  ::signal(SIGPIPE, pipe_before_);
}

unsigned Interrupts::count() {
  signalfd_siginfo info{};
  while (::read(fd_.get(), &info, sizeof info) == sizeof info) ++count_;
  return count_;
}

void Interrupts::let_through() {
  (void)count();  // those that have come have had their effect
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace gw::cli::capture
