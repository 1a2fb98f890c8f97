// What the workers and what they share have of memory: all of it is there before the first packet.
#include "ebpf/worker/workers.hpp"

namespace gw::worker {
namespace {

template <class Key, class Value>
MemoryUse use_of(std::string_view part, const SharedTable<Key, Value>& table) {
  return MemoryUse::reserved(part, SharedTable<Key, Value>::kBytesOfOne, table.size(), table.capacity());
}

}  // namespace

/// Frames that are not free, of both sizes: the kernel's, the workers', and those that wait.
std::pair<std::uint64_t, std::uint64_t> Workers::frames_in_use() {
  const FrameMemory& memory = workers_.front()->frames().memory();
  std::uint64_t free = 0;
  std::uint64_t free_large = 0;
  for (const auto& worker : workers_)
    worker->call([&](DataPath&) {
      free += worker->frames().free_frames();
      free_large += worker->frames().free_large_frames();
    });
  return {memory.frames() - free, memory.large_frames() - free_large};
}

std::vector<MemoryUse> Workers::memory() {
  const FrameMemory& frames = workers_.front()->frames().memory();
  const auto [used, used_large] = frames_in_use();
  std::vector<MemoryUse> all{MemoryUse::reserved("packet buffers", frames.frame_bytes(), used, frames.frames())};
  if (frames.large_frames() > 0)
    all.push_back(MemoryUse::reserved("packet buffers, large", kLargeFrameBytes, used_large, frames.large_frames()));
  std::uint64_t waiting = 0;
  MemoryUse fragments;
  for (const auto& worker : workers_)
    worker->call([&](DataPath& path) {
      waiting += path.waiting_packets();
      const MemoryUse here = path.fragmented();
      fragments = {here.part, fragments.bytes + here.bytes, fragments.in_use + here.in_use,
                   fragments.capacity + here.capacity};
    });
  all.push_back(
      MemoryUse::reserved("packets that wait", DataPath::kBytesOfWaiting, waiting, DataPath::kWaitingPlaces * count()));
  all.push_back(fragments);
  all.push_back(MemoryUse::reserved("packets between workers", sizeof(Handover), 0, exchange_->places()));
  std::uint64_t tunnels = 0;
  for (const std::size_t load : load_) tunnels += load;
  constexpr std::size_t kBytesOfTunnel = DataPath::kBytesOfTunnel + sizeof(HandoverDrops);
  all.push_back(
      MemoryUse::reserved("tunnels", sizeof(TunnelCounters) + count() * kBytesOfTunnel, tunnels, shared_.tunnels()));
  all.push_back(use_of("SAs by SPI", shared_.inbound));
  all.push_back(use_of("SAs by peer", shared_.peers));
  all.push_back(use_of("SPIs on offer", shared_.reserved));
  all.push_back(use_of("neighbours", shared_.neighbours));
  return all;
}

}  // namespace gw::worker
