#include "gwd/control/bmp_stall.hpp"

#include <algorithm>

namespace gw::gwd {

void BmpStall::lost(std::size_t routes, MonoTime now) {
  if (routes == 0) return;
  const MonoTime cleared = now + kSettle + routes * kPerLostRoute;
  due_ = std::max({cleared, not_before_, due_.value_or(cleared)});
}

void BmpStall::reopened(std::size_t table, MonoTime now) {
  due_.reset();
  not_before_ = now + std::max<std::chrono::nanoseconds>(kPause, table * kPausePerRoute);
}

}  // namespace gw::gwd
