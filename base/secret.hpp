// Memory for keys: wiped when released, never printed, never copied by accident. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace gw {

/// Overwrites memory in a way that the compiler may not leave out.
void wipe(void* p, std::size_t bytes);
inline void wipe(std::string& s) {
  wipe(s.data(), s.capacity());
  s.clear();
}

/// A byte string that is wiped on destruction. Movable; copies only by clone().
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::span<const std::uint8_t> bytes);
  explicit Secret(std::string_view text);
  Secret(Secret&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  Secret clone() const { return Secret(bytes()); }
  std::span<const std::uint8_t> bytes() const { return {data_.get(), size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_.get()), size_}; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// Constant-time comparison of equal lengths.
  friend bool operator==(const Secret& a, const Secret& b);

 private:
  std::unique_ptr<std::uint8_t[]> data_;
  std::size_t size_ = 0;
};

/// A Secret that several values have: copies share one memory, which is wiped with the last of them.
class SharedSecret {
 public:
  SharedSecret() : secret_(std::make_shared<const Secret>()) {}
  SharedSecret(Secret secret) : secret_(std::make_shared<const Secret>(std::move(secret))) {}

  Secret clone() const { return secret_->clone(); }
  std::string_view text() const { return secret_->text(); }
  bool empty() const { return secret_->empty(); }
  friend bool operator==(const SharedSecret& a, const SharedSecret& b) { return *a.secret_ == *b.secret_; }

 private:
  std::shared_ptr<const Secret> secret_;  // never null
};

}  // namespace gw
