#include "ebpf/xsk/umem.hpp"

#include <sys/mman.h>

namespace gw::xsk {

Result<std::unique_ptr<Umem>> Umem::create(std::uint32_t frames) {
  std::unique_ptr<Umem> umem(new Umem);
  const std::size_t bytes = std::size_t{frames} * kFrameBytes;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) return fail_errno("allocating packet buffers");
  (void)::madvise(at, bytes, MADV_DONTDUMP);  // clear packets are nothing for a core file
  umem->memory_ = {static_cast<std::uint8_t*>(at), bytes};
  umem->free_.reserve(frames);
  for (std::uint32_t i = frames; i-- > 0;) umem->free_.push_back(FrameAddress{i} * kFrameBytes);

  xsk_umem_config config{};
  config.fill_size = kRingEntries;
  config.comp_size = kRingEntries;
  config.frame_size = kFrameBytes;
  const int error = xsk_umem__create(&umem->handle_, at, bytes, &umem->first_fill_, &umem->first_completion_, &config);
  if (error == -EAFNOSUPPORT) return fail(Errc::kUnsupported, "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)");
  if (error != 0) return fail_errno("registering packet buffers with AF_XDP", -error);
  return umem;
}

Umem::~Umem() {
  if (handle_) xsk_umem__delete(handle_);
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

}  // namespace gw::xsk
