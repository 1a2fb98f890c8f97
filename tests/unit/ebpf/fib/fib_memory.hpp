// The forwarding table's memory on the heap instead of in BPF maps. Untouched pages of the big IPv4 root
// cost nothing.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <vector>

#include "ebpf/fib/v4_table.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::fib {

struct HeapSize {
  std::size_t v4_groups = 512;  // for routes
  std::size_t v6_lines = 32768;
  std::size_t next_hops = 256;
};

class HeapMemory {
 public:
  explicit HeapMemory(const HeapSize& size = {})
      : v4_groups_((size.v4_groups + kOwnV4Groups) * GW_FIB_NODE_ENTRIES),
        v6_root_(1u << GW_FIB_V6_ROOT_BITS),
        v6_lines_(size.v6_lines),
        hops_(size.next_hops) {
    void* p = mmap(nullptr, kRootBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    v4_root_ = static_cast<std::uint16_t*>(p);
  }
  HeapMemory(const HeapMemory&) = delete;
  HeapMemory& operator=(const HeapMemory&) = delete;
  ~HeapMemory() { munmap(v4_root_, kRootBytes); }

  Memory view() {
    return {{v4_root_, 1u << GW_FIB_V4_ROOT_BITS},
            v4_groups_,
            v6_root_,
            {reinterpret_cast<gw_fib_line*>(v6_lines_.data()), v6_lines_.size()},
            hops_};
  }

 private:
  struct alignas(64) Line {
    gw_fib_line line;
  };
  static constexpr std::size_t kRootBytes = sizeof(std::uint16_t) << GW_FIB_V4_ROOT_BITS;
  std::uint16_t* v4_root_;
  std::vector<std::uint16_t> v4_groups_;
  std::vector<std::uint32_t> v6_root_;
  std::vector<Line> v6_lines_;
  std::vector<gw_next_hop> hops_;
};

}  // namespace gw::fib
