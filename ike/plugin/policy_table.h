// SPDX-License-Identifier: GPL-2.0-or-later
/* Which outbound SA each tunnel sends with, and which tunnels have a trap. charon tells it by policies: with
 * KERNEL_POLICY_SPI a new outbound SA is used only after add_policy(out, its SPI), and each selector pair
 * (v4 and v6 of one CHILD_SA) brings a policy of its own. Pure, like sa_table.h. */
#ifndef GW_POLICY_TABLE_H
#define GW_POLICY_TABLE_H

#include "sa_table.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gw_policy {
  uint32_t tunnel_id;
  uint32_t reqid;
  struct gw_sa_id sa; /* spi 0: a trap, there is no SA yet */
};

struct gw_policy_table;

struct gw_policy_table* gw_policy_table_create(void);
void gw_policy_table_destroy(struct gw_policy_table* table);

void gw_policy_table_add(struct gw_policy_table* table, const struct gw_policy* policy);
void gw_policy_table_remove(struct gw_policy_table* table, const struct gw_policy* policy);
void gw_policy_table_flush(struct gw_policy_table* table);

/* The SA that the tunnel should send with: of its policies the one that came last and whose SA is installed.
 * NULL: none. A later policy that goes (the loser of a rekey collision) gives way to the one before it. */
struct gw_sa* gw_policy_table_current(const struct gw_policy_table* table, const struct gw_sa_table* sas,
                                      uint32_t tunnel_id);

/* False: the tunnel has no trap policy. */
bool gw_policy_table_trap(const struct gw_policy_table* table, uint32_t tunnel_id, uint32_t* reqid);

/* The serial of the SA whose activation was sent to the present gw-fastpath; 0: none. */
uint64_t gw_policy_table_activated(const struct gw_policy_table* table, uint32_t tunnel_id);
void gw_policy_table_set_activated(struct gw_policy_table* table, uint32_t tunnel_id, uint64_t serial);
void gw_policy_table_forget_activated(struct gw_policy_table* table); /* of every tunnel */

#ifdef __cplusplus
}
#endif
#endif
