#include "gwd/control/watchdog.hpp"

#include <utility>

#include "base/log.hpp"

namespace gw::gwd {
namespace {

// systemd asks for half of its time at least (sd_watchdog_enabled(3)); a third leaves one that may be late.
constexpr int kTicksInTime = 3;

}  // namespace

Watchdog::Watchdog(boost::asio::io_context& io, ServiceManager manager, SyncProgress progress)
    : manager_(std::move(manager)), progress_(std::move(progress)), timer_(io) {}

void Watchdog::start() {
  if (const auto told = manager_.notify("READY=1"); !told) log::warning("gwd", "{}", told.error().describe());
  if (manager_.watchdog()) tick();
}

/// A thread that has just begun counts as going on.
bool Watchdog::sync_goes_on() {
  const auto now = progress_();
  const auto before = std::exchange(seen_, now);
  return !now || !before || *now != *before;
}

void Watchdog::tick() {
  if (sync_goes_on()) {
    if (const auto told = manager_.notify("WATCHDOG=1"); !told) log::warning("gwd", "{}", told.error().describe());
  } else {
    log::error("gwd", "the sync thread has not moved since the last look");
  }
  timer_.expires_after(*manager_.watchdog() / kTicksInTime);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

}  // namespace gw::gwd
