// Length-prefixed frames on a byte stream: u32 big-endian length, then the payload. Pure: bytes in,
// frames out. The limit is checked before anything is buffered for a frame. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace gw {

inline constexpr std::size_t kMaxFrameBytes = std::size_t{1} << 20;
/// gw-fastpath's answers: its lists of routes and SAs are the long ones.
inline constexpr std::size_t kMaxAnswerBytes = std::size_t{32} << 20;

/// Appends length and payload to `out`. The payload is at most what the reader at the other end takes.
void append_frame(std::string& out, std::string_view payload);

class FrameReader {
 public:
  explicit FrameReader(std::size_t max_payload = kMaxFrameBytes) : max_payload_(max_payload) {}
  /// Keys travel in frames: what was buffered is wiped.
  ~FrameReader();
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  void feed(std::span<const std::uint8_t> bytes);
  /// The next whole payload (valid until the next call of feed or next), nothing if incomplete, or
  /// kLimit: the stream is beyond repair, close it.
  Result<std::optional<std::string_view>> next();
  /// A part of a frame is there: the stream must not end here.
  bool inside_frame() const { return consumed_ < buffer_.size(); }

 private:
  std::size_t max_payload_;
  std::string buffer_;
  std::size_t consumed_ = 0;
};

}  // namespace gw
