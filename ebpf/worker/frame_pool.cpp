#include "ebpf/worker/frame_pool.hpp"

#include <sys/mman.h>

namespace gw::worker {

Result<std::unique_ptr<FrameMemory>> FrameMemory::create(std::uint32_t frames) {
  const std::size_t bytes = std::size_t{frames} * kFrameBytes;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) return fail_errno("allocating packet buffers");
  (void)::madvise(at, bytes, MADV_DONTDUMP);  // clear packets are nothing for a core file
  return std::unique_ptr<FrameMemory>(new FrameMemory({static_cast<std::uint8_t*>(at), bytes}));
}

FrameMemory::~FrameMemory() { ::munmap(bytes_.data(), bytes_.size()); }

FramePool::FramePool(FrameMemory& memory) : memory_(memory) {
  free_.reserve(memory.frames());
  for (std::uint32_t i = memory.frames(); i-- > 0;) free_.push_back(FrameAddress{i} * memory.frame_bytes());
}

}  // namespace gw::worker
