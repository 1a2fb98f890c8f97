#include "base/clock.hpp"

#include <ctime>

namespace gw {

MonoTime SystemClock::now() const {
  timespec ts{};
  (void)clock_gettime(CLOCK_BOOTTIME, &ts);  // cannot fail for this clock
  return MonoTime(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

WallTime SystemClock::wall() const { return std::chrono::system_clock::now(); }

}  // namespace gw
