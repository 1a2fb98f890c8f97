// SPDX-License-Identifier: GPL-2.0-or-later
// The guard of the wan port, the same on both kinds of port: what a packet from outside is. ESP (protocol
// 50, and UDP 4500 without the non-ESP marker, RFC 3948) for an installed (SPI, destination) is gw-fastpath's;
// an SPI that is not installed, for an address of ours, is nobody's. All else is the kernel's: IKE, ARP, ND,
// ICMP, traffic that is not for us.
#pragma once

#include "ebpf/xdp/maps.bpf.h"
#include "ebpf/xdp/parse.bpf.h"

#define GW_PORT_NAT_T 4500
#define GW_NAT_KEEPALIVE 0xff
#define GW_ESP_HEADER 8  // SPI and sequence number

__u64 next_event_ns;

// Where an ESP packet comes from and goes to.
struct gw_esp_flow {
  struct gw_spi_key key;
  __u8 src[16];
  __u32 src_port;
};

static __always_inline void gw_report_unknown_spi(const struct gw_esp_flow* flow) {
  __u64 now = bpf_ktime_get_boot_ns();
  __u64 due = next_event_ns;
  if (now < due || __sync_val_compare_and_swap(&next_event_ns, due, now + GW_XDP_EVENT_INTERVAL_NS) != due) return;
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
  if (udp->dest != bpf_htons(GW_PORT_NAT_T)) return GW_XDP_PASSED;
  cursor->pos = udp + 1;
  __u32 datagram = bpf_ntohs(udp->len);
  if (datagram <= sizeof(*udp) || datagram > length) return GW_XDP_PASSED;
  __u32 payload = datagram - sizeof(*udp);
  flow->src_port = bpf_ntohs(udp->source);

  if (!gw_has(cursor, 1)) return GW_XDP_PASSED;
  if (payload == 1 && *(__u8*)cursor->pos == GW_NAT_KEEPALIVE)
    return gw_is_local(flow) ? GW_XDP_DROP_NAT_KEEPALIVE : GW_XDP_PASSED;
  if (payload < sizeof(__be32) || !gw_has(cursor, sizeof(__be32))) return GW_XDP_PASSED;
  if (*(__be32*)cursor->pos == 0) return GW_XDP_PASSED;  // non-ESP marker: IKE
  return gw_guard_esp(cursor, flow, payload);
}

// A fragment. Only the first one of ESP in UDP tells it apart from other UDP: all of UDP for us are gw-fastpath's
// (on an xsk port it reassembles them, and hands the kernel what is not ESP; on a gso port the kernel does).
static __always_inline enum gw_xdp_counter gw_guard_fragment(const struct gw_esp_flow* flow, __u8 protocol) {
  if (protocol != IPPROTO_ESP && protocol != IPPROTO_UDP) return GW_XDP_PASSED;
  return gw_is_local(flow) ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
}

static __always_inline enum gw_xdp_counter gw_guard_ipv4(struct gw_cursor* cursor) {
  __u32 payload = 0;
  struct iphdr* ip = gw_parse_ipv4(cursor, &payload);
  if (!ip) return GW_XDP_PASSED;
  struct gw_esp_flow flow = {.key.family = 4};
  __builtin_memcpy(flow.key.dst, &ip->daddr, 4);
  __builtin_memcpy(flow.src, &ip->saddr, 4);
  if (ip->frag_off & bpf_htons(GW_IPV4_MORE_FRAGMENTS | GW_IPV4_OFFSET_MASK))
    return gw_guard_fragment(&flow, ip->protocol);
  if (ip->protocol == IPPROTO_ESP) return gw_guard_esp(cursor, &flow, payload);
  if (ip->protocol == IPPROTO_UDP) return gw_guard_udp(cursor, &flow, payload);
  return GW_XDP_PASSED;
}

static __always_inline enum gw_xdp_counter gw_guard_ipv6(struct gw_cursor* cursor) {
  __u32 payload = 0;
  struct ipv6hdr* ip = gw_parse_ipv6(cursor, &payload);
  if (!ip) return GW_XDP_PASSED;
  struct gw_esp_flow flow = {.key.family = 6};
  __builtin_memcpy(flow.key.dst, &ip->daddr, 16);
  __builtin_memcpy(flow.src, &ip->saddr, 16);
  if (ip->nexthdr == IPPROTO_ESP) return gw_guard_esp(cursor, &flow, payload);
  if (ip->nexthdr == IPPROTO_UDP) return gw_guard_udp(cursor, &flow, payload);
  if (ip->nexthdr == IPPROTO_FRAGMENT && gw_has(cursor, sizeof(struct gw_fragment_header))) {
    struct gw_fragment_header* fragment = cursor->pos;
    // RFC 8200 4.5: the next header of the first fragment counts; later ones nearly always have it, too.
    return gw_guard_fragment(&flow, fragment->next_header);
  }
  return GW_XDP_PASSED;  // other extension headers
}

// What the packet is: GW_XDP_REDIRECTED (gw-fastpath's), GW_XDP_PASSED (the kernel's), or why it is dropped.
static __always_inline enum gw_xdp_counter gw_guard(struct gw_cursor* cursor, __be16 type_be) {
  if (type_be == bpf_htons(ETH_P_IP)) return gw_guard_ipv4(cursor);
  if (type_be == bpf_htons(ETH_P_IPV6)) return gw_guard_ipv6(cursor);
  return GW_XDP_PASSED;
}
