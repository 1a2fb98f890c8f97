// HandoverFrames and file descriptors over a connected Unix stream socket. Keys pass here: what was buffered is wiped.
// One thread.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/frame.hpp"
#include "base/result.hpp"
#include "gw/fastpath/v1/handover.pb.h"

namespace gw::handover {

namespace fp = ::gw::fastpath::v1;
using Patience = std::chrono::milliseconds;

/// Of both sides; what has another meaning is another version.
inline constexpr std::uint32_t kVersion = 1;

class Channel {
 public:
  explicit Channel(Fd socket);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  /// Null: nobody listens there.
  static Result<std::unique_ptr<Channel>> connect(const std::string& path);

  int fd() const { return socket_.get(); }
  /// kTimeout: the other one does not read. kClosed: it has gone.
  Status send(const fp::HandoverFrame& frame, Patience patience, std::span<const int> fds = {});
  Status send(fp::HandoverStep step, Patience patience);
  /// kTimeout, kClosed, kMalformed, kLimit. A refusal is kRefused, in its words.
  Result<fp::HandoverFrame> receive(Patience patience);
  /// What is there, without waiting; nothing: not yet a whole frame.
  Result<std::optional<fp::HandoverFrame>> poll();
  /// Descriptors that have come and are not taken yet; of a frame that names them.
  Result<Fd> next_fd();

 private:
  Result<std::optional<fp::HandoverFrame>> next_frame();
  Result<bool> read_some();

  Fd socket_;
  FrameReader reader_;
  std::deque<Fd> fds_;
};

}  // namespace gw::handover
