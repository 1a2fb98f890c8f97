// The forwarding table's memory, shared by XDP (BPF array maps), the worker and the control thread (mmap).
// IPv4: 24-bit root, then one 8-bit node (DIR-24-8). IPv6: 16-bit root, then 8-bit nodes.
// One writer, lock-free readers: every entry is one aligned u32. Written in C for both worlds.
#pragma once

#include <linux/types.h>

// An entry is a leaf (bit 31 clear: prefix length in bits 23..30, next-hop index in bits 0..22; 0 is
// "no route") or leads to a node (bit 31 set: node index in bits 0..22).
#define GW_FIB_NODE_BIT 0x80000000u
#define GW_FIB_LENGTH_SHIFT 23
#define GW_FIB_INDEX_MASK 0x7fffffu

#define GW_FIB_V4_ROOT_BITS 24
#define GW_FIB_V6_ROOT_BITS 16
#define GW_FIB_NODE_ENTRIES 256

// BPF arrays round a value up to 8 bytes: a u32 per value would waste half. 16 entries are a cache line.
#define GW_FIB_BLOCK_ENTRIES 16
struct gw_fib_block {
  __u32 entry[GW_FIB_BLOCK_ENTRIES];
};
static_assert(sizeof(struct gw_fib_block) == 64, "shared layout");

enum gw_next_hop_kind {
  GW_NEXT_HOP_NONE = 0,     // index 0: no route
  GW_NEXT_HOP_KERNEL = 1,   // leave the packet to the kernel
  GW_NEXT_HOP_LOCAL = 2,    // an address of this machine
  GW_NEXT_HOP_TUNNELS = 3,  // one or more tunnels
  GW_NEXT_HOP_VNET = 4,     // out of the vnet port
};

// 256 buckets over at most 16 tunnels: the fullest is within about 30 % of its share.
#define GW_NEXT_HOP_BUCKETS 256
#define GW_NEXT_HOP_MAX_TUNNELS 16

struct gw_next_hop {
  __u32 kind;            // enum gw_next_hop_kind
  __u32 mtu;             // tunnels: the smallest inner MTU of the group, bytes
  __u32 gateway_family;  // vnet: 0 on link, else 4 or 6
  __u32 reserved;
  __u8 gateway[16];                   // network order; IPv4 in the first 4 bytes
  __u16 bucket[GW_NEXT_HOP_BUCKETS];  // tunnels: slot in the worker's tunnel table
};
static_assert(sizeof(struct gw_next_hop) == 544, "shared layout");
