// A descriptor that is not ours alone, until it can be read or written: Channel does both, this only waits. On the
// thread of the io_context.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>

#include "base/result.hpp"
#include "ebpf/handover/channel.hpp"

namespace gw::handover {

enum class Until : std::uint8_t { kReadable, kWritable };

/// kTimeout: it is not, within `patience`. An end or an error of the other side counts as ready.
boost::asio::awaitable<Status> wait(boost::asio::io_context& io, int fd, Until until, Patience patience);

}  // namespace gw::handover
