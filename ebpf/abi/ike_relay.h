/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * IKE datagrams between gw-fastpath, which owns UDP 500 and 4500, and charon's socket plugin. One datagram is one
 * message of a SOCK_SEQPACKET Unix socket (/run/gw/ike.sock): this header, then the UDP payload as it is on the
 * wire (on port 4500 with its non-ESP marker, RFC 3948 2.2). The same both ways. Any message that is shorter
 * than the header or has an unknown version is dropped. gw-fastpath serves one client, the latest.
 * Written in C for both; fields ending in _be are in network order.
 */
#ifndef GW_EBPF_ABI_IKE_RELAY_H
#define GW_EBPF_ABI_IKE_RELAY_H

#include <linux/types.h>

#define GW_IKE_RELAY_VERSION 1
#define GW_IKE_RELAY_SOCKET "/run/gw/ike.sock"
/* The largest UDP payload over IPv4; IKE messages are smaller, but never cut. */
#define GW_IKE_RELAY_MAX_PAYLOAD 65507

struct gw_ike_datagram {
  __u8 version;
  __u8 family;        /* 4 or 6 */
  __u8 traffic_class; /* DSCP and ECN of the IP header */
  __u8 reserved;
  __u16 local_port_be; /* 500 or 4500 */
  __u16 peer_port_be;
  __u32 scope_id; /* interface index of a link-local IPv6 peer; else 0 */
  __u8 local[16]; /* IPv4 in the first 4 bytes. To gw-fastpath: all zero lets the kernel choose */
  __u8 peer[16];
};
#ifdef __cplusplus
static_assert(sizeof(struct gw_ike_datagram) == 44, "shared layout");
#else
_Static_assert(sizeof(struct gw_ike_datagram) == 44, "shared layout");
#endif

#endif
