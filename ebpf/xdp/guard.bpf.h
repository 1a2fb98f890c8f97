// SPDX-License-Identifier: GPL-2.0-or-later
// The guard of the wan port, the same on both kinds of port: what a packet from outside is. ESP (protocol
// 50, and UDP 4500 without the non-ESP marker, RFC 3948) for an installed (SPI, destination) is gw-fastpath's;
// an SPI that is not installed, for an address of ours, is nobody's. All else is the kernel's: IKE, ARP, ND,
// ICMP, traffic that is not for us. A source that asks for new IKE SAs faster than any site has to wait, and so have
// all together that are no tunnel's peer.
#pragma once

#include "ebpf/xdp/arp_gate.bpf.h"
#include "ebpf/xdp/maps.bpf.h"
#include "ebpf/xdp/parse.bpf.h"

#define GW_PORT_IKE 500
#define GW_PORT_NAT_T 4500
#define GW_NAT_KEEPALIVE 0xff
#define GW_ESP_HEADER 8  // SPI and sequence number

__u64 next_event_ns;

// Where an ESP packet comes from and goes to.
struct gw_esp_flow {
  struct gw_spi_key key;
  __u8 src[16];
  __u32 src_port;
  __u32 packets;  // of a train (GRO), which look alike
};

// RFC 7296 3.1.
struct gw_ike_header {
  __u8 initiator_spi[8];
  __be32 responder_spi[2];
  __u8 next_payload;
  __u8 version;
  __u8 exchange;
  __u8 flags;
};
#define GW_IKE_RESPONSE 0x20

// Whom a limit is for: an address, of IPv6 the /64.
static __always_inline struct gw_address_key gw_source_of(const struct gw_esp_flow* flow) {
  struct gw_address_key source = {.family = flow->key.family};
  __builtin_memcpy(source.address, flow->src, 8);  // of IPv4 the rest is zero
  return source;
}

// Few in all, and fewer of each source: a site that has lost its SAs is heard beside a flood.
static __always_inline void gw_report_unknown_spi(const struct gw_esp_flow* flow) {
  const __u64 now = bpf_ktime_get_boot_ns();
  const __u64 due = next_event_ns;
  if (now < due) return;
  const struct gw_address_key source = gw_source_of(flow);
  const __u64* silent_until = bpf_map_lookup_elem(&spi_sources, &source);
  if (silent_until && now < *silent_until) return;
  if (__sync_val_compare_and_swap(&next_event_ns, due, now + GW_XDP_EVENT_INTERVAL_NS) != due) return;
  const __u64 until = now + GW_XDP_SOURCE_INTERVAL_NS;
  bpf_map_update_elem(&spi_sources, &source, &until, BPF_ANY);
  struct gw_unknown_spi_event* event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return;
  event->spi_be = flow->key.spi_be;
  event->family = flow->key.family;
  __builtin_memcpy(event->src, flow->src, 16);
  __builtin_memcpy(event->dst, flow->key.dst, 16);
  event->src_port = flow->src_port;
  bpf_ringbuf_submit(event, 0);
}

static __always_inline int gw_is_local(const struct gw_esp_flow* flow) {
  struct gw_address_key key = {.family = flow->key.family};
  __builtin_memcpy(key.address, flow->key.dst, 16);
  return bpf_map_lookup_elem(&local_addresses, &key) != 0;
}

// A virtual clock (GCRA, ITU-T I.371): every message moves it on by an interval, and it may be ahead of the real one by
// a burst. Two CPUs may move it at once and one move be lost: a message more, then.
static __always_inline int gw_take(__u64* used_up, __u64 now, __u64 cost, __u64 ahead) {
  const __u64 before = *(volatile __u64*)used_up;
  const __u64 after = (before > now ? before : now) + cost;
  if (after > now + ahead) return 0;
  *(volatile __u64*)used_up = after;
  return 1;
}

static __always_inline int gw_source_may_ask(const struct gw_esp_flow* flow, __u64 now, __u32 messages) {
  const struct gw_address_key source = gw_source_of(flow);
  const __u64 cost = GW_IKE_INTERVAL_NS * messages;
  __u64* used_up = bpf_map_lookup_elem(&ike_sources, &source);
  if (used_up) return gw_take(used_up, now, cost, GW_IKE_BURST * GW_IKE_INTERVAL_NS);
  const __u64 first = now + cost;
  bpf_map_update_elem(&ike_sources, &source, &first, BPF_ANY);
  return 1;
}

// Its clock; null: a stranger.
static __always_inline __u64* gw_peer_of(const struct gw_esp_flow* flow) {
  struct gw_address_key key = {.family = flow->key.family};
  __builtin_memcpy(key.address, flow->src, 16);
  return bpf_map_lookup_elem(&ike_peers, &key);
}

static __always_inline int gw_peer_may_go_on(__u64* used_up, __u64 now, __u32 messages) {
  return gw_take(used_up, now, GW_IKE_PEER_INTERVAL_NS * messages, GW_IKE_PEER_BURST * GW_IKE_PEER_INTERVAL_NS);
}

static __always_inline int gw_strangers_may_ask(__u64 now, __u32 messages) {
  const __u32 all = 0;
  __u64* used_up = bpf_map_lookup_elem(&ike_strangers, &all);
  return used_up && gw_take(used_up, now, GW_IKE_STRANGERS_INTERVAL_NS * messages,
                            GW_IKE_STRANGERS_BURST * GW_IKE_STRANGERS_INTERVAL_NS);
}

// A request without the responder's SPI asks for a new IKE SA and costs charon work; all others belong to one that
// exists, or answer a request of ours.
static __always_inline int gw_asks_for_sa(const struct gw_cursor* cursor) {
  if (!gw_has(cursor, sizeof(struct gw_ike_header))) return 0;
  const struct gw_ike_header* ike = cursor->pos;
  return !(ike->responder_spi[0] | ike->responder_spi[1] || ike->flags & GW_IKE_RESPONSE);
}

// `cursor` is at the IKE header. Who is no tunnel's peer can only say that some IKE SA exists: all of it counts. A site
// whose NAT has another address than its connection says is a stranger, too, and needs no more than that.
static __always_inline enum gw_xdp_counter gw_guard_ike(const struct gw_cursor* cursor,
                                                        const struct gw_esp_flow* flow) {
  if (!gw_is_local(flow)) return GW_XDP_PASSED;
  const __u64 now = bpf_ktime_get_boot_ns();
  const __u32 messages = flow->packets ? flow->packets : 1;
  __u64* peer = gw_peer_of(flow);
  int allowed;
  if (!peer)
    allowed = gw_source_may_ask(flow, now, messages) && gw_strangers_may_ask(now, messages);
  else if (gw_asks_for_sa(cursor))
    allowed = gw_source_may_ask(flow, now, messages);
  else
    allowed = gw_peer_may_go_on(peer, now, messages);
  return allowed ? GW_XDP_PASSED : GW_XDP_DROP_IKE_FLOOD;
}

// `cursor` is at the ESP header, of which `length` bytes follow.
static __always_inline enum gw_xdp_counter gw_guard_esp(struct gw_cursor* cursor, struct gw_esp_flow* flow,
                                                        __u32 length) {
  if (length < GW_ESP_HEADER || !gw_has(cursor, GW_ESP_HEADER))
    return gw_is_local(flow) ? GW_XDP_DROP_ESP_TRUNCATED : GW_XDP_PASSED;
  flow->key.spi_be = *(__be32*)cursor->pos;
  if (bpf_map_lookup_elem(&spis, &flow->key)) return GW_XDP_REDIRECTED;
  if (!gw_is_local(flow)) return GW_XDP_PASSED;
  gw_report_unknown_spi(flow);
  return GW_XDP_DROP_UNKNOWN_SPI;
}

static __always_inline enum gw_xdp_counter gw_guard_udp(struct gw_cursor* cursor, struct gw_esp_flow* flow,
                                                        __u32 length) {
  if (!gw_has(cursor, sizeof(struct udphdr))) return GW_XDP_PASSED;
  struct udphdr* udp = cursor->pos;
  const int ike = udp->dest == bpf_htons(GW_PORT_IKE);
  if (!ike && udp->dest != bpf_htons(GW_PORT_NAT_T)) return GW_XDP_PASSED;
  cursor->pos = udp + 1;
  __u32 datagram = bpf_ntohs(udp->len);
  if (datagram <= sizeof(*udp) || datagram > length) return GW_XDP_PASSED;
  __u32 payload = datagram - sizeof(*udp);
  flow->src_port = bpf_ntohs(udp->source);
  if (ike) return gw_guard_ike(cursor, flow);

  if (!gw_has(cursor, 1)) return GW_XDP_PASSED;
  if (payload == 1 && *(__u8*)cursor->pos == GW_NAT_KEEPALIVE)
    return gw_is_local(flow) ? GW_XDP_DROP_NAT_KEEPALIVE : GW_XDP_PASSED;
  if (payload < sizeof(__be32) || !gw_has(cursor, sizeof(__be32))) return GW_XDP_PASSED;
  if (*(__be32*)cursor->pos == 0) {  // non-ESP marker: IKE
    cursor->pos += sizeof(__be32);
    return gw_guard_ike(cursor, flow);
  }
  return gw_guard_esp(cursor, flow, payload);
}

// A fragment. Of ESP: gw-fastpath's (on an xsk port it reassembles, on a gso port the kernel does). All of UDP are the
// kernel's: later fragments have no ports, so nothing tells those of ESP in UDP from those of IKE or DNS; and what the
// kernel puts together has passed its filters and its checks of the source, on the interface where it came in. ESP in
// UDP that came so is at the relay's socket, which gives it back to the worker of its SA.
static __always_inline enum gw_xdp_counter gw_guard_fragment(const struct gw_esp_flow* flow, __u8 protocol) {
  if (protocol != IPPROTO_ESP) return GW_XDP_PASSED;
  return gw_is_local(flow) ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
}

static __always_inline enum gw_xdp_counter gw_guard_ipv4(struct gw_cursor* cursor, __u32 packets) {
  __u32 payload = 0;
  struct iphdr* ip = gw_parse_ipv4(cursor, &payload);
  if (!ip) return GW_XDP_PASSED;
  struct gw_esp_flow flow = {.key.family = 4, .packets = packets};
  __builtin_memcpy(flow.key.dst, &ip->daddr, 4);
  __builtin_memcpy(flow.src, &ip->saddr, 4);
  if (ip->frag_off & bpf_htons(GW_IPV4_MORE_FRAGMENTS | GW_IPV4_OFFSET_MASK))
    return gw_guard_fragment(&flow, ip->protocol);
  if (ip->protocol == IPPROTO_ESP) return gw_guard_esp(cursor, &flow, payload);
  if (ip->protocol == IPPROTO_UDP) return gw_guard_udp(cursor, &flow, payload);
  return GW_XDP_PASSED;
}

static __always_inline enum gw_xdp_counter gw_guard_ipv6(struct gw_cursor* cursor, __u32 packets) {
  __u32 payload = 0;
  struct ipv6hdr* ip = gw_parse_ipv6(cursor, &payload);
  if (!ip) return GW_XDP_PASSED;
  struct gw_esp_flow flow = {.key.family = 6, .packets = packets};
  __builtin_memcpy(flow.key.dst, &ip->daddr, 16);
  __builtin_memcpy(flow.src, &ip->saddr, 16);
  if (ip->nexthdr == IPPROTO_ESP) return gw_guard_esp(cursor, &flow, payload);
  if (ip->nexthdr == IPPROTO_UDP) return gw_guard_udp(cursor, &flow, payload);
  if (ip->nexthdr == IPPROTO_FRAGMENT && gw_has(cursor, sizeof(struct gw_fragment_header))) {
    struct gw_fragment_header* fragment = cursor->pos;
    // RFC 8200 4.5: the next header of the first fragment counts; later ones nearly always have it, too.
    return gw_guard_fragment(&flow, fragment->next_header);
  }
  if (ip->nexthdr == IPPROTO_ICMPV6) return gw_guard_solicitation(cursor);
  return GW_XDP_PASSED;  // other extension headers
}

// What the packet, or each of a train, is: GW_XDP_REDIRECTED (gw-fastpath's), GW_XDP_PASSED (the kernel's), or why it
// is dropped.
static __always_inline enum gw_xdp_counter gw_guard(struct gw_cursor* cursor, __be16 type_be, __u32 packets) {
  if (type_be == bpf_htons(ETH_P_IP)) return gw_guard_ipv4(cursor, packets);
  if (type_be == bpf_htons(ETH_P_IPV6)) return gw_guard_ipv6(cursor, packets);
  if (type_be == bpf_htons(ETH_P_ARP)) return gw_guard_arp(cursor);
  return GW_XDP_PASSED;
}
