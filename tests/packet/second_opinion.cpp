#include "second_opinion.hpp"

#include <algorithm>
#include <array>

namespace gw::packet_test {

Bytes changed(Bytes frame, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  static constexpr std::array<std::uint8_t, 14> kTelling = {0,    1,    4,    6,    17,   44,   50,
                                                            0x45, 0x46, 0x60, 0x11, 0x94, 0x20, 0xff};
  for (std::size_t n = below(4); n > 0; --n) {
    // Mostly in the headers, mostly to values that mean something there.
    const std::size_t at = 12 + below(std::min<std::size_t>(frame.size(), 90) - 12);
    frame[at] = below(3) == 0 ? static_cast<std::uint8_t>(random()) : kTelling[below(kTelling.size())];
  }
  switch (below(4)) {
    case 0: frame.resize(14 + below(frame.size() - 13)); break;
    case 1: frame.resize(frame.size() + below(60)); break;
    default: break;
  }
  return frame;
}

}  // namespace gw::packet_test
