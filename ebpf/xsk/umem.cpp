#include "ebpf/xsk/umem.hpp"

namespace gw::xsk {

Result<std::unique_ptr<Umem>> Umem::create(worker::FrameMemory& memory, FramesPerPacket per_packet) {
  std::unique_ptr<Umem> umem(new Umem);
  umem->per_packet_ = per_packet;
  xsk_umem_config config{};
  config.fill_size = kRingEntries;
  config.comp_size = kRingEntries;
  config.frame_size = memory.frame_bytes();
  const auto bytes = memory.frame_area();
  const int error = xsk_umem__create(&umem->handle_, bytes.data(), bytes.size(), &umem->first_fill_,
                                     &umem->first_completion_, &config);
  if (error == -EAFNOSUPPORT) return fail(Errc::kUnsupported, "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)");
  if (error != 0) return fail_errno("registering packet buffers with AF_XDP", -error);
  return umem;
}

Umem::~Umem() {
  if (handle_) xsk_umem__delete(handle_);
}

}  // namespace gw::xsk
