// SPDX-License-Identifier: GPL-2.0-or-later
// XDP on the vnet port: IP packets to our MAC whose destination is behind a tunnel go to the AF_XDP
// socket of their rx queue. Everything that needs a router's judgement stays with the kernel, which
// routes into the TUN devices as well: TTL 1, options, too big for the tunnel, multicast, our own
// addresses, VLAN-tagged frames.
#include "ebpf/abi/fib.h"
#include "ebpf/abi/xdp.h"
#include "ebpf/xdp/parse.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define GW_BLOCK_MAP(name, entries)     \
  struct {                              \
    __uint(type, BPF_MAP_TYPE_ARRAY);   \
    __uint(max_entries, entries);       \
    __uint(map_flags, BPF_F_MMAPABLE);  \
    __type(key, __u32);                 \
    __type(value, struct gw_fib_block); \
  } name SEC(".maps")

GW_BLOCK_MAP(fib_v4_root, (1u << GW_FIB_V4_ROOT_BITS) / GW_FIB_BLOCK_ENTRIES);
GW_BLOCK_MAP(fib_v4_nodes, GW_FIB_NODE_ENTRIES / GW_FIB_BLOCK_ENTRIES);  // set at load
GW_BLOCK_MAP(fib_v6_root, (1u << GW_FIB_V6_ROOT_BITS) / GW_FIB_BLOCK_ENTRIES);
GW_BLOCK_MAP(fib_v6_nodes, GW_FIB_NODE_ENTRIES / GW_FIB_BLOCK_ENTRIES);  // set at load

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);  // set at load
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct gw_next_hop);
} next_hops SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, GW_XDP_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

__u8 port_mac[ETH_ALEN];  // written by gw-fastpath when the interface's address changes

static __always_inline int verdict(enum gw_xdp_counter counter, int action) {
  __u32 key = counter;
  __u64* value = bpf_map_lookup_elem(&counters, &key);
  if (value) (*value)++;
  return action;
}

static __always_inline int pass(void) { return verdict(GW_XDP_PASSED, XDP_PASS); }

static __always_inline __u32 entry_of(void* map, __u32 index) {
  __u32 key = index / GW_FIB_BLOCK_ENTRIES;
  struct gw_fib_block* block = bpf_map_lookup_elem(map, &key);
  return block ? *(volatile __u32*)&block->entry[index % GW_FIB_BLOCK_ENTRIES] : 0;
}

static __always_inline __u32 node_index(__u32 entry, __u8 byte) {
  return (entry & GW_FIB_INDEX_MASK) * GW_FIB_NODE_ENTRIES + byte;
}

static __always_inline __u32 lookup_ipv4(__u32 address) {
  __u32 entry = entry_of(&fib_v4_root, address >> 8);
  if (entry & GW_FIB_NODE_BIT) entry = entry_of(&fib_v4_nodes, node_index(entry, address & 0xff));
  return entry;
}

static __always_inline __u32 lookup_ipv6(const __u8* address) {
  __u32 entry = entry_of(&fib_v6_root, ((__u32)address[0] << 8) | address[1]);
  for (int i = 2; i < 16; i++) {
    if (!(entry & GW_FIB_NODE_BIT)) break;
    entry = entry_of(&fib_v6_nodes, node_index(entry, address[i]));
  }
  return entry;
}

// The packet is `length` bytes from its IP header on.
static __always_inline int forward(struct xdp_md* ctx, __u32 entry, __u32 length) {
  if (entry & GW_FIB_NODE_BIT) return pass();
  __u32 index = entry & GW_FIB_INDEX_MASK;
  struct gw_next_hop* hop = bpf_map_lookup_elem(&next_hops, &index);
  if (!hop || hop->kind != GW_NEXT_HOP_TUNNELS || length > hop->mtu) return pass();
  int action = (int)bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
  return verdict(action == XDP_REDIRECT ? GW_XDP_REDIRECTED : GW_XDP_PASSED, action);
}

// Addresses that a router never forwards from or to (RFC 1812 5.3.7): 0/8, 127/8, 224/4 and above.
static __always_inline int ipv4_unroutable(__u32 address) {
  return (address >> 24) == 0 || (address >> 24) == 127 || address >= 0xe0000000u;
}

static __always_inline int handle_ipv4(struct xdp_md* ctx, struct gw_cursor* cursor) {
  __u32 payload = 0;
  struct iphdr* ip = gw_parse_ipv4(cursor, &payload);
  if (!ip || ip->ihl != 5 || ip->ttl <= 1) return pass();
  __u32 dst = bpf_ntohl(ip->daddr);
  if (ipv4_unroutable(dst) || ipv4_unroutable(bpf_ntohl(ip->saddr)) || (dst >> 16) == 0xa9fe) return pass();
  return forward(ctx, lookup_ipv4(dst), payload + sizeof(*ip));
}

// Unspecified and loopback (::/127), link-local, multicast (RFC 4291 2.5-2.7).
static __always_inline int ipv6_unroutable(const struct in6_addr* a) {
  const __u8* b = a->s6_addr;
  if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)) return 1;
  const __be32* w = a->s6_addr32;
  return (w[0] | w[1] | w[2] | (w[3] & bpf_htonl(~1u))) == 0;
}

static __always_inline int handle_ipv6(struct xdp_md* ctx, struct gw_cursor* cursor) {
  __u32 payload = 0;
  struct ipv6hdr* ip = gw_parse_ipv6(cursor, &payload);
  if (!ip || ip->hop_limit <= 1 || ip->nexthdr == IPPROTO_HOPOPTS) return pass();
  if (ipv6_unroutable(&ip->daddr) || ipv6_unroutable(&ip->saddr)) return pass();
  __u8 dst[16];
  __builtin_memcpy(dst, &ip->daddr, sizeof(dst));
  return forward(ctx, lookup_ipv6(dst), payload + sizeof(*ip));
}

static __always_inline int is_ours(const struct ethhdr* eth) {
  __u8 difference = 0;
#pragma unroll
  for (int i = 0; i < ETH_ALEN; i++) difference |= eth->h_dest[i] ^ port_mac[i];
  return difference == 0;
}

SEC("xdp")
int gw_vnet(struct xdp_md* ctx) {
  struct gw_cursor cursor = {.pos = (void*)(long)ctx->data, .end = (void*)(long)ctx->data_end};
  __be16 type_be = 0;
  int tags = 0;
  struct ethhdr* eth = gw_parse_ethernet(&cursor, &type_be, &tags);
  if (!eth || tags > 0 || !is_ours(eth)) return pass();
  if (type_be == bpf_htons(ETH_P_IP)) return handle_ipv4(ctx, &cursor);
  if (type_be == bpf_htons(ETH_P_IPV6)) return handle_ipv6(ctx, &cursor);
  return pass();
}
