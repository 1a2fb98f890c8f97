// The forwarding table's memory on the heap instead of in BPF maps. Untouched pages of the big IPv4 root
// cost nothing.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <vector>

#include "ebpf/fib/view.hpp"

namespace gw::fib {

class HeapMemory {
 public:
  explicit HeapMemory(std::size_t nodes = 512, std::size_t next_hops = 256)
      : v4_nodes_(nodes * GW_FIB_NODE_ENTRIES),
        v6_root_(1u << GW_FIB_V6_ROOT_BITS),
        v6_nodes_(nodes * GW_FIB_NODE_ENTRIES),
        hops_(next_hops) {
    void* p = mmap(nullptr, kRootBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    v4_root_ = static_cast<std::uint32_t*>(p);
  }
  HeapMemory(const HeapMemory&) = delete;
  HeapMemory& operator=(const HeapMemory&) = delete;
  ~HeapMemory() { munmap(v4_root_, kRootBytes); }

  Memory view() { return {{v4_root_, 1u << GW_FIB_V4_ROOT_BITS}, v4_nodes_, v6_root_, v6_nodes_, hops_}; }

 private:
  static constexpr std::size_t kRootBytes = sizeof(std::uint32_t) << GW_FIB_V4_ROOT_BITS;
  std::uint32_t* v4_root_;
  std::vector<std::uint32_t> v4_nodes_, v6_root_, v6_nodes_;
  std::vector<gw_next_hop> hops_;
};

}  // namespace gw::fib
