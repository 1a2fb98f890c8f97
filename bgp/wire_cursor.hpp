// Reads network byte order from a span and never beyond it: a short read gives zero and marks the cursor
// as failed, to be asked once at the end. Pure, one thread.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/wire.hpp"

namespace gw::bgp {

class WireCursor {
 public:
  explicit WireCursor(std::span<const std::uint8_t> bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T take() {
    const auto bytes = take_bytes(sizeof(T));
    return bytes.size() == sizeof(T) ? load_be<T>(bytes.data()) : T{0};
  }
  /// Exactly `count` bytes, or none and the cursor has failed.
  std::span<const std::uint8_t> take_bytes(std::size_t count) {
    if (count > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const auto bytes = rest_.first(count);
    rest_ = rest_.subspan(count);
    return bytes;
  }
  std::span<const std::uint8_t> rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }
  bool failed() const { return failed_; }

 private:
  std::span<const std::uint8_t> rest_;
  bool failed_ = false;
};

}  // namespace gw::bgp
