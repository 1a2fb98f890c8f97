#include "ebpf/handover/readiness.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>

namespace gw::handover {
namespace asio = boost::asio;

asio::awaitable<Status> wait(asio::io_context& io, int fd, Until until, Patience patience) {
  using asio::posix::descriptor_base;
  asio::posix::stream_descriptor descriptor(io, fd);
  asio::steady_timer timer(io);
  bool late = false;
  timer.expires_after(patience);
  timer.async_wait([&](const boost::system::error_code& error) {
    if (error) return;
    late = true;
    descriptor.cancel();
  });
  const auto [error] = co_await descriptor.async_wait(
      until == Until::kReadable ? descriptor_base::wait_read : descriptor_base::wait_write,
      asio::as_tuple(asio::use_awaitable));
  timer.cancel();
  (void)descriptor.release();
  // Whoever cancelled has run: it has nothing of ours any more when we return.
  co_await asio::post(io, asio::use_awaitable);
  if (error && late) co_return fail(Errc::kTimeout, std::format("not within {} ms", patience.count()));
  co_return Status{};
}

}  // namespace gw::handover
