// SPDX-License-Identifier: GPL-2.0-or-later
// Who asks for the MAC of an endpoint that this instance does not own at this moment gets no answer: the kernel, which
// still has the address after a long sleep or a move half done, never sees the question (RFC 826, RFC 4861 7.2.3).
// Announcements of others (sender and target the same) pass.
#pragma once

#include "ebpf/abi/gates.h"
#include "ebpf/xdp/maps.bpf.h"
#include "ebpf/xdp/parse.bpf.h"

#define GW_ARP_ETHERNET 1
#define GW_ND_SOLICITATION 135

// RFC 826, for IPv4 over Ethernet.
struct gw_arp {
  __be16 hardware;
  __be16 protocol;
  __u8 hardware_bytes;
  __u8 protocol_bytes;
  __be16 operation;
  __u8 sender_mac[ETH_ALEN];
  __u8 sender[4];
  __u8 target_mac[ETH_ALEN];
  __u8 target[4];
};

// RFC 4861 4.3.
struct gw_solicitation {
  __u8 type;
  __u8 code;
  __be16 checksum;
  __be32 reserved;
  __u8 target[16];
};

// 0: an address that is no endpoint, or one whose gate is open.
static __always_inline int gw_is_standby(const struct gw_address_key* address) {
  const __u32* place = bpf_map_lookup_elem(&endpoints, address);
  if (!place || *place >= GW_GATES) return 0;
  const __u32 zero = 0;
  const struct gw_gates* all = bpf_map_lookup_elem(&gates, &zero);
  if (!all) return 0;
  return !gw_gate_is_open(all->lease_until_ns, &all->gates[*place & (GW_GATES - 1)], bpf_ktime_get_boot_ns());
}

static __always_inline enum gw_xdp_counter gw_guard_arp(struct gw_cursor* cursor) {
  if (!gw_has(cursor, sizeof(struct gw_arp))) return GW_XDP_PASSED;
  const struct gw_arp* arp = cursor->pos;
  if (arp->hardware != bpf_htons(GW_ARP_ETHERNET) || arp->protocol != bpf_htons(ETH_P_IP) ||
      arp->hardware_bytes != ETH_ALEN || arp->protocol_bytes != 4)
    return GW_XDP_PASSED;
  struct gw_address_key target = {.family = 4};
  __builtin_memcpy(target.address, arp->target, 4);
  if (__builtin_memcmp(arp->sender, arp->target, 4) == 0) return GW_XDP_PASSED;
  return gw_is_standby(&target) ? GW_XDP_DROP_STANDBY : GW_XDP_PASSED;
}

// `cursor` is behind the IPv6 header.
static __always_inline enum gw_xdp_counter gw_guard_solicitation(struct gw_cursor* cursor) {
  if (!gw_has(cursor, sizeof(struct gw_solicitation))) return GW_XDP_PASSED;
  const struct gw_solicitation* nd = cursor->pos;
  if (nd->type != GW_ND_SOLICITATION) return GW_XDP_PASSED;
  struct gw_address_key target = {.family = 6};
  __builtin_memcpy(target.address, nd->target, 16);
  return gw_is_standby(&target) ? GW_XDP_DROP_STANDBY : GW_XDP_PASSED;
}
