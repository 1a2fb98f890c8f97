// SPDX-License-Identifier: GPL-2.0-or-later
// XDP on the wan port: ESP (protocol 50, and UDP 4500 without the non-ESP marker, RFC 3948) for an
// installed (SPI, destination) goes to the AF_XDP socket of its rx queue. An SPI that is not installed,
// for an address of ours, is dropped, counted and reported. All else is the kernel's: IKE, ARP, ND,
// ICMP, traffic that is not for us. Fragments of ESP for us are dropped and counted: nobody reassembles them.
#include "ebpf/abi/xdp.h"
#include "ebpf/xdp/parse.bpf.h"

#define GW_PORT_NAT_T 4500
#define GW_NAT_KEEPALIVE 0xff
#define GW_ESP_HEADER 8  // SPI and sequence number

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);  // set at load
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_spi_key);
  __type(value, __u32);  // tunnel id, for people
} spis SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct gw_address_key);
  __type(value, __u32);
} local_addresses SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, GW_XDP_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 64 * 1024);
} events SEC(".maps");

__u64 next_event_ns;

// Where an ESP packet comes from and goes to.
struct flow {
  struct gw_spi_key key;
  __u8 src[16];
  __u32 src_port;
};

static __always_inline int verdict(enum gw_xdp_counter counter, int action) {
  __u32 key = counter;
  __u64* value = bpf_map_lookup_elem(&counters, &key);
  if (value) (*value)++;
  return action;
}

static __always_inline void report_unknown_spi(const struct flow* flow) {
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

static __always_inline int is_local(const struct flow* flow) {
  struct gw_address_key key = {.family = flow->key.family};
  __builtin_memcpy(key.address, flow->key.dst, 16);
  return bpf_map_lookup_elem(&local_addresses, &key) != 0;
}

static __always_inline int redirect(struct xdp_md* ctx) {
  int action = (int)bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP);
  return verdict(action == XDP_REDIRECT ? GW_XDP_REDIRECTED : GW_XDP_DROP_NO_SOCKET, action);
}

// `cursor` is at the ESP header, of which `length` bytes follow.
static __always_inline int handle_esp(struct xdp_md* ctx, struct gw_cursor* cursor, struct flow* flow, __u32 length) {
  if (length < GW_ESP_HEADER || !gw_has(cursor, GW_ESP_HEADER)) return verdict(GW_XDP_DROP_ESP_TRUNCATED, XDP_DROP);
  flow->key.spi_be = *(__be32*)cursor->pos;
  if (bpf_map_lookup_elem(&spis, &flow->key)) return redirect(ctx);
  if (!is_local(flow)) return verdict(GW_XDP_PASSED, XDP_PASS);
  report_unknown_spi(flow);
  return verdict(GW_XDP_DROP_UNKNOWN_SPI, XDP_DROP);
}

static __always_inline int handle_udp(struct xdp_md* ctx, struct gw_cursor* cursor, struct flow* flow, __u32 length) {
  if (!gw_has(cursor, sizeof(struct udphdr))) return verdict(GW_XDP_PASSED, XDP_PASS);
  struct udphdr* udp = cursor->pos;
  if (udp->dest != bpf_htons(GW_PORT_NAT_T)) return verdict(GW_XDP_PASSED, XDP_PASS);
  cursor->pos = udp + 1;
  __u32 datagram = bpf_ntohs(udp->len);
  if (datagram <= sizeof(*udp) || datagram > length) return verdict(GW_XDP_PASSED, XDP_PASS);
  __u32 payload = datagram - sizeof(*udp);
  flow->src_port = bpf_ntohs(udp->source);

  if (!gw_has(cursor, 1)) return verdict(GW_XDP_PASSED, XDP_PASS);
  if (payload == 1 && *(__u8*)cursor->pos == GW_NAT_KEEPALIVE) {
    if (!is_local(flow)) return verdict(GW_XDP_PASSED, XDP_PASS);
    return verdict(GW_XDP_DROP_NAT_KEEPALIVE, XDP_DROP);
  }
  if (payload < sizeof(__be32) || !gw_has(cursor, sizeof(__be32))) return verdict(GW_XDP_PASSED, XDP_PASS);
  if (*(__be32*)cursor->pos == 0) return verdict(GW_XDP_PASSED, XDP_PASS);  // non-ESP marker: IKE
  return handle_esp(ctx, cursor, flow, payload);
}

// A fragment, the cursor behind the IP headers. The kernel reassembles those of IKE; ESP it would only answer
// with "protocol unreachable". Later fragments of ESP in UDP look like any: without the first the kernel
// forgets them.
static __always_inline int handle_fragment(struct gw_cursor* cursor, const struct flow* flow, __u8 protocol,
                                           int first) {
  int esp = protocol == IPPROTO_ESP;
  if (protocol == IPPROTO_UDP && first && gw_has(cursor, sizeof(struct udphdr) + sizeof(__be32))) {
    struct udphdr* udp = cursor->pos;
    esp = udp->dest == bpf_htons(GW_PORT_NAT_T) && *(__be32*)(udp + 1) != 0;
  }
  if (!esp || !is_local(flow)) return verdict(GW_XDP_PASSED, XDP_PASS);
  return verdict(GW_XDP_DROP_OUTER_FRAGMENT, XDP_DROP);
}

static __always_inline int handle_ipv4(struct xdp_md* ctx, struct gw_cursor* cursor) {
  __u32 payload = 0;
  struct iphdr* ip = gw_parse_ipv4(cursor, &payload);
  if (!ip) return verdict(GW_XDP_PASSED, XDP_PASS);
  struct flow flow = {.key.family = 4};
  __builtin_memcpy(flow.key.dst, &ip->daddr, 4);
  __builtin_memcpy(flow.src, &ip->saddr, 4);
  if (ip->frag_off & bpf_htons(GW_IPV4_MORE_FRAGMENTS | GW_IPV4_OFFSET_MASK))
    return handle_fragment(cursor, &flow, ip->protocol, !(ip->frag_off & bpf_htons(GW_IPV4_OFFSET_MASK)));
  if (ip->protocol == IPPROTO_ESP) return handle_esp(ctx, cursor, &flow, payload);
  if (ip->protocol == IPPROTO_UDP) return handle_udp(ctx, cursor, &flow, payload);
  return verdict(GW_XDP_PASSED, XDP_PASS);
}

static __always_inline int handle_ipv6(struct xdp_md* ctx, struct gw_cursor* cursor) {
  __u32 payload = 0;
  struct ipv6hdr* ip = gw_parse_ipv6(cursor, &payload);
  if (!ip) return verdict(GW_XDP_PASSED, XDP_PASS);
  struct flow flow = {.key.family = 6};
  __builtin_memcpy(flow.key.dst, &ip->daddr, 16);
  __builtin_memcpy(flow.src, &ip->saddr, 16);
  if (ip->nexthdr == IPPROTO_ESP) return handle_esp(ctx, cursor, &flow, payload);
  if (ip->nexthdr == IPPROTO_UDP) return handle_udp(ctx, cursor, &flow, payload);
  if (ip->nexthdr == IPPROTO_FRAGMENT && gw_has(cursor, sizeof(struct gw_fragment_header))) {
    struct gw_fragment_header* fragment = cursor->pos;
    cursor->pos = fragment + 1;
    return handle_fragment(cursor, &flow, fragment->next_header,
                           !(fragment->offset_flags & bpf_htons(GW_IPV6_OFFSET_MASK)));
  }
  return verdict(GW_XDP_PASSED, XDP_PASS);  // other extension headers
}

SEC("xdp")
int gw_wan(struct xdp_md* ctx) {
  struct gw_cursor cursor = {.pos = (void*)(long)ctx->data, .end = (void*)(long)ctx->data_end};
  __be16 type_be = 0;
  int tags = 0;
  if (!gw_parse_ethernet(&cursor, &type_be, &tags)) return verdict(GW_XDP_PASSED, XDP_PASS);
  if (type_be == bpf_htons(ETH_P_IP)) return handle_ipv4(ctx, &cursor);
  if (type_be == bpf_htons(ETH_P_IPV6)) return handle_ipv6(ctx, &cursor);
  return verdict(GW_XDP_PASSED, XDP_PASS);
}
