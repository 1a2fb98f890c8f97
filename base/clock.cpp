#include "base/clock.hpp"

#include <ctime>

namespace gw {

MonoTime SystemClock::now() const {
  timespec ts{};
  clock_gettime(CLOCK_BOOTTIME, &ts);
  return MonoTime(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

WallTime SystemClock::wall() const { return std::chrono::system_clock::now(); }

}  // namespace gw
