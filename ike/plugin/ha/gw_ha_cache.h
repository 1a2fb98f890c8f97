// SPDX-License-Identifier: GPL-2.0-or-later
/* What has been said, or is to be said, about each IKE_SA that either instance has, in the place of the ha plugin's
 * cache. It says it as well, so that a full sync and a change at the same time cannot overtake each other. Two
 * differences:
 *  - nothing is told of an IKE_SA before it is established, so a flood of half-open ones stays on one instance;
 *  - CHILD_SAs are kept too, with their keys, so a full sync rekeys nothing and leaves alone what is there already.
 * Any thread; messages given become the cache's. */
#ifndef GW_HA_CACHE_H
#define GW_HA_CACHE_H

#include "gw_ha_link.h"

#include <sa/ike_sa.h>

struct gw_ha_cache;

struct gw_ha_cache* gw_ha_cache_create(struct gw_ha_link* link);
void gw_ha_cache_destroy(struct gw_ha_cache* cache);

/* --- of SAs of ours: kept, and told */
void gw_ha_cache_ours(struct gw_ha_cache* cache, ike_sa_t* ike_sa, ha_message_t* message);
/* Of an exchange that the peer began it is told when our answer is: whoever takes over before gets the request again.
 */
void gw_ha_cache_child(struct gw_ha_cache* cache, ike_sa_t* ike_sa, uint32_t spi_in, ha_message_t* message,
                       bool initiator);
void gw_ha_cache_child_gone(struct gw_ha_cache* cache, ike_sa_t* ike_sa, uint32_t spi_in);

/* --- of SAs of the other instance: kept */
void gw_ha_cache_theirs(struct gw_ha_cache* cache, ike_sa_t* ike_sa, ha_message_t* message);
void gw_ha_cache_their_child(struct gw_ha_cache* cache, ike_sa_t* ike_sa, uint32_t spi_in, ha_message_t* message);
void gw_ha_cache_their_child_gone(struct gw_ha_cache* cache, ike_sa_t* ike_sa, uint32_t spi_in);

/* --- of both */
/* The children of `old` are the new one's from here on. */
void gw_ha_cache_inherit(struct gw_ha_cache* cache, ike_sa_t* old, ike_sa_id_t* new_id);
/* Its children came from other IKE_SAs (IKEv1's new main mode; before it has been told of, perhaps). */
void gw_ha_cache_adopt(struct gw_ha_cache* cache, ike_sa_t* ike_sa);
/* The IKE_SA is being destroyed; if it was ours and nobody has said so, it is said. */
void gw_ha_cache_forget(struct gw_ha_cache* cache, ike_sa_t* ike_sa);

/* --- full sync */
/* Tells everything; `owned`: host_t* of the addresses that are this instance's. Returns the number of IKE_SAs. */
uint32_t gw_ha_cache_tell_all(struct gw_ha_cache* cache, linked_list_t* owned);
/* From here on nobody is told; a full sync ends that. */
void gw_ha_cache_alone(struct gw_ha_cache* cache);
/* The other instance has this IKE_SA, and can go on with it. gwd may have ended since. */
bool gw_ha_cache_is_elsewhere(struct gw_ha_cache* cache, ike_sa_t* ike_sa);
/* The other instance begins to tell everything: what it does not tell by the end is stale. */
void gw_ha_cache_mark(struct gw_ha_cache* cache);
void gw_ha_cache_seen(struct gw_ha_cache* cache, ike_sa_t* ike_sa);
/* False: this IKE_SA has no such CHILD_SA. */
bool gw_ha_cache_seen_child(struct gw_ha_cache* cache, ike_sa_t* ike_sa, uint32_t spi_in);
/* Another IKE_SA that has this CHILD_SA, to destroy(); NULL: none. */
ike_sa_id_t* gw_ha_cache_other_parent(struct gw_ha_cache* cache, ike_sa_id_t* id, uint32_t spi_in);
struct gw_ha_stale {
  ike_sa_id_t* id;
  uint32_t spi_in; /* 0: the whole IKE_SA */
};
/* Of struct gw_ha_stale, with gw_ha_stale_destroy. */
linked_list_t* gw_ha_cache_stale(struct gw_ha_cache* cache);
void gw_ha_stale_destroy(struct gw_ha_stale* stale);

#endif
