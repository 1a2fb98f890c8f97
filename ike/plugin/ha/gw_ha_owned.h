// SPDX-License-Identifier: GPL-2.0-or-later
/* Which of the gateway's addresses are this instance's, in the place of the ha plugin's segments: there a hash of the
 * peer's address decides, here whole addresses move, one at a time, by gwd's order and nothing else (no heartbeat, no
 * takeover of its own). One thread of charon's. */
#ifndef GW_HA_OWNED_H
#define GW_HA_OWNED_H

#include <daemon.h>

struct gw_ha_owned;

struct gw_ha_owned* gw_ha_owned_create(void);
void gw_ha_owned_destroy(struct gw_ha_owned* owned);

bool gw_ha_owned_has(struct gw_ha_owned* owned, host_t* host);
/* host_t*, the set's. */
linked_list_t* gw_ha_owned_list(struct gw_ha_owned* owned);

/* IKE_SAs of `host` become active or passive; returns how many are so now. Half-open ones are destroyed. What was to be
 * rekeyed while an IKE_SA was passive is rekeyed a moment after the take. */
uint32_t gw_ha_owned_take(struct gw_ha_owned* owned, host_t* host);
/* Waits a moment for exchanges under way, so that none is cut in the middle. */
uint32_t gw_ha_owned_release(struct gw_ha_owned* owned, host_t* host);

/* After a take: of several CHILD_SAs with one name all but the newest are deleted, with the peer's knowledge. The
 * former owner stopped between a rekeying and its end. */
void gw_ha_owned_delete_leftovers(host_t* host);

#endif
