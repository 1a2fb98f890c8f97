// The completion of a coroutine that nobody waits for. boost::asio::detached drops an exception, and with it whatever
// the coroutine was there for: a listener that reads no more, in a program that looks healthy. Here it ends the
// program, which its supervisor starts anew. Exceptions come from third-party code only and are bugs when they get this
// far.
#pragma once

#include <exception>

namespace gw {

/// co_spawn(io, run(), kEndOnException)
inline constexpr auto kEndOnException = [](const std::exception_ptr& fault) {
  if (fault) std::rethrow_exception(fault);
};

}  // namespace gw
