#include "ebpf/worker/port.hpp"

#include <algorithm>

namespace gw::worker {

std::span<const Outgoing> Port::send_queued() {
  const auto all = std::span(queued_).first(std::exchange(count_, 0));
  if (all.empty()) return all;
  send(all);
  tx_packets.add(static_cast<std::uint64_t>(std::ranges::count(all, GW_DROP_NONE, &Outgoing::lost)));
  return all;
}

}  // namespace gw::worker
