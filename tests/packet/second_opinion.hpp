// For classifiers that are written a second time, in the plainest way: bytes by number, and random changes to frames.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>

#include "packets.hpp"

namespace gw::packet_test {

/// Reading beyond the end throws: look with has() first.
class View {
 public:
  explicit View(Bytes bytes) : bytes_(std::move(bytes)) {}
  std::size_t size() const { return bytes_.size(); }
  bool has(std::size_t n) const { return n <= bytes_.size(); }
  unsigned u8(std::size_t at) const { return bytes_.at(at); }
  unsigned u16(std::size_t at) const { return u8(at) << 8 | u8(at + 1); }
  std::uint32_t u32(std::size_t at) const { return u16(at) << 16 | u16(at + 2); }
  View from(std::size_t at) const {
    return View(Bytes(bytes_.begin() + static_cast<std::ptrdiff_t>(at), bytes_.end()));
  }
  View first(std::size_t n) const {
    return View(Bytes(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(n)));
  }
  IpAddress address(std::size_t at, std::size_t length) const {
    return IpAddress::from_bytes(std::span(bytes_).subspan(at, length)).value();
  }

 private:
  Bytes bytes_;
};

/// Some bytes of `frame` (12 and more) changed, mostly in its headers and to values that mean something there; often
/// cut short or made longer.
Bytes changed(Bytes frame, std::mt19937& random);

}  // namespace gw::packet_test
