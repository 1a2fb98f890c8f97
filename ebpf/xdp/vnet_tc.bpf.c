// SPDX-License-Identifier: GPL-2.0-or-later
// tcx on a gso vnet port: packets for us whose destination is behind a tunnel go to the data TUN as they are,
// superpackets whole. The mark says which tunnel (its slot), and by that which worker's queue (tun_steering.bpf.c).
// The rest is the kernel's, VLAN-tagged packets too. The decision: fib.bpf.h.
#include <linux/if_packet.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include "ebpf/xdp/fib.bpf.h"
#include "ebpf/xdp/skb.bpf.h"

char LICENSE[] SEC("license") = "GPL";

// Written by gw-fastpath before it attaches the program.
__u32 data_ifindex;                    // of the data TUN
__u32 max_packet = GW_XDP_MAX_PACKET;  // that a worker has room for

// Headers of a superpacket's segments at most: IPv6 and TCP with all options.
#define GW_MAX_L3_HEADERS (40 + 60)

static __always_inline int has_ports(__u8 protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_DCCP || protocol == IPPROTO_SCTP ||
         protocol == IPPROTO_UDPLITE;
}

// The same as esp::flow_hash, so that a flow's packets reach the worker that owns its tunnel. Where it differs
// (extension headers), they are handed over.
static __always_inline __u32 flow_hash(const struct gw_cursor* at_ip, const struct gw_cursor* behind, __be16 type_be) {
  struct gw_cursor c = *at_ip;
  __u64 h = 0;
  __u8 protocol = 0;
  int fragment = 0;
  if (type_be == bpf_htons(ETH_P_IP)) {
    if (!gw_has(&c, sizeof(struct iphdr))) return 0;
    const struct iphdr* ip = c.pos;
    protocol = ip->protocol;
    h = gw_flow_mix(protocol, (__u64)bpf_ntohl(ip->saddr) << 32 | bpf_ntohl(ip->daddr));
    fragment = (ip->frag_off & bpf_htons(GW_IPV4_MORE_FRAGMENTS | GW_IPV4_OFFSET_MASK)) != 0;
  } else {
    if (!gw_has(&c, sizeof(struct ipv6hdr))) return 0;
    const struct ipv6hdr* ip = c.pos;
    protocol = ip->nexthdr;
    h = protocol;
    const __be32* words[2] = {ip->saddr.s6_addr32, ip->daddr.s6_addr32};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      h = gw_flow_mix(h, (__u64)bpf_ntohl(words[i][0]) << 32 | bpf_ntohl(words[i][1]));
      h = gw_flow_mix(h, (__u64)bpf_ntohl(words[i][2]) << 32 | bpf_ntohl(words[i][3]));
    }
  }
  if (fragment || !gw_has(behind, 4)) return gw_flow_fold(h);
  const __be16* port = behind->pos;
  if (has_ports(protocol)) h = gw_flow_mix(h, (__u64)bpf_ntohs(port[0]) << 16 | bpf_ntohs(port[1]));
  // ICMP: type and code stand for both ports.
  if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
    h = gw_flow_mix(h, (__u64)bpf_ntohs(port[0]) << 16 | bpf_ntohs(port[0]));
  return gw_flow_fold(h);
}

static __always_inline int to_kernel(struct __sk_buff* skb) {
  gw_count(&vnet_counters, GW_XDP_PASSED, gw_skb_packets(skb));
  return TC_ACT_OK;
}

SEC("tcx/ingress")
int gw_vnet_tc(struct __sk_buff* skb) {
  if (skb->pkt_type != PACKET_HOST || skb->vlan_present || !data_ifindex) return to_kernel(skb);
  gw_skb_pull_headers(skb);
  struct gw_cursor cursor = gw_cursor_of(skb, skb->len);
  __be16 type_be = 0;
  int tags = 0;
  if (!gw_parse_ethernet(&cursor, &type_be, &tags) || tags > 0) return to_kernel(skb);
  const struct gw_cursor at_ip = cursor;
  struct gw_forwarding way = {};
  if (!gw_forward(&cursor, type_be, &way)) return to_kernel(skb);
  __u32 largest = skb->gso_size ? skb->gso_size + GW_MAX_L3_HEADERS : way.length;
  if (largest > max_packet) return to_kernel(skb);
  __u32 bucket = flow_hash(&at_ip, &cursor, type_be) % GW_NEXT_HOP_BUCKETS;
  skb->mark = way.hop->bucket[bucket];
  gw_count(&vnet_counters, GW_XDP_REDIRECTED, gw_skb_packets(skb));
  return (int)bpf_redirect(data_ifindex, 0);
}
