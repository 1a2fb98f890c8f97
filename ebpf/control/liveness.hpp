// The control thread's side of the liveness thread: its findings become log lines and events to clients.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "ebpf/liveness/thread.hpp"

namespace gw::control {

class Liveness {
 public:
  explicit Liveness(std::unique_ptr<liveness::Thread> thread);

  liveness::Thread& thread() { return *thread_; }
  int event_fd() const { return thread_->event_fd(); }
  /// When event_fd() is readable.
  void forward_events();

 private:
  void on(const liveness::BfdChanged& event);
  void on(const liveness::BfdEnded& event);
  void on(const liveness::BfddConnection& event);
  void on(const liveness::Remark& event);

  std::unique_ptr<liveness::Thread> thread_;
  std::map<bfd::SessionKey, bfd::State> logged_;
  std::string last_remark_;
};

}  // namespace gw::control
