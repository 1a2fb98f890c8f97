// Reading and writing network byte order at unaligned addresses. The caller has checked the length.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gw {

template <std::unsigned_integral T>
constexpr T host_to_be(T v) {
  if constexpr (sizeof(T) == 1 || std::endian::native == std::endian::big)
    return v;
  else
    return std::byteswap(v);
}
template <std::unsigned_integral T>
constexpr T be_to_host(T v) {
  return host_to_be(v);
}

template <std::unsigned_integral T>
inline T load_be(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return be_to_host(v);
}
template <std::unsigned_integral T>
inline void store_be(void* p, T v) {
  v = host_to_be(v);
  std::memcpy(p, &v, sizeof v);
}

}  // namespace gw
