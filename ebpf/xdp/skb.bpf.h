// SPDX-License-Identifier: GPL-2.0-or-later
// tcx programs see socket buffers: headers may be in pages, a packet may be a train of several (GRO, TSO), and a
// VLAN tag is beside the packet.
#pragma once

#include "ebpf/xdp/parse.bpf.h"

// All headers that are looked at: Ethernet, two VLAN tags, IPv4 with options or IPv6 with a fragment header, and the
// first bytes of TCP, ESP, or UDP with IKE.
#define GW_SKB_HEADERS (14 + 8 + 60 + 32)

// Makes the headers readable; `ctx` is loaded anew afterwards.
static __always_inline void gw_skb_pull_headers(struct __sk_buff* skb) {
  __u32 wanted = skb->len < GW_SKB_HEADERS ? skb->len : GW_SKB_HEADERS;
  if ((void*)(long)skb->data + wanted > (void*)(long)skb->data_end) bpf_skb_pull_data(skb, wanted);
}

// Packets on the wire that this buffer stands for.
static __always_inline __u64 gw_skb_packets(const struct __sk_buff* skb) { return skb->gso_segs ? skb->gso_segs : 1; }
