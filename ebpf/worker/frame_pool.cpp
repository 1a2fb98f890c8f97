#include "ebpf/worker/frame_pool.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <format>

#include "ebpf/esp/packet.hpp"

namespace gw::worker {
namespace {

constexpr std::size_t kReturnBatch = 64;

std::size_t bytes_of(const FrameGeometry& g) {
  return std::size_t{g.frames} * g.frame_bytes + std::size_t{g.large_frames} * kLargeFrameBytes;
}

}  // namespace

Result<std::unique_ptr<FrameMemory>> FrameMemory::create(const FrameGeometry& geometry) {
  if (geometry.sharing == FrameGeometry::Sharing::kNone) {
    const std::size_t bytes = bytes_of(geometry);
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) return fail_errno("allocating packet buffers");
    (void)::madvise(at, bytes, MADV_DONTDUMP);  // clear packets are nothing for a core file
    return std::unique_ptr<FrameMemory>(new FrameMemory({}, {static_cast<std::uint8_t*>(at), bytes}, geometry));
  }
  Fd fd(::memfd_create("gw-frames", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes_of(geometry))) != 0)
    return fail_errno("allocating packet buffers");
  // Whoever shares it can rely on its size.
  (void)::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return share(geometry, std::move(fd));
}

Result<std::unique_ptr<FrameMemory>> FrameMemory::share(const FrameGeometry& geometry, Fd fd) {
  const std::size_t bytes = bytes_of(geometry);
  struct stat found{};
  if (::fstat(fd.get(), &found) != 0) return fail_errno("looking at packet buffers");
  if (static_cast<std::size_t>(found.st_size) != bytes)
    return fail(Errc::kInvalidArgument, std::format("the packet buffers have {} bytes, not {}", found.st_size, bytes));
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (at == MAP_FAILED) return fail_errno("allocating packet buffers");
  (void)::madvise(at, bytes, MADV_DONTDUMP);  // clear packets are nothing for a core file
  return std::unique_ptr<FrameMemory>(
      new FrameMemory(std::move(fd), {static_cast<std::uint8_t*>(at), bytes}, geometry));
}

FrameMemory::FrameMemory(Fd fd, std::span<std::uint8_t> bytes, const FrameGeometry& geometry)
    : fd_(std::move(fd)),
      bytes_(bytes),
      frame_bytes_(geometry.frame_bytes),
      large_begin_(FrameAddress{geometry.frames} * geometry.frame_bytes) {}

FrameMemory::~FrameMemory() { ::munmap(bytes_.data(), bytes_.size()); }

FramePool::FramePool(FrameMemory& memory, std::size_t index, std::size_t pools)
    : memory_(memory),
      size_(memory.frames() / pools * memory.frame_bytes()),
      first_(index * size_),
      large_size_(memory.large_frames() / pools * kLargeFrameBytes),
      large_first_(memory.large_begin() + index * large_size_),
      away_(pools),
      to_home_(pools),
      from_(pools),
      sent_(pools) {
  const std::size_t frames = size_ / memory.frame_bytes();
  free_.reserve(frames);
  for (std::size_t i = frames; i-- > 0;) free_.push_back(first_ + i * memory.frame_bytes());
  const std::size_t large = large_size_ / kLargeFrameBytes;
  large_free_.reserve(large);
  for (std::size_t i = large; i-- > 0;) large_free_.push_back(large_first_ + i * kLargeFrameBytes);
}

void FramePool::set_free(const std::vector<bool>& free) {
  free_.clear();
  for (FrameAddress frame = first_ + size_; frame > first_;) {
    frame -= memory_.frame_bytes();
    if (free[frame / memory_.frame_bytes()]) free_.push_back(frame);
  }
}

void FramePool::mark_free(std::vector<bool>& free) const {
  for (const FrameAddress frame : free_) free[frame / memory_.frame_bytes()] = true;
}

bool FramePool::take_for(std::uint32_t bytes, FrameAddress& frame) {
  const std::uint32_t needed = kHeadroom + bytes + esp::kMaxTailroom;
  if (needed <= memory_.frame_bytes()) return take(frame);
  if (needed > kLargeFrameBytes || large_free_.empty()) return false;
  frame = large_free_.back();
  large_free_.pop_back();
  return true;
}

std::vector<std::unique_ptr<FramePool>> FramePools::cut(FrameMemory& memory, std::size_t pools) {
  std::vector<std::unique_ptr<FramePool>> all;
  for (std::size_t i = 0; i < pools; ++i) all.emplace_back(new FramePool(memory, i, pools));
  for (std::size_t from = 0; from < pools; ++from)
    for (std::size_t home = 0; home < pools; ++home) {
      if (from == home) continue;
      auto ring = std::make_shared<Ring<FrameAddress>>((memory.frames() + memory.large_frames()) / pools);
      all[from]->away_[home].reserve(kReturnBatch);
      all[from]->to_home_[home] = ring;
      all[home]->from_[from] = std::move(ring);
    }
  return all;
}

/// Large, borrowed, or of another home.
void FramePool::give_other(FrameAddress frame) {
  if (frame == kBorrowed) return;
  const bool large = memory_.is_large(frame);
  if (large && frame - large_first_ < large_size_) return large_free_.push_back(frame);
  const std::size_t home = large ? (frame - memory_.large_begin()) / large_size_ : frame / size_;
  away_[home].push_back(frame);
  if (away_[home].size() >= kReturnBatch) send_home(home);
}

void FramePool::send_home(std::size_t home) {
  auto& frames = away_[home];
  if (frames.empty()) return;
  // The ring holds all frames that have this home.
  if (to_home_[home]->push(frames) != frames.size()) std::abort();
  frames.clear();
  sent_[home] = Sent::kUnannounced;
}

void FramePool::collect() {
  std::array<FrameAddress, kReturnBatch> frames;
  for (const auto& ring : from_) {
    if (!ring) continue;
    while (const std::size_t n = ring->pop(frames))
      for (const FrameAddress frame : std::span(frames).first(n)) give(frame);
  }
}

bool FramePool::has_returned() const {
  return std::ranges::any_of(from_, [](const auto& ring) { return ring && !ring->empty(); });
}

}  // namespace gw::worker
