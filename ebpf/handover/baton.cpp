#include "ebpf/handover/baton.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace gw::handover {
namespace {
constexpr off_t kBytes = 4096;
}

Result<Baton> Baton::make() {
  Fd fd(::memfd_create("gw-baton", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), kBytes) != 0) return fail_errno("making the baton");
  GW_TRY_ASSIGN(Baton baton, share(std::move(fd)));
  std::atomic_ref(*baton.word_).store(static_cast<std::uint32_t>(Holder::kOld));
  return baton;
}

Result<Baton> Baton::share(Fd fd) {
  struct stat found{};
  if (::fstat(fd.get(), &found) != 0 || found.st_size != kBytes) return fail(Errc::kMalformed, "this is no baton");
  void* at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return fail_errno("mapping the baton");
  return Baton(std::move(fd), static_cast<std::uint32_t*>(at));
}

Baton::~Baton() {
  if (word_) ::munmap(word_, kBytes);
}

}  // namespace gw::handover
