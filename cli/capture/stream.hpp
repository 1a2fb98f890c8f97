// gw-fastpath's capture socket from the asking side (proto/gw/fastpath/v1/capture.proto): one question, then frames.
// What comes is checked before anybody believes it. Blocks for no longer than it is told. One thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "base/frame.hpp"
#include "base/result.hpp"
#include "gw/fastpath/v1/capture.pb.h"

namespace gw::cli::capture {

namespace fp = ::gw::fastpath::v1;

/// kMalformed: a packet that cannot be, a number without a meaning.
Status check(const fp::CaptureFrame& frame);

class Stream {
 public:
  /// kNotFound: no socket; kPermission; kRefused: nobody listens.
  static Result<Stream> connect(const std::string& path);
  explicit Stream(Fd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  Status ask(const fp::CaptureAsk& ask);
  /// No more packets are wanted; the last ones and the counts come yet.
  void end();

  /// Takes what is there; kClosed: it was the last.
  Status read_some();
  /// The next whole frame, if there is one.
  Result<std::optional<fp::CaptureFrame>> next();
  /// The next frame, at the latest after `patience`: kTimeout, kClosed.
  Result<fp::CaptureFrame> wait(std::chrono::milliseconds patience);

 private:
  Fd socket_;
  // `started` has the names of all tunnels.
  std::unique_ptr<FrameReader> reader_ = std::make_unique<FrameReader>(kMaxAnswerBytes);
};

}  // namespace gw::cli::capture
