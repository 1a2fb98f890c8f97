#include "ebpf/capture/pages.hpp"

#include <sys/mman.h>

namespace gw::capture {

Result<Pages> Pages::make(std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) return fail_errno("allocating a capture's buffer");
  (void)::madvise(at, bytes, MADV_DONTDUMP);
  return Pages({static_cast<std::uint8_t*>(at), bytes});
}

Pages::~Pages() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace gw::capture
