// SPDX-License-Identifier: GPL-2.0-or-later
// XDP on the wan port: ESP for an installed (SPI, destination) goes to the AF_XDP socket of its rx queue; an
// SPI that is not installed is dropped, counted and reported. Fragments of native ESP go there as well: the worker
// reassembles. What is what: guard.bpf.h.
#include "ebpf/xdp/guard.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, GW_XDP_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

static __always_inline int verdict(enum gw_xdp_counter counter, int action) {
  gw_count(&wan_counters, counter, 1);
  return action;
}

static __always_inline int redirect(struct xdp_md* ctx) {
  int action = (int)bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP);
  return verdict(action == XDP_REDIRECT ? GW_XDP_REDIRECTED : GW_XDP_DROP_NO_SOCKET, action);
}

SEC("xdp.frags")
int gw_wan(struct xdp_md* ctx) {
  struct gw_cursor cursor = gw_cursor_of(ctx, (__u32)bpf_xdp_get_buff_len(ctx));
  __be16 type_be = 0;
  int tags = 0;
  if (!gw_parse_ethernet(&cursor, &type_be, &tags)) return verdict(GW_XDP_PASSED, XDP_PASS);
  const enum gw_xdp_counter what = gw_guard(&cursor, type_be, 1);
  if (what == GW_XDP_REDIRECTED) return redirect(ctx);
  return verdict(what, what == GW_XDP_PASSED ? XDP_PASS : XDP_DROP);
}
