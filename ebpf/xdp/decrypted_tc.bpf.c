// SPDX-License-Identifier: GPL-2.0-or-later
// tcx on a data TUN: what workers write there came out of tunnels, and was judged by them (worker/inbound.cpp).
// Packets for a gateway of the VNet or the circuit leave by that port, superpackets whole; the rest is the kernel's:
// hosts of the VNet, TTL 1, packets that do not fit. The decision: forward.bpf.h.
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include "ebpf/xdp/skb_send.bpf.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline int verdict(struct __sk_buff* skb, enum gw_xdp_counter counter, int action) {
  gw_count(&decrypted_counters, counter, gw_skb_packets(skb));
  return action;
}

SEC("tcx/ingress")
int gw_decrypted_tc(struct __sk_buff* skb) {
  gw_skb_pull_headers(skb);
  struct gw_cursor cursor = gw_cursor_of(skb, skb->len);  // at the IP header: a TUN has no link layer
  const struct gw_packet packet = {.side = GW_SIDE_TUNNELS, .type_be = (__be16)skb->protocol, .segment = skb->gso_size};
  struct gw_forwarding way = {};
  switch (gw_forward(&cursor, &packet, &way)) {
    case GW_WAY_DROP: return verdict(skb, way.why, TC_ACT_SHOT);
    case GW_WAY_NEIGHBOUR: {
      const __u32 to = way.next.side;
      if (bpf_skb_change_head(skb, ETH_HLEN, 0) != 0) return verdict(skb, GW_XDP_DROP_NO_SOCKET, TC_ACT_SHOT);
      const int action = gw_skb_send(skb, &way, packet.type_be);
      return verdict(skb, action == TC_ACT_REDIRECT ? gw_forwarded_to(to) : GW_XDP_DROP_NO_SOCKET, action);
    }
    default: return verdict(skb, GW_XDP_PASSED, TC_ACT_OK);
  }
}
