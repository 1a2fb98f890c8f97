#include "base/secret.hpp"

#include <cstring>

namespace gw {

void wipe(void* p, std::size_t bytes) {
  if (bytes != 0) explicit_bzero(p, bytes);
}

Secret::Secret(std::span<const std::uint8_t> bytes)
    : data_(std::make_unique_for_overwrite<std::uint8_t[]>(bytes.size())), size_(bytes.size()) {
  if (!bytes.empty()) std::memcpy(data_.get(), bytes.data(), bytes.size());
}

Secret::Secret(std::string_view text)
    : Secret(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    wipe(data_.get(), size_);
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Secret::~Secret() { wipe(data_.get(), size_); }

bool operator==(const Secret& a, const Secret& b) {
  if (a.size_ != b.size_) return false;
  unsigned diff = 0;
  for (std::size_t i = 0; i < a.size_; ++i) diff |= static_cast<unsigned>(a.data_[i] ^ b.data_[i]);
  return diff == 0;
}

}  // namespace gw
