// SPDX-License-Identifier: GPL-2.0-or-later
// Lookups in the forwarding table, as the workers do them (ebpf/fib/view.hpp), and what no router forwards.
#pragma once

#include "ebpf/xdp/maps.bpf.h"
#include "ebpf/xdp/parse.bpf.h"

static __always_inline __u32 gw_fib_v4_entry(void* map, __u32 index) {
  __u32 key = index / GW_FIB_V4_BLOCK_ENTRIES;
  struct gw_fib_v4_block* block = bpf_map_lookup_elem(map, &key);
  return block ? *(volatile __u16*)&block->entry[index % GW_FIB_V4_BLOCK_ENTRIES] : 0;
}

// A next-hop index.
static __always_inline __u32 gw_fib_lookup_ipv4(__u32 address) {
  __u32 entry = gw_fib_v4_entry(&fib_v4_root, address >> 8);
  if (entry < GW_FIB_V4_GROUP) return entry;
  return gw_fib_v4_entry(&fib_v4_groups, (entry - GW_FIB_V4_GROUP) * GW_FIB_NODE_ENTRIES + (address & 0xff));
}

// Hides a value's origin: from arithmetic that stands for a condition, clang would make a branch.
#define GW_NO_BRANCH(value) asm volatile("" : "+r"(value))

// The run of the line that holds the byte. Without branches: the verifier would follow all of their ways.
static __always_inline __u32 gw_fib_run(const struct gw_fib_line* line, __u32 byte) {
  __u32 run = 0;
#pragma unroll
  for (int i = 0; i < GW_FIB_LINE_RUNS - 1; i++) {
    __u32 difference = line->last[i] - byte;
    GW_NO_BRANCH(difference);
    run += difference >> 31;
  }
  return run;
}

// A next-hop index. What a deeper node says counts more, 0 says nothing. A branch in the loop would double the
// verifier's work at each level.
static __always_inline __u32 gw_fib_lookup_ipv6(const __u8* address) {
  __u32 slot = ((__u32)address[0] << 8) | address[1];
  __u32 key = slot / GW_FIB_V6_BLOCK_ENTRIES;
  struct gw_fib_v6_block* block = bpf_map_lookup_elem(&fib_v6_root, &key);
  if (!block) return 0;
  __u32 entry = *(volatile __u32*)&block->entry[slot % GW_FIB_V6_BLOCK_ENTRIES];
  __u32 best = 0;
  for (int i = 2; i < 16; i++) {
    if (!(entry & GW_FIB_V6_NODE)) break;
    __u32 width = (entry & ~GW_FIB_V6_NODE) >> GW_FIB_V6_WIDTH_SHIFT;
    key = (entry & GW_FIB_V6_LINE_MASK) + (address[i] >> (8 - width));
    struct gw_fib_line* line = bpf_map_lookup_elem(&fib_v6_lines, &key);
    if (!line) break;
    __u32 inherited = *(volatile __u32*)&line->inherited;
    __u32 nothing = ((inherited | -inherited) >> 31) - 1;  // all ones if inherited is 0
    GW_NO_BRANCH(nothing);
    best = (best & nothing) | inherited;
    __u32 run = gw_fib_run(line, address[i]);
    if (run >= GW_FIB_LINE_RUNS) break;
    entry = *(volatile __u32*)&line->entry[run];
  }
  return entry == 0 || (entry & GW_FIB_V6_NODE) ? best : entry;
}

// Addresses that a router never forwards from or to (RFC 1812 5.3.7): 0/8, 127/8, 224/4 and above.
static __always_inline int gw_ipv4_unroutable(__u32 address) {
  return (address >> 24) == 0 || (address >> 24) == 127 || address >= 0xe0000000u;
}

// Unspecified and loopback (::/127), IPv4-mapped (::ffff:0:0/96), link-local, multicast (RFC 4291 2.5-2.7).
static __always_inline int gw_ipv6_unroutable(const struct in6_addr* a) {
  const __u8* b = a->s6_addr;
  if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)) return 1;
  const __be32* w = a->s6_addr32;
  if (w[0] | w[1]) return 0;
  return w[2] == bpf_htonl(0xffff) || (w[2] | (w[3] & bpf_htonl(~1u))) == 0;
}
