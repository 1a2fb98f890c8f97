#include "base/memory_use.hpp"

#include <malloc.h>

#include <charconv>
#include <fstream>
#include <string>

namespace gw {
namespace {

/// "VmRSS:     1234 kB" -> bytes.
std::uint64_t bytes_of(std::string_view line) {
  const std::size_t at = line.find_first_of("0123456789");
  std::uint64_t kib = 0;
  if (at != std::string_view::npos) std::from_chars(line.data() + at, line.data() + line.size(), kib);
  return kib * 1024;
}

}  // namespace

ProcessMemory process_memory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) memory.resident_bytes = bytes_of(line);
    if (line.starts_with("VmHWM:")) memory.peak_resident_bytes = bytes_of(line);
  }
  const struct mallinfo2 heap = ::mallinfo2();
  memory.heap_bytes = heap.uordblks + heap.hblkhd;  // in arenas; mapped one by one
  return memory;
}

}  // namespace gw
