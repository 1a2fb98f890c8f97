// Memory that a worker may use at once: touched when it is made, given back at the end, in no core file because clear
// packets are in it. One owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/result.hpp"

namespace gw::capture {

class Pages {
 public:
  static Result<Pages> make(std::size_t bytes);
  Pages() = default;
  Pages(Pages&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages();

  std::span<std::uint8_t> bytes() const { return bytes_; }

 private:
  explicit Pages(std::span<std::uint8_t> bytes) : bytes_(bytes) {}
  std::span<std::uint8_t> bytes_;
};

}  // namespace gw::capture
