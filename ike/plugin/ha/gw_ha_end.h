// SPDX-License-Identifier: GPL-2.0-or-later
/* How charon ends when another instance has its IKE_SAs: without a DELETE, as if it had been killed. Whoever stops an
 * instance without having drained it cuts nobody off: the other one takes over SAs that the sites still have, and a
 * charon that is only restarted gets them back. */
#ifndef GW_HA_END_H
#define GW_HA_END_H

#include "gw_ha_cache.h"

struct gw_ha_end;

/* Listens until it is destroyed. */
struct gw_ha_end* gw_ha_end_create(struct gw_ha_cache* cache);
void gw_ha_end_destroy(struct gw_ha_end* end);

#endif
