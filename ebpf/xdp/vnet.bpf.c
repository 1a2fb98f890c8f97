// SPDX-License-Identifier: GPL-2.0-or-later
// XDP on a clear port (vnet, circuit): IP packets to our MAC, also from the port's VLAN sub-interfaces. What is for a
// tunnel goes to the AF_XDP socket of its rx queue (the worker cuts or refuses what is too big for the tunnel); what is
// for a neighbour leaves at once by the port's or the other port's driver. The rest is passed on: to the tcx program
// behind this one, if there is one, which forwards what a driver cannot send as a frame, and to the kernel. The
// decision: forward.bpf.h.
#include "ebpf/xdp/forward.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, GW_XDP_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

const volatile __u32 side = GW_SIDE_VNET;  // enum gw_side of the port; set at load
// Written by gw-fastpath.
__u8 port_mac[ETH_ALEN];
__u32 tcx_behind;                      // it counts what is passed
__u32 max_packet = GW_XDP_MAX_PACKET;  // for a tunnel; more where jumbo packets have room

static __always_inline int verdict(enum gw_xdp_counter counter, int action) {
  gw_count_at(side, counter, 1);
  return action;
}

static __always_inline int pass(void) { return tcx_behind ? XDP_PASS : verdict(GW_XDP_PASSED, XDP_PASS); }

// At most GW_MAX_VLAN_TAGS tags, which the parser has seen.
static __always_inline int is_our_vlan(const struct ethhdr* eth, int tags) {
  const __be16* words = (const void*)eth + 2 * ETH_ALEN;  // type, tag, type, tag, type
  __u64 key = gw_vlan_key(bpf_ntohs(words[0]), bpf_ntohs(words[1]));
  if (tags > 1) key = key << 32 | gw_vlan_key(bpf_ntohs(words[2]), bpf_ntohs(words[3]));
  return gw_is_our_vlan(key);
}

static __always_inline __u32 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u32)((sum & 0xffff) + (sum >> 16));
}

// A local sender (veth, virtio) may leave the checksum to a card, and then there is the pseudo-header's sum in its
// place. A driver that sends our frame as it is would not complete it; the kernel does. Also of a packet in 65,536
// that looks so by chance, and where there is no telling: SCTP, extension headers.
static __always_inline int is_unfinished(const struct gw_cursor* at_ip, const struct gw_cursor* behind,
                                         const struct gw_packet* p, const struct gw_forwarding* way) {
  const __u8 protocol = way->protocol;
  if (protocol == IPPROTO_SCTP || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH)
    return 1;
  if (way->fragment || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || !gw_has(behind, 18)) return 0;
  const __be16* words = behind->pos;
  const __u32 checksum = bpf_ntohs(protocol == IPPROTO_TCP ? words[8] : words[3]);
  const int v4 = p->type_be == bpf_htons(ETH_P_IP);
  const __u32 header = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  __u64 sum = protocol + way->length - header;
  if (v4) {
    if (!gw_has(at_ip, sizeof(struct iphdr))) return 0;
    const struct iphdr* ip = at_ip->pos;
    sum += (__u64)bpf_ntohl(ip->saddr) + bpf_ntohl(ip->daddr);
  } else {
    if (!gw_has(at_ip, sizeof(struct ipv6hdr))) return 0;
    const struct ipv6hdr* ip = at_ip->pos;
#pragma unroll
    for (int i = 0; i < 4; i++) sum += (__u64)bpf_ntohl(ip->saddr.s6_addr32[i]) + bpf_ntohl(ip->daddr.s6_addr32[i]);
  }
  return checksum == fold(sum);
}

// Whether the port's driver sends the frame as it is.
static __always_inline int can_send(struct xdp_md* ctx, __u32 to) {
  __u32 key = 0;
  struct gw_settings* s = bpf_map_lookup_elem(&settings, &key);
  if (!s || to >= GW_SIDES) return 0;
  const __u32 frames = *(volatile __u32*)&s->xdp_frames[to];
  if (frames == GW_XDP_FRAMES_NONE) return 0;
  return frames == GW_XDP_FRAMES_PIECES || bpf_xdp_get_buff_len(ctx) == (__u32)(ctx->data_end - ctx->data);
}

// The hop is counted, the header of `bytes` (a constant) is in front. 0: the packet has no such beginning.
static __always_inline int rewrite(struct xdp_md* ctx, const __u8* header, __be16 type_be, const __u32 bytes) {
  void* start = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  if (type_be == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = start + bytes;
    if ((void*)(ip + 1) > end) return 0;
    __u32 check = ip->check;
    check += bpf_htons(0x0100);  // RFC 1141
    ip->check = (__u16)(check + (check >= 0xffff));
    ip->ttl--;
  } else {
    struct ipv6hdr* ip = start + bytes;
    if ((void*)(ip + 1) > end) return 0;
    ip->hop_limit--;
  }
  __builtin_memcpy(start, header, bytes - sizeof(type_be));
  __builtin_memcpy(start + bytes - sizeof(type_be), &type_be, sizeof(type_be));
  return 1;
}

static __always_inline int send(struct xdp_md* ctx, const struct gw_forwarding* way, __be16 type_be, int link_bytes) {
  const __u32 to = way->next.side;
  const __u32 bytes = way->neighbour->header_bytes;
  __u8 header[GW_MAX_LINK_HEADER];
  __builtin_memcpy(header, way->neighbour->header, sizeof(header));
  const int difference = link_bytes - (int)bytes;
  if (difference != 0 && bpf_xdp_adjust_head(ctx, difference) != 0) return pass();
  int done = 0;
  if (bytes == ETH_HLEN)
    done = rewrite(ctx, header, type_be, ETH_HLEN);
  else if (bytes == ETH_HLEN + 4)
    done = rewrite(ctx, header, type_be, ETH_HLEN + 4);
  else if (bytes == ETH_HLEN + 8)
    done = rewrite(ctx, header, type_be, ETH_HLEN + 8);
  if (!done) return verdict(GW_XDP_DROP_NO_SOCKET, XDP_DROP);
  const int action = (int)bpf_redirect_map(&out_ports, to, XDP_DROP);
  return verdict(action == XDP_REDIRECT ? gw_forwarded_to(to) : GW_XDP_DROP_NO_SOCKET, action);
}

SEC("xdp.frags")
int gw_vnet(struct xdp_md* ctx) {
  struct gw_cursor cursor = gw_cursor_of(ctx, (__u32)bpf_xdp_get_buff_len(ctx));
  struct gw_packet packet = {.side = side};
  int tags = 0;
  struct ethhdr* eth = gw_parse_ethernet(&cursor, &packet.type_be, &tags);
  if (!eth || !gw_is_same_mac(eth->h_dest, port_mac) || (tags > 0 && !is_our_vlan(eth, tags))) return pass();
  __builtin_memcpy(packet.from, eth->h_source, ETH_ALEN);
  const struct gw_cursor at_ip = cursor;
  struct gw_forwarding way = {};
  switch (gw_forward(&cursor, &packet, &way)) {
    case GW_WAY_DROP: return verdict(way.why, XDP_DROP);
    case GW_WAY_TUNNELS: {
      if (way.length > max_packet) return pass();
      const int action = (int)bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
      return action == XDP_REDIRECT ? verdict(GW_XDP_REDIRECTED, action) : pass();
    }
    case GW_WAY_NEIGHBOUR:
      if (way.neighbour->state != GW_NEIGHBOUR_KNOWN || !can_send(ctx, way.next.side) ||
          is_unfinished(&at_ip, &cursor, &packet, &way))
        return pass();
      return send(ctx, &way, packet.type_be, ETH_HLEN + 4 * tags);
    default: return pass();
  }
}
