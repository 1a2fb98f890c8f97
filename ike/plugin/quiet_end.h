/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What gw-ha says to kernel-gw, which do not know each other, in charon's registry (library_t.set): charon ends, and
 * the other instance goes on with its SAs. */
#ifndef GW_IKE_QUIET_END_H
#define GW_IKE_QUIET_END_H

#include <library.h>

#define GW_QUIET_END "gw-quiet-end"

/* gw-fastpath is to keep what it has, as after a crash of charon's. */
static inline bool gw_ends_quietly(void) { return lib->get(lib, GW_QUIET_END) != NULL; }

#endif
