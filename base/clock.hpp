// Time enters here and nowhere else; pure packages take time points as arguments. Any thread.
#pragma once

#include <chrono>

namespace gw {

/// Time that never jumps and counts suspend (CLOCK_BOOTTIME): deadlines survive a frozen VM.
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
};

using MonoTime = BootClock::time_point;
using WallTime = std::chrono::system_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonoTime now() const = 0;   // for intervals and deadlines
  virtual WallTime wall() const = 0;  // for people
};

/// The real clocks of this machine.
class SystemClock final : public Clock {
 public:
  MonoTime now() const override;
  WallTime wall() const override;
};

/// A clock that moves when told to, for tests.
class ManualClock final : public Clock {
 public:
  MonoTime now() const override { return now_; }
  WallTime wall() const override { return wall_; }
  void advance(std::chrono::nanoseconds by) {
    now_ += by;
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
  }

 private:
  MonoTime now_{std::chrono::seconds(1)};
  WallTime wall_{std::chrono::seconds(1'700'000'000)};
};

}  // namespace gw
