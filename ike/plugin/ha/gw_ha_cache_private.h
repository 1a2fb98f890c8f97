// SPDX-License-Identifier: GPL-2.0-or-later
/* What gw_ha_cache.c and gw_ha_full_sync.c share. Everything here is for whoever holds the lock. */
#ifndef GW_HA_CACHE_PRIVATE_H
#define GW_HA_CACHE_PRIVATE_H

#include "gw_ha_cache.h"

#include <collections/hashtable.h>
#include <collections/linked_list.h>
#include <daemon.h>
#include <threading/mutex.h>

struct gw_ha_cache {
  struct gw_ha_link* link;
  mutex_t* lock;
  hashtable_t* entries;  /* ike_sa_t* -> struct gw_ha_entry */
  hashtable_t* children; /* inbound SPI -> struct gw_ha_child */
  bool elsewhere;        /* since the last full sync the other instance has been there */
};

struct gw_ha_child {
  struct gw_ha_entry* parent;
  uint32_t spi_in;
  ha_message_t* add;
  bool pending; /* our answer has not been sent */
  bool stale;
};

struct gw_ha_entry {
  ike_sa_id_t* id;
  bool told; /* the other instance knows it */
  bool stale;
  linked_list_t* adds; /* the first, and one for each additional key exchange */
  ha_message_t* update;
  ha_message_t* moved; /* the last change of addresses */
  ha_message_t* mid_initiator;
  ha_message_t* mid_responder;
  ha_message_t* iv;
  linked_list_t* children;
};

/* NULL: none. */
struct gw_ha_entry* gw_ha_cache_entry_of(struct gw_ha_cache* cache, ike_sa_t* ike_sa);
/* Of whatever entry; NULL: none. */
struct gw_ha_child* gw_ha_cache_child_with(struct gw_ha_cache* cache, uint32_t spi_in);
/* NULL: the entry has none. */
struct gw_ha_child* gw_ha_cache_child_of(struct gw_ha_cache* cache, struct gw_ha_entry* entry, uint32_t spi_in);

/* NULL: nothing. */
void gw_ha_cache_push(struct gw_ha_cache* cache, ha_message_t* message);
/* All that the other instance needs to know of this IKE_SA. */
void gw_ha_cache_push_all(struct gw_ha_cache* cache, struct gw_ha_entry* entry);

#endif
