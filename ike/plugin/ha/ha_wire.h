/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * Between charon's plugin gw-ha (client) and gwd's HaLink (server), on one machine: messages of a SOCK_SEQPACKET Unix
 * socket. The first byte says what follows: GW_HA_SYNC and one sync message of the plugin, which gwd carries to the
 * other instance's gw-ha unread (it holds keys: wipe it), or a struct gw_ha_control. Order is kept; nothing is lost
 * while the connection lasts, and a new connection begins with GW_HA_HELLO and no state.
 */
#ifndef GW_IKE_PLUGIN_HA_WIRE_H
#define GW_IKE_PLUGIN_HA_WIRE_H

#include <linux/types.h>

#define GW_HA_SOCKET "/run/gw/ike-sync.sock"
#define GW_HA_VERSION 1
/* Of one message, the first byte included. The largest is a CHILD_SA with all its selectors: some hundreds of bytes. */
#define GW_HA_MAX_MESSAGE 65536

#define GW_HA_CONTROL 1
#define GW_HA_SYNC 2

enum gw_ha_kind {
  GW_HA_HELLO = 1, /* charon: count is GW_HA_VERSION */
  GW_HA_TAKE =
      2, /* gwd: the IKE SAs of `address` are this instance's; charon repeats it when they are: count, microseconds */
  GW_HA_RELEASE = 3,  /* gwd: they are the other instance's; no DELETE is sent. charon repeats it likewise */
  GW_HA_SEND_ALL = 4, /* gwd: tell the other instance everything; charon repeats it when that has been said: count */
  GW_HA_SYNCED = 5,   /* charon: the other instance has said everything: count of its IKE SAs that are held here */
  GW_HA_ALONE = 6, /* gwd: the other instance cannot be told anything; until the next GW_HA_SEND_ALL a charon that ends
                      deletes its IKE SAs as any other does */
};

struct gw_ha_control {
  __u8 what; /* GW_HA_CONTROL */
  __u8 kind;
  __u8 family; /* of address: 4 or 6; 0: none */
  __u8 reserved;
  __u32 count; /* IKE SAs */
  __u64 microseconds;
  __u8 address[16]; /* the gateway's end; IPv4 in the first 4 bytes */
};
#ifdef __cplusplus
static_assert(sizeof(struct gw_ha_control) == 32, "shared layout");
#else
_Static_assert(sizeof(struct gw_ha_control) == 32, "shared layout");
#endif

#endif
