// Where a daemon of ours listens: a Unix stream socket that only some may open, and who is at the other end of it.
// Library gw::local_stream (Boost.Asio).
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <string>

#include "base/result.hpp"

namespace gw {

struct Listening {
  mode_t mode = 0600;
  int backlog = 4;
};
/// In the place of what a process before this one has left: the caller knows that nobody answers there. The mode is the
/// socket's from the beginning. The error names the path.
Status listen_at(boost::asio::local::stream_protocol::acceptor& acceptor, const std::string& path,
                 const Listening& how);

/// The process at the other end, or the one that made the listening socket.
Result<ucred> peer_of(int socket);
/// Root, or the user that runs this.
bool is_privileged(const ucred& who);

}  // namespace gw
