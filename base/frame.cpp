#include "base/frame.hpp"

#include "base/secret.hpp"
#include "base/wire.hpp"

namespace gw {

void append_frame(std::string& out, std::string_view payload) {
  std::uint8_t header[4];
  store_be(header, static_cast<std::uint32_t>(payload.size()));
  out.append(reinterpret_cast<const char*>(header), sizeof header);
  out.append(payload);
}

FrameReader::~FrameReader() { wipe(buffer_); }

void FrameReader::feed(std::span<const std::uint8_t> bytes) {
  if (consumed_ != 0) {
    const std::size_t rest = buffer_.size() - consumed_;
    buffer_.replace(0, rest, buffer_, consumed_, rest);
    wipe(buffer_.data() + rest, buffer_.size() - rest);
    buffer_.resize(rest);
    consumed_ = 0;
  }
  if (buffer_.capacity() < buffer_.size() + bytes.size()) {
    // Growing by hand, so that the old block is wiped and not just freed.
    std::string bigger;
    bigger.reserve((buffer_.size() + bytes.size()) * 2);
    bigger.append(buffer_);
    wipe(buffer_);
    buffer_ = std::move(bigger);
  }
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<std::optional<std::string_view>> FrameReader::next() {
  if (consumed_ != 0 && consumed_ == buffer_.size()) {  // the last payload may hold a key, and the next one be far
    wipe(buffer_.data(), buffer_.size());
    buffer_.clear();
    consumed_ = 0;
  }
  const std::string_view rest = std::string_view(buffer_).substr(consumed_);
  if (rest.size() < 4) return std::nullopt;
  const std::size_t length = load_be<std::uint32_t>(rest.data());
  if (length > max_payload_)
    return fail(Errc::kLimit, std::format("frame of {} bytes, the limit is {}", length, max_payload_));
  if (rest.size() - 4 < length) return std::nullopt;
  consumed_ += 4 + length;
  return rest.substr(4, length);
}

}  // namespace gw
