// SPDX-License-Identifier: GPL-2.0-or-later
/* gw-ha's connection to gwd on this machine (ha_wire.h), in the place of the ha plugin's UDP socket: nothing listens on
 * a network, the order holds, and an end of the connection is seen. While gwd is away messages are dropped: whoever
 * connects asks for everything. One thread of charon's pulls (it also connects), any thread pushes. */
#ifndef GW_HA_LINK_H
#define GW_HA_LINK_H

#include "ha_message.h"
#include "ike/plugin/ha/ha_wire.h"

struct gw_ha_link;

struct gw_ha_link* gw_ha_link_create(const char* path); /* NULL: the path is too long (logged) */
void gw_ha_link_destroy(struct gw_ha_link* link);

/* To the other instance. Never blocks: the caller holds an IKE_SA. The message stays the caller's. */
void gw_ha_link_push(struct gw_ha_link* link, ha_message_t* message);
/* To gwd; `host` may be NULL. */
void gw_ha_link_say(struct gw_ha_link* link, struct gw_ha_control control, host_t* host);

/* Waits for the next message of the other instance, which is the caller's then; or an order of gwd's: NULL, *control.
 */
ha_message_t* gw_ha_link_pull(struct gw_ha_link* link, struct gw_ha_control* control);

#endif
