// What memory a program has, and what for: for people. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace gw {

struct MemoryUse {
  std::string_view part;       // "packet buffers"
  std::uint64_t bytes = 0;     // in use or not
  std::uint64_t in_use = 0;    // how many of them
  std::uint64_t capacity = 0;  // how many there is room for in these bytes; 0: they grow with what is in use

  /// Was there before the first packet.
  static MemoryUse reserved(std::string_view part, std::uint64_t bytes_of_one, std::uint64_t in_use,
                            std::uint64_t capacity) {
    return {part, bytes_of_one * capacity, in_use, capacity};
  }
  static MemoryUse growing(std::string_view part, std::uint64_t bytes, std::uint64_t in_use) {
    return {part, bytes, in_use, 0};
  }
};

struct ProcessMemory {
  std::uint64_t resident_bytes = 0;       // as the kernel sees it (VmRSS)
  std::uint64_t peak_resident_bytes = 0;  // since the start (VmHWM)
  std::uint64_t heap_bytes = 0;           // allocated by malloc, in all arenas
};

/// Of this process; 0: the kernel does not say.
ProcessMemory process_memory();

}  // namespace gw
