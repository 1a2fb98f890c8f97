// SPDX-License-Identifier: GPL-2.0-or-later
// tcx on a gso wan port: the same guard as XDP has on an xsk port. What is gw-fastpath's goes its way to our UDP and
// raw sockets; ESP for an SPI that is not installed is dropped here, counted and reported. Fragments are the
// kernel's: it reassembles for sockets. Of a train (GRO) the first datagram is looked at; the worker looks at all.
#include <linux/pkt_cls.h>

#include "ebpf/xdp/guard.bpf.h"
#include "ebpf/xdp/skb.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tcx/ingress")
int gw_wan_tc(struct __sk_buff* skb) {
  gw_skb_pull_headers(skb);
  struct gw_cursor cursor = gw_cursor_of(skb, skb->len);
  __be16 type_be = 0;
  int tags = 0;
  enum gw_xdp_counter what = GW_XDP_PASSED;
  if (gw_parse_ethernet(&cursor, &type_be, &tags)) what = gw_guard(&cursor, type_be, (__u32)gw_skb_packets(skb));
  gw_count(&wan_counters, what, gw_skb_packets(skb));
  return what == GW_XDP_REDIRECTED || what == GW_XDP_PASSED ? TC_ACT_OK : TC_ACT_SHOT;
}
