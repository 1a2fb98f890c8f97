// SPDX-License-Identifier: GPL-2.0-or-later
// XDP on the vnet port: IP packets to our MAC whose destination is behind a tunnel go to the AF_XDP socket of their
// rx queue. The worker cuts or refuses those that are too big for the tunnel. The rest is the kernel's, VLAN-tagged
// frames and superpackets too. The decision: fib.bpf.h.
#include "ebpf/xdp/fib.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

__u8 port_mac[ETH_ALEN];               // written by gw-fastpath when the interface's address changes
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

SEC("xdp.frags")
int gw_vnet(struct xdp_md* ctx) {
  struct gw_cursor cursor = gw_cursor_of(ctx, (__u32)bpf_xdp_get_buff_len(ctx));
  __be16 type_be = 0;
  int tags = 0;
  struct ethhdr* eth = gw_parse_ethernet(&cursor, &type_be, &tags);
  if (!eth || tags > 0 || !is_ours(eth)) return verdict(GW_XDP_PASSED, XDP_PASS);
  struct gw_forwarding way = {};
  if (!gw_forward(&cursor, type_be, &way) || way.length > max_packet) return verdict(GW_XDP_PASSED, XDP_PASS);
  int action = (int)bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
  return verdict(action == XDP_REDIRECT ? GW_XDP_REDIRECTED : GW_XDP_PASSED, action);
}
