#include "gwd/control/hand_over_delay.hpp"

#include <utility>

namespace gw::gwd {

void HandOverDelay::hold(const Prefix& prefix) {
  if (ripe_.contains(prefix)) return;
  const bool idle = fresh_.empty() && ripe_.empty();
  fresh_.insert(prefix);
  if (idle) start_timer();
}

void HandOverDelay::forget(const Prefix& prefix) {
  fresh_.erase(prefix);
  ripe_.erase(prefix);
}

void HandOverDelay::start_timer() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    const std::set<Prefix> over = std::exchange(ripe_, std::exchange(fresh_, {}));
    for (const Prefix& prefix : over) release_(prefix);
    if (!fresh_.empty() || !ripe_.empty()) start_timer();
  });
}

}  // namespace gw::gwd
