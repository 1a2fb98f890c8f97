#include "ebpf/gso/trains.hpp"

#include <algorithm>

namespace gw::gso {

std::size_t train_length(std::span<const Datagram> queued) {
  if (queued.empty()) return 0;
  const Datagram& first = queued.front();
  const std::size_t most = std::min(queued.size(), kMaxTrainSegments);
  std::size_t bytes = first.length;
  for (std::size_t n = 1; n < most; ++n) {
    const Datagram& d = queued[n];
    bytes += d.length;
    if (d.lane != first.lane || d.length > first.length || bytes > kMaxTrainBytes) return n;
    if (d.length < first.length) return n + 1;
  }
  return most;
}

}  // namespace gw::gso
