// SPDX-License-Identifier: GPL-2.0-or-later
// How tcx programs send a packet to a neighbour: the hop is counted, and the kernel puts the neighbour's MAC in front
// (superpackets stay whole). A gateway that is not known yet is asked for, and the packet waits.
#pragma once

#include "ebpf/xdp/forward.bpf.h"
#include "ebpf/xdp/skb.bpf.h"

// AF_INET and AF_INET6, which the uapi headers leave to libc.
#define GW_AF_INET 2
#define GW_AF_INET6 10

// The IP header is behind an Ethernet header.
static __always_inline long gw_skb_count_hop(struct __sk_buff* skb, __be16 type_be) {
  if (type_be == bpf_htons(ETH_P_IP)) {
    const __u32 at = ETH_HLEN + offsetof(struct iphdr, ttl);
    __be16 before = 0;  // TTL and protocol
    if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)) != 0) return -1;
    const __be16 after = bpf_htons(bpf_ntohs(before) - 0x0100);
    if (bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), before, after, sizeof(after)) != 0)
      return -1;
    return bpf_skb_store_bytes(skb, at, &after, 1, 0);
  }
  const __u32 at = ETH_HLEN + offsetof(struct ipv6hdr, hop_limit);
  __u8 hops = 0;
  if (bpf_skb_load_bytes(skb, at, &hops, sizeof(hops)) != 0) return -1;
  hops--;
  return bpf_skb_store_bytes(skb, at, &hops, sizeof(hops), BPF_F_RECOMPUTE_CSUM);
}

// The verdict; not TC_ACT_REDIRECT: nothing was sent, and the packet is lost.
static __always_inline int gw_skb_send(struct __sk_buff* skb, const struct gw_forwarding* way, __be16 type_be) {
  const __u32 ifindex = way->neighbour->ifindex;
  struct bpf_redir_neigh next = {.nh_family = way->next.family == 4 ? GW_AF_INET : GW_AF_INET6};
  __builtin_memcpy(&next.ipv6_nh, way->next.address, 16);
  if (gw_skb_count_hop(skb, type_be) != 0) return TC_ACT_SHOT;
  return bpf_redirect_neigh(ifindex, &next, sizeof(next), 0) == TC_ACT_REDIRECT ? TC_ACT_REDIRECT : TC_ACT_SHOT;
}
