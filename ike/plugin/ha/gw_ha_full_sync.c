// SPDX-License-Identifier: GPL-2.0-or-later
/* The full sync of the cache (gw_ha_cache.h): telling everything, and mark and sweep of what the other instance tells.
 */
#include "gw_ha_cache_private.h"

uint32_t gw_ha_cache_tell_all(struct gw_ha_cache* this, linked_list_t* owned) {
  ike_sa_t* ike_sa;
  struct gw_ha_entry* entry;
  host_t* host;
  uint32_t count = 0;
  ha_message_t* begin = ha_message_create(HA_SYNC_BEGIN);
  ha_message_t* end = ha_message_create(HA_SYNC_END);
  enumerator_t* enumerator = owned->create_enumerator(owned);
  while (enumerator->enumerate(enumerator, &host)) begin->add_attribute(begin, HA_LOCAL_ADDR, host);
  enumerator->destroy(enumerator);

  this->lock->lock(this->lock);
  gw_ha_cache_push(this, begin);
  enumerator = this->entries->create_enumerator(this->entries);
  while (enumerator->enumerate(enumerator, &ike_sa, &entry)) {
    if (!entry->told) continue;
    gw_ha_cache_push_all(this, entry);
    count++;
  }
  enumerator->destroy(enumerator);
  gw_ha_cache_push(this, end);
  this->elsewhere = TRUE;
  this->lock->unlock(this->lock);
  begin->destroy(begin);
  end->destroy(end);
  return count;
}

void gw_ha_cache_alone(struct gw_ha_cache* this) {
  this->lock->lock(this->lock);
  this->elsewhere = FALSE;
  this->lock->unlock(this->lock);
}

bool gw_ha_cache_is_elsewhere(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = this->elsewhere ? gw_ha_cache_entry_of(this, ike_sa) : NULL;
  const bool told = entry && entry->told;
  this->lock->unlock(this->lock);
  return told;
}

static void mark_entry(struct gw_ha_entry* entry) {
  struct gw_ha_child* child;
  enumerator_t* enumerator = entry->children->create_enumerator(entry->children);
  entry->stale = TRUE;
  while (enumerator->enumerate(enumerator, &child)) child->stale = TRUE;
  enumerator->destroy(enumerator);
}

void gw_ha_cache_mark(struct gw_ha_cache* this) {
  ike_sa_t* ike_sa;
  struct gw_ha_entry* entry;
  this->lock->lock(this->lock);
  enumerator_t* enumerator = this->entries->create_enumerator(this->entries);
  while (enumerator->enumerate(enumerator, &ike_sa, &entry)) mark_entry(entry);
  enumerator->destroy(enumerator);
  this->lock->unlock(this->lock);
}

void gw_ha_cache_seen(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = gw_ha_cache_entry_of(this, ike_sa);
  if (entry) entry->stale = FALSE;
  this->lock->unlock(this->lock);
}

bool gw_ha_cache_seen_child(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in) {
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = gw_ha_cache_entry_of(this, ike_sa);
  struct gw_ha_child* child = entry ? gw_ha_cache_child_of(this, entry, spi_in) : NULL;
  if (child) child->stale = FALSE;
  this->lock->unlock(this->lock);
  return child != NULL;
}

ike_sa_id_t* gw_ha_cache_other_parent(struct gw_ha_cache* this, ike_sa_id_t* id, uint32_t spi_in) {
  ike_sa_id_t* other = NULL;
  this->lock->lock(this->lock);
  struct gw_ha_child* child = gw_ha_cache_child_with(this, spi_in);
  if (child && !child->parent->id->equals(child->parent->id, id)) other = child->parent->id->clone(child->parent->id);
  this->lock->unlock(this->lock);
  return other;
}

static void add_stale(linked_list_t* list, ike_sa_id_t* id, uint32_t spi_in) {
  struct gw_ha_stale* stale;
  INIT(stale, .id = id->clone(id), .spi_in = spi_in);
  list->insert_last(list, stale);
}

linked_list_t* gw_ha_cache_stale(struct gw_ha_cache* this) {
  ike_sa_t* ike_sa;
  struct gw_ha_entry* entry;
  struct gw_ha_child* child;
  linked_list_t* list = linked_list_create();
  this->lock->lock(this->lock);
  enumerator_t* enumerator = this->entries->create_enumerator(this->entries);
  while (enumerator->enumerate(enumerator, &ike_sa, &entry)) {
    if (entry->stale) {
      add_stale(list, entry->id, 0);
      continue;
    }
    enumerator_t* inner = entry->children->create_enumerator(entry->children);
    while (inner->enumerate(inner, &child)) {
      if (child->stale) add_stale(list, entry->id, child->spi_in);
    }
    inner->destroy(inner);
  }
  enumerator->destroy(enumerator);
  this->lock->unlock(this->lock);
  return list;
}

void gw_ha_stale_destroy(struct gw_ha_stale* stale) {
  stale->id->destroy(stale->id);
  free(stale);
}
