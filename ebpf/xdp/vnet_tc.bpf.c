// SPDX-License-Identifier: GPL-2.0-or-later
// tcx on a clear port (vnet, circuit): packets for us whose destination is behind a tunnel go to the port's data TUN
// as they are, superpackets whole. The mark says which tunnel (its slot), and by that which worker's queue
// (tun_steering.bpf.c). What is for a neighbour leaves by its port. The rest is the kernel's, other VLANs' packets too.
// On an xsk port it works on what XDP passed: packets that its driver does not take as frames, gateways that have to be
// resolved. The decision: forward.bpf.h.
#include <linux/if_packet.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include "ebpf/xdp/skb_send.bpf.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 side = GW_SIDE_VNET;  // enum gw_side of the port; set at load
// Written by gw-fastpath before it attaches the program.
__u32 data_ifindex;                    // of the data TUN; 0: packets for tunnels are the kernel's
__u32 max_packet = GW_XDP_MAX_PACKET;  // that a worker has room for

static __always_inline int verdict(struct __sk_buff* skb, enum gw_xdp_counter counter, int action) {
  gw_count_at(side, counter, gw_skb_packets(skb));
  return action;
}
static __always_inline int to_kernel(struct __sk_buff* skb) { return verdict(skb, GW_XDP_PASSED, TC_ACT_OK); }

// The outermost tag is beside the packet, if the device or the kernel took it out; -1: not ours.
static __always_inline int tags_of(struct __sk_buff* skb, const struct ethhdr* eth, int inside) {
  const __be16* words = (const void*)eth + 2 * ETH_ALEN;
  const int tags = inside + (skb->vlan_present ? 1 : 0);
  if (tags == 0) return 0;
  if (tags > GW_MAX_VLAN_TAGS) return -1;
  __u64 key = 0;
  if (skb->vlan_present) key = gw_vlan_key(bpf_ntohs((__be16)skb->vlan_proto), (__u16)skb->vlan_tci);
  if (inside > 0) key = key << 32 | gw_vlan_key(bpf_ntohs(words[0]), bpf_ntohs(words[1]));
  if (inside > 1) key = key << 32 | gw_vlan_key(bpf_ntohs(words[2]), bpf_ntohs(words[3]));
  return gw_is_our_vlan(key) ? tags : -1;
}

static __always_inline int without_tags(struct __sk_buff* skb, int tags) {
  if (tags > 0 && bpf_skb_vlan_pop(skb) != 0) return 0;
  return tags < 2 || bpf_skb_vlan_pop(skb) == 0;
}

static __always_inline int into_tunnel(struct __sk_buff* skb, const struct gw_forwarding* way, int tags) {
  if (!data_ifindex || way->longest > max_packet) return to_kernel(skb);
  const __u32 slot = way->hop->bucket[way->hash % GW_NEXT_HOP_BUCKETS];
  if (!without_tags(skb, tags)) return verdict(skb, GW_XDP_DROP_NO_SOCKET, TC_ACT_SHOT);
  skb->mark = slot;
  gw_count_at(side, GW_XDP_REDIRECTED, gw_skb_packets(skb));
  return (int)bpf_redirect(data_ifindex, 0);
}

SEC("tcx/ingress")
int gw_vnet_tc(struct __sk_buff* skb) {
  if (skb->pkt_type != PACKET_HOST) return to_kernel(skb);
  gw_skb_pull_headers(skb);
  struct gw_cursor cursor = gw_cursor_of(skb, skb->len);
  struct gw_packet packet = {.side = side, .segment = skb->gso_size};
  int inside = 0;
  const struct ethhdr* eth = gw_parse_ethernet(&cursor, &packet.type_be, &inside);
  if (!eth) return to_kernel(skb);
  const int tags = tags_of(skb, eth, inside);
  if (tags < 0) return to_kernel(skb);
  __builtin_memcpy(packet.from, eth->h_source, ETH_ALEN);
  struct gw_forwarding way = {};
  switch (gw_forward(&cursor, &packet, &way)) {
    case GW_WAY_DROP: return verdict(skb, way.why, TC_ACT_SHOT);
    case GW_WAY_TUNNELS: return into_tunnel(skb, &way, tags);
    case GW_WAY_NEIGHBOUR: {
      const __u32 to = way.next.side;
      if (!without_tags(skb, tags)) return verdict(skb, GW_XDP_DROP_NO_SOCKET, TC_ACT_SHOT);
      const int action = gw_skb_send(skb, &way, packet.type_be);
      return verdict(skb, action == TC_ACT_REDIRECT ? gw_forwarded_to(to) : GW_XDP_DROP_NO_SOCKET, action);
    }
    default: return to_kernel(skb);
  }
}
