// The forwarding table's memory, shared by XDP and tcx (BPF array maps), the workers and the control thread
// (mmap). One writer, lock-free readers: what changes in place is one aligned entry at a time. Written in C
// for both worlds.
//
// IPv4 is DIR-24-8: a root of 2^24 entries, then groups of 256 for what is longer than /24. Entries have 16
// bits: the root is 32 MB instead of 64, which was worth 20 % of the lookup rate (docs/benchmarks.md).
//
// IPv6 is a trie: a root of 2^16 entries, then a node for each further byte. A node stores runs of equal
// entries instead of all 256, in lines of 64 bytes, and as many lines as its most crowded part needs: node
// width w means 2^w lines, each for 256 / 2^w values of the byte. Most nodes are a single line. Lines of the greatest
// width have a run for each of their 8 values: entry[byte % 8].
#pragma once

#include <linux/types.h>

#define GW_FIB_V4_ROOT_BITS 24
#define GW_FIB_V6_ROOT_BITS 16
#define GW_FIB_NODE_ENTRIES 256

// IPv4 entry: below this a next-hop index (0: no route), from this on it leads to group entry - this.
#define GW_FIB_V4_GROUP 0xc000u
#define GW_FIB_V4_MAX_GROUPS (0x10000u - GW_FIB_V4_GROUP)
#define GW_FIB_MAX_NEXT_HOPS GW_FIB_V4_GROUP

// BPF arrays round a value up to 8 bytes: entries come in blocks of a cache line.
#define GW_FIB_V4_BLOCK_ENTRIES 32
struct gw_fib_v4_block {
  __u16 entry[GW_FIB_V4_BLOCK_ENTRIES];
};
static_assert(sizeof(struct gw_fib_v4_block) == 64, "shared layout");

// IPv6 entry: bit 31 clear: a next-hop index (0: nothing here, what was found above counts); set: a node, its
// width in bits 28..30 and its first line in bits 0..27.
#define GW_FIB_V6_NODE 0x80000000u
#define GW_FIB_V6_WIDTH_SHIFT 28
#define GW_FIB_V6_MAX_WIDTH 5
#define GW_FIB_V6_LINE_MASK 0x0fffffffu

#define GW_FIB_V6_BLOCK_ENTRIES 16
struct gw_fib_v6_block {
  __u32 entry[GW_FIB_V6_BLOCK_ENTRIES];
};
static_assert(sizeof(struct gw_fib_v6_block) == 64, "shared layout");

// What a reader needs to choose an entry is in the first 16 bytes: one vector load.
#define GW_FIB_LINE_RUNS 12
struct gw_fib_line {
  __u8 last[GW_FIB_LINE_RUNS];  // the last byte value of each run but the final one, ascending; then 0xff to the end
  __u32 inherited;              // next hop of the longest prefix of the node above that covers this node; 0: none
  __u32 entry[GW_FIB_LINE_RUNS];
};
static_assert(sizeof(struct gw_fib_line) == 64, "shared layout");

enum gw_next_hop_kind {
  GW_NEXT_HOP_NONE = 0,     // index 0: no route
  GW_NEXT_HOP_KERNEL = 1,   // leave the packet to the kernel
  GW_NEXT_HOP_LOCAL = 2,    // an address of this machine
  GW_NEXT_HOP_TUNNELS = 3,  // one or more tunnels
  GW_NEXT_HOP_VNET = 4,     // out of the vnet port
  GW_NEXT_HOP_CIRCUIT = 5,  // out of the circuit port
};

// 256 buckets over at most 16 tunnels or gateways: the fullest is within about 30 % of its share.
#define GW_NEXT_HOP_BUCKETS 256
#define GW_NEXT_HOP_MAX_TUNNELS 16
#define GW_NEXT_HOP_MAX_GATEWAYS 16

// Where a packet belongs to that comes from, or goes to, an address.
enum gw_zone {
  GW_ZONE_VNET = 0,
  GW_ZONE_TUNNELS = 1,
  GW_ZONE_CIRCUIT = 2,
};

// Network order; IPv4 in the first 4 bytes, the rest zero.
struct gw_gateway {
  __u8 address[16];
};
struct gw_gateways {
  struct gw_gateway gateway[GW_NEXT_HOP_MAX_GATEWAYS];
  __u8 bucket[GW_NEXT_HOP_BUCKETS];  // index of a gateway
};

struct gw_next_hop {
  __u32 kind;            // enum gw_next_hop_kind
  __u32 mtu;             // tunnels: the smallest inner MTU of the group, bytes
  __u32 gateway_family;  // vnet, circuit: 0 on link, else 4 or 6
  __u32 only;  // no look at the buckets: tunnels: slot + 1 of the only one; gateways: 1: it is the first; else 0
  __u32 zone;  // enum gw_zone: tunnels, vnet, circuit: what is behind; a vnet gateway may lead anywhere
  __u32 reserved[3];
  union {
    __u16 bucket[GW_NEXT_HOP_BUCKETS];  // tunnels: slot in the worker's tunnel table
    struct gw_gateways gateways;        // vnet, circuit
  };
};
static_assert(sizeof(struct gw_next_hop) == 544, "shared layout");
