// SPDX-License-Identifier: GPL-2.0-or-later
/* What the plugin raises in charon: actions of a session, and the time lifetimes, which are run here with
 * charon's scheduler (byte and packet limits are the fast path's). */
#ifndef GW_EVENTS_H
#define GW_EVENTS_H

#include "session.h"

struct gw_rpc;

/* Frees the list. The caller must not hold the rpc's lock: charon takes locks of its own in these calls. */
void gw_events_raise(struct gw_rpc* rpc, struct gw_action* actions);

struct gw_lifetime {
  uint32_t soft_seconds; /* 0: none; jitter already subtracted */
  uint32_t hard_seconds; /* 0: none */
};

/* Expires the SA softly, then hard, unless the table no longer has (spi, serial) by then. */
void gw_events_schedule(struct gw_rpc* rpc, uint32_t spi, uint64_t serial, struct gw_lifetime lifetime);

#endif
