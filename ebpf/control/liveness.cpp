#include "ebpf/control/liveness.hpp"

#include <utility>

#include "base/log.hpp"

namespace gw::control {

Liveness::Liveness(std::unique_ptr<liveness::Thread> thread) : thread_(std::move(thread)) {
  if (const std::string& why = thread_->scheduling_error(); !why.empty())
    log::warning("liveness",
                 "no real-time scheduling ({}): under load BFD and the lease may be late; CAP_SYS_NICE permits it",
                 why);
}

void Liveness::forward_events() {
  thread_->clear_event();
  while (const auto event = thread_->next_event()) std::visit([this](const auto& e) { on(e); }, *event);
}

void Liveness::on(const liveness::BfdChanged& e) {
  using bfd::State;
  const State now = e.session.snapshot.state;
  const auto [place, fresh] = logged_.try_emplace(e.session.key, State::kDown);
  const State before = std::exchange(place->second, now);
  if (before == now) return;
  if (now == State::kUp)
    log::info("bfd", "{}: up", to_string(e.session.key));
  else if (before == State::kUp)
    log::warning("bfd", "{}: {} ({})", to_string(e.session.key), to_string(now),
                 to_string(e.session.snapshot.diagnostic));
}

void Liveness::on(const liveness::BfdEnded& e) { logged_.erase(e.key); }

void Liveness::on(const liveness::BfddConnection& e) {
  if (e.connected)
    log::info("bfd", "bfdd has connected");
  else
    log::warning("bfd", "bfdd went away ({}); its sessions go on", e.why);
}

void Liveness::on(const liveness::Remark& e) {
  if (std::exchange(last_remark_, e.text) != e.text) log::warning("bfd", "{}", e.text);
}

}  // namespace gw::control
