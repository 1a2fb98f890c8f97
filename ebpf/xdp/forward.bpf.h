// SPDX-License-Identifier: GPL-2.0-or-later
// The forwarding decision, the same on both kinds of port and for both clear sides (VNet and circuit): into tunnels,
// to a neighbour, or dropped for a reason. What needs a router's judgement has none and stays with the kernel: TTL 1,
// options, multicast, our own addresses, packets that do not fit, hosts that nobody has heard of. What may go from
// where to where is the worker's rule as well (worker/inbound.cpp).
#pragma once

#include "ebpf/abi/flow_hash.h"
#include "ebpf/xdp/fib.bpf.h"

enum gw_way {
  GW_WAY_KERNEL = 0,
  GW_WAY_TUNNELS,
  GW_WAY_NEIGHBOUR,
  GW_WAY_DROP,
};

struct gw_packet {
  __u32 side;  // enum gw_side that it came by
  __be16 type_be;
  __u8 from[ETH_ALEN];  // the neighbour's MAC; all zero: none
  __u32 segment;        // payload of a superpacket's segments; 0: it is one packet
};

struct gw_forwarding {
  struct gw_next_hop* hop;
  struct gw_neighbour* neighbour;  // GW_WAY_NEIGHBOUR: known, or unresolved
  struct gw_neighbour_key next;    // whom it is for
  enum gw_xdp_counter why;         // GW_WAY_DROP
  __u32 length;                    // of the packet, from its IP header on
  __u32 longest;                   // the same, of a superpacket's segments
  __u32 hash;                      // of the flow
  __u8 protocol;
  __u8 fragment;
};

static __always_inline enum gw_way gw_refuse(struct gw_forwarding* out, enum gw_xdp_counter why) {
  out->why = why;
  return GW_WAY_DROP;
}

static __always_inline int gw_is_transit_open(void) {
  __u32 key = 0;
  struct gw_settings* s = bpf_map_lookup_elem(&settings, &key);
  return s && *(volatile __u32*)&s->circuit_transit;
}

static __always_inline struct gw_next_hop* gw_next_hop_at(__u32 index) {
  return bpf_map_lookup_elem(&next_hops, &index);
}

static __always_inline int gw_has_ports(__u8 protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_DCCP || protocol == IPPROTO_SCTP ||
         protocol == IPPROTO_UDPLITE;
}

// The rest of esp::flow_hash: `h` has protocol and addresses, the cursor is behind the IP header. Where it differs
// (extension headers) a packet for a tunnel is handed over to its owner.
static __always_inline __u32 gw_finish_hash(__u64 h, const struct gw_cursor* behind, const struct gw_forwarding* f) {
  if (f->fragment || !gw_has(behind, 4)) return gw_flow_fold(h);
  const __be16* port = behind->pos;
  if (gw_has_ports(f->protocol)) h = gw_flow_mix(h, (__u64)bpf_ntohs(port[0]) << 16 | bpf_ntohs(port[1]));
  // ICMP: type and code stand for both ports.
  if (f->protocol == IPPROTO_ICMP || f->protocol == IPPROTO_ICMPV6)
    h = gw_flow_mix(h, (__u64)bpf_ntohs(port[0]) << 16 | bpf_ntohs(port[0]));
  return gw_flow_fold(h);
}

// What comes by the circuit goes to the VNet, and into tunnels if transit is open: into ours, or another instance's
// (GW_WAY_KERNEL: nothing against it). Its source is never ours or the VNet's (RFC 1812 5.3.8).
static __always_inline enum gw_way gw_check_circuit(const struct gw_next_hop* source, struct gw_forwarding* out) {
  if (source &&
      (source->kind == GW_NEXT_HOP_LOCAL || (source->kind == GW_NEXT_HOP_VNET && source->zone == GW_ZONE_VNET)))
    return gw_refuse(out, GW_XDP_DROP_SPOOFED_SOURCE);
  if (out->hop->zone == GW_ZONE_CIRCUIT) return gw_refuse(out, GW_XDP_DROP_HAIRPIN);
  if (out->hop->zone == GW_ZONE_TUNNELS && !gw_is_transit_open()) return gw_refuse(out, GW_XDP_DROP_TRANSIT_CLOSED);
  return GW_WAY_KERNEL;
}

static __always_inline int gw_is_plain(const struct gw_next_hop* hop) {
  return hop->kind == GW_NEXT_HOP_VNET || hop->kind == GW_NEXT_HOP_CIRCUIT;
}

static __always_inline int gw_is_same_mac(const __u8* a, const __u8* b) {
  __u8 difference = 0;
#pragma unroll
  for (int i = 0; i < ETH_ALEN; i++) difference |= a[i] ^ b[i];
  return difference == 0;
}

static __always_inline void gw_note_use(const struct gw_neighbour* n) {
  __u32 place = n->use;
  __u64* used = bpf_map_lookup_elem(&neighbours_used, &place);
  if (used && !*(volatile __u64*)used) *(volatile __u64*)used = 1;
}

// out->next is the destination: of a next hop with gateways, one of them is asked.
static __always_inline enum gw_way gw_find_neighbour(const struct gw_packet* p, struct gw_forwarding* out) {
  const struct gw_next_hop* hop = out->hop;
  out->next.side = hop->kind == GW_NEXT_HOP_CIRCUIT ? GW_SIDE_CIRCUIT : GW_SIDE_VNET;
  if (hop->gateway_family) {
    __u32 i = hop->only ? 0 : hop->gateways.bucket[out->hash % GW_NEXT_HOP_BUCKETS];
    out->next.family = hop->gateway_family;
    __builtin_memcpy(out->next.address, hop->gateways.gateway[i % GW_NEXT_HOP_MAX_GATEWAYS].address, 16);
  }
  struct gw_neighbour* n = bpf_map_lookup_elem(&neighbours, &out->next);
  if (!n) return GW_WAY_KERNEL;
  // RFC 2644: nobody addresses all hosts of the VNet at once from elsewhere.
  if (n->state == GW_NEIGHBOUR_BROADCAST)
    return p->side == GW_SIDE_VNET ? GW_WAY_KERNEL : gw_refuse(out, GW_XDP_DROP_MULTICAST);
  gw_note_use(n);
  if (n->state == GW_NEIGHBOUR_FAILED) return gw_refuse(out, GW_XDP_DROP_NO_NEIGHBOUR);
  if (n->state == GW_NEIGHBOUR_KNOWN && p->side == out->next.side && gw_is_same_mac(n->header, p->from))
    return gw_refuse(out, GW_XDP_DROP_HAIRPIN);
  // The kernel answers with ICMP, or cuts.
  if (out->longest > n->mtu) return GW_WAY_KERNEL;
  out->neighbour = n;
  return GW_WAY_NEIGHBOUR;
}

// The cursor is behind the IP header of `ip_header` bytes.
static __always_inline __u32 gw_longest(const struct gw_packet* p, const struct gw_cursor* behind,
                                        const struct gw_forwarding* f, __u32 ip_header) {
  if (!p->segment) return f->length;
  if (f->protocol == IPPROTO_UDP) return p->segment + ip_header + sizeof(struct udphdr);
  // TCP's data offset (RFC 9293 3.1). What else there may be has no longer header.
  const __u8* tcp = behind->pos;
  const __u32 header = f->protocol == IPPROTO_TCP && gw_has(behind, 13) ? (tcp[12] >> 4) * 4u : 60;
  return p->segment + ip_header + header;
}

// What both families have in common: `martian`: the source is one that no router forwards; `special`: the kernel has
// to see to the packet, TTL or options.
static __always_inline enum gw_way gw_judge(const struct gw_packet* p, struct gw_forwarding* out,
                                            const struct gw_next_hop* source, int martian, int special) {
  const struct gw_next_hop* hop = out->hop;
  if (!hop || (hop->kind != GW_NEXT_HOP_TUNNELS && !gw_is_plain(hop))) return GW_WAY_KERNEL;
  if (p->side == GW_SIDE_CIRCUIT) {
    if (martian) return gw_refuse(out, GW_XDP_DROP_SPOOFED_SOURCE);
    if (gw_check_circuit(source, out) == GW_WAY_DROP) return GW_WAY_DROP;
  } else if (martian) {
    return gw_is_plain(hop) ? gw_refuse(out, GW_XDP_DROP_SPOOFED_SOURCE) : GW_WAY_KERNEL;
  }
  // On link: what came out of a tunnel is the kernel's, which knows all about its own networks.
  if (p->side == GW_SIDE_TUNNELS && (!gw_is_plain(hop) || !hop->gateway_family)) return GW_WAY_KERNEL;
  if (special) return GW_WAY_KERNEL;
  return gw_is_plain(hop) ? gw_find_neighbour(p, out) : GW_WAY_TUNNELS;
}

// The cursor is at the IP header, and behind it afterwards.
static __always_inline enum gw_way gw_forward_ipv4(struct gw_cursor* cursor, const struct gw_packet* p,
                                                   struct gw_forwarding* out) {
  __u32 payload = 0;
  struct iphdr* ip = gw_parse_ipv4(cursor, &payload);
  if (!ip) return GW_WAY_KERNEL;
  const __u32 src = bpf_ntohl(ip->saddr);
  const __u32 dst = bpf_ntohl(ip->daddr);
  if (gw_ipv4_unroutable(dst) || (dst >> 16) == 0xa9fe) return GW_WAY_KERNEL;
  const int special = ip->ihl != 5 || ip->ttl <= 1;
  out->length = payload + ip->ihl * 4u;
  out->protocol = ip->protocol;
  out->fragment = (ip->frag_off & bpf_htons(GW_IPV4_MORE_FRAGMENTS | GW_IPV4_OFFSET_MASK)) != 0;
  out->hash = gw_finish_hash(gw_flow_mix(ip->protocol, (__u64)src << 32 | dst), cursor, out);
  out->longest = gw_longest(p, cursor, out, ip->ihl * 4u);
  out->next.family = 4;
  __builtin_memcpy(out->next.address, &ip->daddr, 4);
  out->hop = gw_next_hop_at(gw_fib_lookup_ipv4(dst));
  const struct gw_next_hop* source = p->side == GW_SIDE_CIRCUIT ? gw_next_hop_at(gw_fib_lookup_ipv4(src)) : 0;
  // RFC 3927 2.7. From the VNet into a tunnel it goes, as ever: the peer's selectors decide.
  const int link_local = (src >> 16) == 0xa9fe && out->hop && (gw_is_plain(out->hop) || p->side == GW_SIDE_CIRCUIT);
  return gw_judge(p, out, source, gw_ipv4_unroutable(src) || link_local, special);
}

static __always_inline __u64 gw_hash_ipv6(const struct ipv6hdr* ip) {
  __u64 h = ip->nexthdr;
  const __be32* words[2] = {ip->saddr.s6_addr32, ip->daddr.s6_addr32};
#pragma unroll
  for (int i = 0; i < 2; i++) {
    h = gw_flow_mix(h, (__u64)bpf_ntohl(words[i][0]) << 32 | bpf_ntohl(words[i][1]));
    h = gw_flow_mix(h, (__u64)bpf_ntohl(words[i][2]) << 32 | bpf_ntohl(words[i][3]));
  }
  return h;
}

static __always_inline enum gw_way gw_forward_ipv6(struct gw_cursor* cursor, const struct gw_packet* p,
                                                   struct gw_forwarding* out) {
  __u32 payload = 0;
  struct ipv6hdr* ip = gw_parse_ipv6(cursor, &payload);
  if (!ip || gw_ipv6_unroutable(&ip->daddr)) return GW_WAY_KERNEL;
  const int special = ip->hop_limit <= 1 || ip->nexthdr == IPPROTO_HOPOPTS;
  const int martian = gw_ipv6_unroutable(&ip->saddr);
  out->length = payload + sizeof(*ip);
  out->protocol = ip->nexthdr;
  out->hash = gw_finish_hash(gw_hash_ipv6(ip), cursor, out);
  out->longest = gw_longest(p, cursor, out, sizeof(*ip));
  __u8 source[16];
  __builtin_memcpy(source, &ip->saddr, sizeof(source));
  out->next.family = 6;
  __builtin_memcpy(out->next.address, &ip->daddr, 16);
  out->hop = gw_next_hop_at(gw_fib_lookup_ipv6(out->next.address));
  const struct gw_next_hop* from = p->side == GW_SIDE_CIRCUIT ? gw_next_hop_at(gw_fib_lookup_ipv6(source)) : 0;
  return gw_judge(p, out, from, martian, special);
}

static __always_inline enum gw_way gw_forward(struct gw_cursor* cursor, const struct gw_packet* p,
                                              struct gw_forwarding* out) {
  if (p->type_be == bpf_htons(ETH_P_IP)) return gw_forward_ipv4(cursor, p, out);
  if (p->type_be == bpf_htons(ETH_P_IPV6)) return gw_forward_ipv6(cursor, p, out);
  return GW_WAY_KERNEL;
}

// The counters of the port that packets come by.
static __always_inline void gw_count_at(__u32 side, enum gw_xdp_counter counter, __u64 packets) {
  if (side == GW_SIDE_CIRCUIT)
    gw_count(&circuit_counters, counter, packets);
  else
    gw_count(&vnet_counters, counter, packets);
}

static __always_inline enum gw_xdp_counter gw_forwarded_to(__u32 side) {
  return side == GW_SIDE_CIRCUIT ? GW_XDP_FORWARDED_CIRCUIT : GW_XDP_FORWARDED_VNET;
}

// The tags of a port's VLAN sub-interfaces that are up: written by gw-fastpath when interfaces change. Frames with
// other tags are not for us to forward.
__u64 vlans[GW_XDP_MAX_VLANS];  // gw_vlan_key(); 0 ends the list

static __always_inline int gw_is_our_vlan(__u64 key) {
  for (int i = 0; i < GW_XDP_MAX_VLANS; i++) {
    if (vlans[i] == key) return 1;
    if (vlans[i] == 0) return 0;
  }
  return 0;
}
