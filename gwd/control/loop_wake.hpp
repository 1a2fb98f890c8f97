// A reconcile loop's alarm clock: sleep until a time-out or until somebody says that there is work. A wake-up
// while the loop is busy is not lost. Owner: the loop; thread: control.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

namespace gw::gwd {

class LoopWake {
 public:
  explicit LoopWake(boost::asio::io_context& io) : timer_(io) {}
  explicit LoopWake(const boost::asio::any_io_executor& executor) : timer_(executor) {}

  void wake() {
    woken_ = true;
    timer_.cancel();
  }
  boost::asio::awaitable<void> sleep(std::chrono::milliseconds longest) {
    if (!woken_) {
      timer_.expires_after(longest);
      co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
    woken_ = false;
  }

 private:
  boost::asio::steady_timer timer_;
  bool woken_ = false;
};

}  // namespace gw::gwd
