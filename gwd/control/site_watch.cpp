#include "gwd/control/site_watch.hpp"

#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {
constexpr std::chrono::hours kIdle{1};  // begin() wakes the loop
}

SiteWatch::SiteWatch(const Parts& parts, Owner owner) : parts_(parts), owner_(std::move(owner)), wake_(parts.io) {}

void SiteWatch::start() {
  running_ = true;
  asio::co_spawn(parts_.io, run(), kEndOnException);
}

void SiteWatch::stop() {
  stopping_ = true;
  wake_.wake();
}

void SiteWatch::begin(const IpAddress& endpoint) {
  if (leaving_.empty()) moves_.forget();
  leaving_.insert(endpoint);
  wake_.wake();
}

asio::awaitable<void> SiteWatch::run() {
  while (!stopping_) {
    co_await wake_.sleep(leaving_.empty() ? std::chrono::milliseconds(kIdle) : kLook);
    if (!stopping_ && !leaving_.empty()) co_await look();
  }
  running_ = false;
}

asio::awaitable<void> SiteWatch::look() {
  fp::ClientFrame frame;
  frame.mutable_list_tunnels();
  const auto reply = co_await parts_.fastpath.request(std::move(frame));
  // Without an answer the machine waits as long as it does for sites of which nothing is seen.
  if (!reply || stopping_) co_return;
  const MonoTime now = parts_.clock.now();
  moves_.look(reply->tunnels(), now);
  std::vector<std::pair<IpAddress, std::size_t>> moved;
  for (const IpAddress& endpoint : leaving_)
    if (const auto tunnels = owner_.waits_for(endpoint); tunnels && moves_.quiet(*tunnels, now))
      moved.emplace_back(endpoint, tunnels->size());
  for (const auto& [endpoint, sites] : moved) {
    if (leaving_.erase(endpoint) == 0) continue;  // by what was done for the one before
    if (sites == 0)
      log::info("ha", "{}: no site has another tunnel to turn to", endpoint);
    else
      log::info("ha", "{}: its sites with another tunnel have turned to that ({} tunnels)", endpoint, sites);
    owner_.moved(endpoint);
  }
}

}  // namespace gw::gwd
