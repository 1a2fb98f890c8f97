// zebra's FPM stream, split in two at a place that the input chooses.
#include <algorithm>
#include <span>

#include "bgp/fpm.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span bytes(data + 1, size - 1);
  const std::size_t cut = std::min<std::size_t>(data[0], bytes.size());
  gw::bgp::FpmSession session;
  for (const auto part : {bytes.first(cut), bytes.subspan(cut)}) {
    session.feed(part);
    for (;;) {
      const auto route = session.next();
      if (!route) return 0;
      if (!*route) break;
    }
  }
  return 0;
}
