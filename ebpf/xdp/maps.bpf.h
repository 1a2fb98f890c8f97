// SPDX-License-Identifier: GPL-2.0-or-later
// The maps that all programs of the fast path share. gw-fastpath makes them once (maps.bpf.c, xdp::Maps);
// every program declares them by including this file and gets those very maps at load, by name.
// What belongs to one program alone (AF_XDP sockets by rx queue) is declared in that program.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "ebpf/abi/fib.h"
#include "ebpf/abi/gates.h"
#include "ebpf/abi/xdp.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);  // set at load
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_spi_key);
  __type(value, struct gw_spi_owner);
} spis SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);  // set at load
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_address_key);
  __type(value, __u32);
} local_addresses SEC(".maps");

// When a source has used up what it asked for, on the boot clock, by which GW_IKE_INTERVAL_NS each.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, GW_IKE_SOURCES);
  __type(key, struct gw_address_key);
  __type(value, __u64);
} ike_sources SEC(".maps");

// The peers of tunnels, whole addresses: when what they said is used up, by GW_IKE_PEER_INTERVAL_NS each.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);  // set at load
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_address_key);
  __type(value, __u64);
} ike_peers SEC(".maps");

// Of all other sources together: when they have used up what they said, by which GW_IKE_STRANGERS_INTERVAL_NS each.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} ike_strangers SEC(".maps");

// Until when nothing more is told of a source's unknown SPIs, on the boot clock.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, GW_SPI_SOURCES);
  __type(key, struct gw_address_key);
  __type(value, __u64);
} spi_sources SEC(".maps");

// Which worker owns the tunnel of a slot.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, GW_MAX_TUNNEL_SLOTS);
  __type(key, __u32);
  __type(value, __u32);
} slot_owners SEC(".maps");

#define GW_FIB_MAP(name, block, entries) \
  struct {                               \
    __uint(type, BPF_MAP_TYPE_ARRAY);    \
    __uint(max_entries, entries);        \
    __uint(map_flags, BPF_F_MMAPABLE);   \
    __type(key, __u32);                  \
    __type(value, block);                \
  } name SEC(".maps")

GW_FIB_MAP(fib_v4_root, struct gw_fib_v4_block, (1u << GW_FIB_V4_ROOT_BITS) / GW_FIB_V4_BLOCK_ENTRIES);
GW_FIB_MAP(fib_v4_groups, struct gw_fib_v4_block, GW_FIB_NODE_ENTRIES / GW_FIB_V4_BLOCK_ENTRIES);  // set at load
GW_FIB_MAP(fib_v6_root, struct gw_fib_v6_block, (1u << GW_FIB_V6_ROOT_BITS) / GW_FIB_V6_BLOCK_ENTRIES);
GW_FIB_MAP(fib_v6_lines, struct gw_fib_line, 1);  // set at load

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);  // set at load
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct gw_next_hop);
} next_hops SEC(".maps");

#define GW_COUNTER_MAP(name)                 \
  struct {                                   \
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
    __uint(max_entries, GW_XDP_COUNTERS);    \
    __type(key, __u32);                      \
    __type(value, __u64);                    \
  } name SEC(".maps")

GW_COUNTER_MAP(wan_counters);
GW_COUNTER_MAP(vnet_counters);       // of packets that came by the vnet port
GW_COUNTER_MAP(circuit_counters);    // by the circuit port
GW_COUNTER_MAP(decrypted_counters);  // out of a tunnel, on their way to a clear port

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct gw_settings);
} settings SEC(".maps");

// Public addresses that one of several instances owns, and the place of their gate.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, GW_GATES);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_address_key);
  __type(value, __u32);
} endpoints SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct gw_gates);
} gates SEC(".maps");

// Without preallocation: an entry that a program has found stays as it is until the program ends.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, GW_MAX_NEIGHBOURS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_neighbour_key);
  __type(value, struct gw_neighbour);
} neighbours SEC(".maps");

// Set by programs, cleared by gw-fastpath, which tells the kernel what is in use.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, GW_MAX_NEIGHBOURS);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, __u64);
} neighbours_used SEC(".maps");

// The interfaces that XDP sends by.
struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, GW_SIDES);
  __type(key, __u32);
  __type(value, __u32);
} out_ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 64 * 1024);
} events SEC(".maps");

static __always_inline void gw_count(void* counters, enum gw_xdp_counter counter, __u64 packets) {
  __u32 key = counter;
  __u64* value = bpf_map_lookup_elem(counters, &key);
  if (value) *value += packets;
}
