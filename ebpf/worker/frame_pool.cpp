#include "ebpf/worker/frame_pool.hpp"

#include <sys/mman.h>

#include <array>
#include <cstdlib>

namespace gw::worker {
namespace {

constexpr std::size_t kReturnBatch = 64;

}  // namespace

Result<std::unique_ptr<FrameMemory>> FrameMemory::create(std::uint32_t frames) {
  const std::size_t bytes = std::size_t{frames} * kFrameBytes;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) return fail_errno("allocating packet buffers");
  (void)::madvise(at, bytes, MADV_DONTDUMP);  // clear packets are nothing for a core file
  return std::unique_ptr<FrameMemory>(new FrameMemory({static_cast<std::uint8_t*>(at), bytes}));
}

FrameMemory::~FrameMemory() { ::munmap(bytes_.data(), bytes_.size()); }

FramePool::FramePool(FrameMemory& memory, std::size_t index, std::size_t pools)
    : memory_(memory),
      size_(memory.frames() / pools * memory.frame_bytes()),
      first_(index * size_),
      away_(pools),
      to_home_(pools),
      from_(pools) {
  const std::size_t frames = size_ / memory.frame_bytes();
  free_.reserve(frames);
  for (std::size_t i = frames; i-- > 0;) free_.push_back(first_ + i * memory.frame_bytes());
}

std::vector<std::unique_ptr<FramePool>> FramePools::cut(FrameMemory& memory, std::size_t pools) {
  std::vector<std::unique_ptr<FramePool>> all;
  for (std::size_t i = 0; i < pools; ++i) all.emplace_back(new FramePool(memory, i, pools));
  for (std::size_t from = 0; from < pools; ++from)
    for (std::size_t home = 0; home < pools; ++home) {
      if (from == home) continue;
      auto ring = std::make_shared<Ring<FrameAddress>>(memory.frames() / pools);
      all[from]->away_[home].reserve(kReturnBatch);
      all[from]->to_home_[home] = ring;
      all[home]->from_[from] = std::move(ring);
    }
  return all;
}

void FramePool::give_back(FrameAddress frame) {
  const std::size_t home = frame / size_;
  away_[home].push_back(frame);
  if (away_[home].size() >= kReturnBatch) send_home(home);
}

bool FramePool::send_home(std::size_t home) {
  auto& frames = away_[home];
  if (frames.empty()) return false;
  // The ring holds all frames that have this home.
  if (to_home_[home]->push(frames) != frames.size()) std::abort();
  frames.clear();
  return true;
}

void FramePool::collect() {
  std::array<FrameAddress, kReturnBatch> frames;
  for (const auto& ring : from_)
    while (const std::size_t n = ring ? ring->pop(frames) : 0)
      free_.insert(free_.end(), frames.begin(), frames.begin() + static_cast<std::ptrdiff_t>(n));
}

bool FramePool::has_returned() const {
  return std::ranges::any_of(from_, [](const auto& ring) { return ring && !ring->empty(); });
}

}  // namespace gw::worker
