// SPDX-License-Identifier: GPL-2.0-or-later
// A cursor over the packet and one small parser per header. A parser returns null (or -1) when the
// packet ends early; nothing is read before its length was checked.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define GW_MAX_VLAN_TAGS 2
#define GW_IPV4_MORE_FRAGMENTS 0x2000
#define GW_IPV4_OFFSET_MASK 0x1fff
#define GW_IPV6_OFFSET_MASK 0xfff8

// `left` counts the packet's bytes from `pos` on, also those that cannot be read directly: an skb's pages.
struct gw_cursor {
  void* pos;
  void* end;  // of what can be read
  __u32 left;
};

struct gw_vlan_header {
  __be16 tci;
  __be16 type;
};

// RFC 8200 4.5.
struct gw_fragment_header {
  __u8 next_header;
  __u8 reserved;
  __be16 offset_flags;
  __be32 id;
};

// Whether `bytes` (a constant) are left. The verifier learns it from this comparison.
#define gw_has(cursor, bytes) ((cursor)->pos + (bytes) <= (cursor)->end)

// Keeps clang from deriving packet bounds out of `value`: the verifier does not know how.
#define gw_opaque(value) asm volatile("" : "+r"(value))

// At the start of a packet of `length` bytes. A macro: the verifier knows ctx->data only as it is loaded.
#define gw_cursor_of(ctx, length) \
  ((struct gw_cursor){.pos = (void*)(long)(ctx)->data, .end = (void*)(long)(ctx)->data_end, .left = (length)})

static __always_inline void gw_skip(struct gw_cursor* c, __u32 bytes) {
  c->pos += bytes;
  c->left -= bytes;
}

// The Ethernet header; *type_be is the EtherType after `tags` VLAN tags.
static __always_inline struct ethhdr* gw_parse_ethernet(struct gw_cursor* c, __be16* type_be, int* tags) {
  if (!gw_has(c, sizeof(struct ethhdr))) return 0;
  struct ethhdr* eth = c->pos;
  gw_skip(c, sizeof(*eth));
  *type_be = eth->h_proto;
  *tags = 0;
#pragma unroll
  for (int i = 0; i < GW_MAX_VLAN_TAGS; i++) {
    if (*type_be != bpf_htons(ETH_P_8021Q) && *type_be != bpf_htons(ETH_P_8021AD)) break;
    if (!gw_has(c, sizeof(struct gw_vlan_header))) return 0;
    struct gw_vlan_header* tag = c->pos;
    gw_skip(c, sizeof(*tag));
    *type_be = tag->type;
    (*tags)++;
  }
  return eth;
}

// The IPv4 header; the cursor is then behind its options and *payload is what follows by its own length
// field (Ethernet padding is not packet). Null also when the header contradicts itself or the packet.
static __always_inline struct iphdr* gw_parse_ipv4(struct gw_cursor* c, __u32* payload) {
  if (!gw_has(c, sizeof(struct iphdr))) return 0;
  struct iphdr* ip = c->pos;
  if (ip->version != 4 || ip->ihl < 5) return 0;
  __u32 header = ip->ihl * 4u;
  __u32 total = bpf_ntohs(ip->tot_len);
  if (total < header || total > c->left) return 0;
  gw_opaque(total);
  gw_skip(c, header);
  *payload = total - header;
  return ip;
}

static __always_inline struct ipv6hdr* gw_parse_ipv6(struct gw_cursor* c, __u32* payload) {
  if (!gw_has(c, sizeof(struct ipv6hdr))) return 0;
  struct ipv6hdr* ip = c->pos;
  if (ip->version != 6) return 0;
  __u32 length = bpf_ntohs(ip->payload_len);
  if (sizeof(*ip) + length > c->left) return 0;
  gw_opaque(length);
  gw_skip(c, sizeof(*ip));
  *payload = length;
  return ip;
}
