#include "gwd/control/bfd_controller.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

BfdController::BfdController(asio::io_context& io, const Clock& clock, std::string vty_dir)
    : io_(io), clock_(clock), path_(std::move(vty_dir) + "/bfdd.vty"), vty_(io.get_executor()), wake_(io) {
  vty_.on_closed([this](const Error& why) {
    log::warning("bfd", "bfdd went away: {}", why.message);
    set_connected(Connected::kNo);
    wake_.wake();
  });
}

void BfdController::set_connected(Connected now) {
  const bool connected = now == Connected::kYes;
  if (std::exchange(connected_, connected) == connected) return;
  since_ = clock_.wall();
  if (!connected) set_states({});
}

void BfdController::set_states(bgp::BfdStates states) {
  const bool same = std::ranges::equal(states, states_, [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.up == b.second.up && a.second.diagnostic == b.second.diagnostic;
  });
  states_ = std::move(states);
  if (!same && changed_) changed_();
}

void BfdController::start() { asio::co_spawn(io_, run(), kEndOnException); }

void BfdController::stop() {
  stopping_ = true;
  vty_.close();
  wake_.wake();
}

void BfdController::set_intent(bgp::BfdSessions sessions) {
  if (std::exchange(ordered_, true) && wanted_ == sessions) return;
  wanted_ = std::move(sessions);
  wake_.wake();
}

asio::awaitable<void> BfdController::run() {
  std::string last_reason;
  while (!stopping_) {
    Status done;
    if (!connected_) done = co_await open_session();
    if (done && ordered_ && applied_ != bgp::possible(wanted_, applied_)) done = co_await apply();
    if (done) done = co_await read_states();
    if (done) {
      last_reason.clear();
      co_await wake_.sleep(needed() ? kPoll : kIdle);
      continue;
    }
    // Without sessions to watch bfdd may be away.
    if (needed() && done.error().message != last_reason) log::warning("bfd", "bfdd: {}", done.error().message);
    last_reason = done.error().message;
    if (!vty_.is_open()) set_connected(Connected::kNo);
    co_await wake_.sleep(needed() ? (connected_ ? kPoll : kReconnectPause) : kIdle);
  }
}

asio::awaitable<Status> BfdController::open_session() {
  if (const auto open = co_await vty_.connect(path_, kTimeout); !open) co_return open;
  set_connected(Connected::kYes);
  applied_.clear();
  if (const auto read = co_await read_states(); !read) co_return read;
  applied_ = bgp::configured(states_);
  log::info("bfd", "connected to bfdd, which has {} sessions", applied_.size());
  co_return Status{};
}

asio::awaitable<Status> BfdController::apply() {
  const bgp::BfdSessions target = bgp::possible(wanted_, applied_);
  // What bfdd refuses must not be asked of it for ever: the sessions are then shown as not answered.
  const auto done = co_await vty_.configure(bgp::bfd_diff(std::exchange(applied_, target), target), kTimeout);
  if (!done) co_return done;
  log::info("bfd", "{} sessions", target.size());
  co_return Status{};
}

asio::awaitable<Status> BfdController::read_states() {
  const auto text = co_await vty_.show(bgp::kShowBfd, kTimeout);
  if (!text) co_return std::unexpected(text.error());
  auto states = bgp::parse_bfd(*text);
  if (!states) co_return std::unexpected(states.error());
  set_states(std::move(*states));
  co_return Status{};
}

}  // namespace gw::gwd
