// SPDX-License-Identifier: GPL-2.0-or-later
// The forwarding decision, the same on both kinds of vnet port: which packets go into tunnels. Everything
// that needs a router's judgement has none and stays with the kernel, which routes into the TUN devices
// as well: TTL 1, options, multicast, our own addresses.
#pragma once

#include "ebpf/abi/flow_hash.h"
#include "ebpf/xdp/maps.bpf.h"
#include "ebpf/xdp/parse.bpf.h"

struct gw_forwarding {
  struct gw_next_hop* hop;  // behind one or more tunnels
  __u32 length;             // of the packet, from its IP header on
  __u32 ip_header;          // bytes
  __u8 protocol;
};

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

// Null: not through tunnels.
static __always_inline struct gw_next_hop* gw_tunnels_of(__u32 index) {
  struct gw_next_hop* hop = bpf_map_lookup_elem(&next_hops, &index);
  return hop && hop->kind == GW_NEXT_HOP_TUNNELS ? hop : 0;
}

// Addresses that a router never forwards from or to (RFC 1812 5.3.7): 0/8, 127/8, 224/4 and above.
static __always_inline int gw_ipv4_unroutable(__u32 address) {
  return (address >> 24) == 0 || (address >> 24) == 127 || address >= 0xe0000000u;
}

// Unspecified and loopback (::/127), link-local, multicast (RFC 4291 2.5-2.7).
static __always_inline int gw_ipv6_unroutable(const struct in6_addr* a) {
  const __u8* b = a->s6_addr;
  if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)) return 1;
  const __be32* w = a->s6_addr32;
  return (w[0] | w[1] | w[2] | (w[3] & bpf_htonl(~1u))) == 0;
}

// The cursor is at the IP header, and behind it afterwards. 0: the kernel's.
static __always_inline int gw_forward_ipv4(struct gw_cursor* cursor, struct gw_forwarding* out) {
  __u32 payload = 0;
  struct iphdr* ip = gw_parse_ipv4(cursor, &payload);
  if (!ip || ip->ihl != 5 || ip->ttl <= 1) return 0;
  __u32 dst = bpf_ntohl(ip->daddr);
  if (gw_ipv4_unroutable(dst) || gw_ipv4_unroutable(bpf_ntohl(ip->saddr)) || (dst >> 16) == 0xa9fe) return 0;
  out->hop = gw_tunnels_of(gw_fib_lookup_ipv4(dst));
  out->length = payload + sizeof(*ip);
  out->ip_header = sizeof(*ip);
  out->protocol = ip->protocol;
  return out->hop != 0;
}

static __always_inline int gw_forward_ipv6(struct gw_cursor* cursor, struct gw_forwarding* out) {
  __u32 payload = 0;
  struct ipv6hdr* ip = gw_parse_ipv6(cursor, &payload);
  if (!ip || ip->hop_limit <= 1 || ip->nexthdr == IPPROTO_HOPOPTS) return 0;
  if (gw_ipv6_unroutable(&ip->daddr) || gw_ipv6_unroutable(&ip->saddr)) return 0;
  __u8 dst[16];
  __builtin_memcpy(dst, &ip->daddr, sizeof(dst));
  out->hop = gw_tunnels_of(gw_fib_lookup_ipv6(dst));
  out->length = payload + sizeof(*ip);
  out->ip_header = sizeof(*ip);
  out->protocol = ip->nexthdr;
  return out->hop != 0;
}

static __always_inline int gw_forward(struct gw_cursor* cursor, __be16 type_be, struct gw_forwarding* out) {
  if (type_be == bpf_htons(ETH_P_IP)) return gw_forward_ipv4(cursor, out);
  if (type_be == bpf_htons(ETH_P_IPV6)) return gw_forward_ipv6(cursor, out);
  return 0;
}
