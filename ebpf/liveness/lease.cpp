#include "ebpf/liveness/lease.hpp"

namespace gw::liveness {

void Lease::on_send(std::uint64_t sequence, MonoTime now) {
  if (last_sent_ && now - *last_sent_ > settings_.hold()) {
    stood_still_ = now - *last_sent_;
    standing_ = Standing::kAsking;
    first_question_.reset();
    until_ = MonoTime::min();
  }
  last_sent_ = now;
  if (standing_ == Standing::kAsking) {
    if (!first_question_) {
      first_question_ = sequence;
      unanswered_ = 0;
      return;
    }
    if (++unanswered_ < settings_.multiplier) return;
    standing_ = Standing::kHeld;  // nobody there
  }
  until_ = now + settings_.hold();
}

void Lease::on_answer(std::uint64_t echo, MonoTime now) {
  if (standing_ != Standing::kAsking || !first_question_ || echo < *first_question_) return;
  // What was sent long ago is no sign that we ran since: on_send() will find out.
  if (now - *last_sent_ > settings_.hold()) return;
  standing_ = Standing::kHeld;
  until_ = *last_sent_ + settings_.hold();
}

}  // namespace gw::liveness
