// UTF-8 by hand: what text from outside has to be (RFC 3629). Pure; any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace gw {

/// Length of the UTF-8 sequence that starts `text`, 0 if it is none (no surrogates, no overlong forms).
inline std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned b0 = byte(0);
  if (b0 < 0x80) return 1;
  if (b0 >= 0xc2 && b0 <= 0xdf && tail(1)) return 2;
  if ((b0 & 0xf0U) == 0xe0 && tail(1) && tail(2)) {
    const unsigned code = ((b0 & 0x0fU) << 12U) | ((byte(1) & 0x3fU) << 6U);
    return code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 0 : 3;
  }
  if (b0 >= 0xf0 && b0 <= 0xf4 && tail(1) && tail(2) && tail(3)) {
    const unsigned code = ((b0 & 0x07U) << 18U) | ((byte(1) & 0x3fU) << 12U);
    return code < 0x10000 || code > 0x10ffff ? 0 : 4;
  }
  return 0;
}

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace gw
