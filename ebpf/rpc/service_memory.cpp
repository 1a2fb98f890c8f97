// What gw-fastpath has of memory, for GetMemory.
#include "ebpf/rpc/service.hpp"

namespace gw::rpc {

void Service::memory(fp::Memory& out) {
  for (const auto& parts : {parts_.workers.memory(), parts_.sas.memory(), parts_.forwarding.memory()})
    for (const MemoryUse& use : parts) {
      fp::MemoryPart& part = *out.add_parts();
      part.set_part(std::string(use.part));
      part.set_bytes(use.bytes);
      part.set_in_use(use.in_use);
      part.set_capacity(use.capacity);
    }
  const ProcessMemory process = process_memory();
  out.set_resident_bytes(process.resident_bytes);
  out.set_peak_resident_bytes(process.peak_resident_bytes);
  out.set_heap_bytes(process.heap_bytes);
}

}  // namespace gw::rpc
