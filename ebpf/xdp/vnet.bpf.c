// SPDX-License-Identifier: GPL-2.0-or-later
// XDP on the vnet port: IP packets to our MAC whose destination is behind a tunnel go to the AF_XDP socket of their
// rx queue, also from the port's VLAN sub-interfaces. The worker cuts or refuses those that are too big for the tunnel.
// The rest is the kernel's, other VLANs and superpackets too. The decision: fib.bpf.h.
#include "ebpf/xdp/fib.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

// Written by gw-fastpath when interfaces change: our MAC, and the tags of the port's VLAN sub-interfaces that are up.
// Frames with other tags are not for us to forward.
__u8 port_mac[ETH_ALEN];
__u64 vlans[GW_XDP_MAX_VLANS];         // gw_vlan_key(); 0 ends the list
__u32 max_packet = GW_XDP_MAX_PACKET;  // written by gw-fastpath where jumbo packets have room

static __always_inline int verdict(enum gw_xdp_counter counter, int action) {
  gw_count(&vnet_counters, counter, 1);
  return action;
}

static __always_inline int is_ours(const struct ethhdr* eth) {
  __u8 difference = 0;
#pragma unroll
  for (int i = 0; i < ETH_ALEN; i++) difference |= eth->h_dest[i] ^ port_mac[i];
  return difference == 0;
}

// At most GW_MAX_VLAN_TAGS tags, which the parser has seen.
static __always_inline int is_our_vlan(const struct ethhdr* eth, int tags) {
  const __be16* words = (const void*)eth + 2 * ETH_ALEN;  // type, tag, type, tag, type
  __u64 key = gw_vlan_key(bpf_ntohs(words[0]), bpf_ntohs(words[1]));
  if (tags > 1) key = key << 32 | gw_vlan_key(bpf_ntohs(words[2]), bpf_ntohs(words[3]));
  for (int i = 0; i < GW_XDP_MAX_VLANS; i++) {
    if (vlans[i] == key) return 1;
    if (vlans[i] == 0) return 0;
  }
  return 0;
}

SEC("xdp.frags")
int gw_vnet(struct xdp_md* ctx) {
  struct gw_cursor cursor = gw_cursor_of(ctx, (__u32)bpf_xdp_get_buff_len(ctx));
  __be16 type_be = 0;
  int tags = 0;
  struct ethhdr* eth = gw_parse_ethernet(&cursor, &type_be, &tags);
  if (!eth || !is_ours(eth) || (tags > 0 && !is_our_vlan(eth, tags))) return verdict(GW_XDP_PASSED, XDP_PASS);
  struct gw_forwarding way = {};
  if (!gw_forward(&cursor, type_be, &way) || way.length > max_packet) return verdict(GW_XDP_PASSED, XDP_PASS);
  int action = (int)bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
  return verdict(action == XDP_REDIRECT ? GW_XDP_REDIRECTED : GW_XDP_PASSED, action);
}
