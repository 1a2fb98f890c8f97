// SPDX-License-Identifier: GPL-2.0-or-later
/* See gw_ha_cache.h. */
#include "gw_ha_cache.h"

#include <collections/hashtable.h>
#include <collections/linked_list.h>
#include <daemon.h>
#include <threading/mutex.h>

struct gw_ha_cache {
  struct gw_ha_link* link;
  mutex_t* lock;
  hashtable_t* entries;  /* ike_sa_t* -> struct entry */
  hashtable_t* children; /* inbound SPI -> struct child */
};

struct child {
  struct entry* parent;
  uint32_t spi_in;
  ha_message_t* add;
  bool pending; /* our answer has not been sent */
  bool stale;
};

struct entry {
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

/* --- entries (locked) --------------------------------------------------------------------------------------------- */

static void* key_of(uint32_t spi_in) { return (void*)(uintptr_t)spi_in; }

/* Of whatever entry. */
static struct child* child_with(struct gw_ha_cache* this, uint32_t spi_in) {
  return this->children->get(this->children, key_of(spi_in));
}

static void child_destroy(struct gw_ha_cache* this, struct child* child) {
  if (child_with(this, child->spi_in) == child) this->children->remove(this->children, key_of(child->spi_in));
  child->add->destroy(child->add);
  free(child);
}

static void entry_destroy(struct gw_ha_cache* this, struct entry* entry) {
  struct child* child;
  while (entry->children->remove_first(entry->children, (void**)&child) == SUCCESS) child_destroy(this, child);
  entry->children->destroy(entry->children);
  entry->adds->destroy_offset(entry->adds, offsetof(ha_message_t, destroy));
  DESTROY_IF(entry->update);
  DESTROY_IF(entry->moved);
  DESTROY_IF(entry->mid_initiator);
  DESTROY_IF(entry->mid_responder);
  DESTROY_IF(entry->iv);
  entry->id->destroy(entry->id);
  free(entry);
}

static struct entry* entry_of(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  return this->entries->get(this->entries, ike_sa);
}

static struct entry* entry_made(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  struct entry* entry = entry_of(this, ike_sa);
  if (!entry) {
    ike_sa_id_t* id = ike_sa->get_id(ike_sa);
    INIT(entry, .id = id->clone(id), .adds = linked_list_create(), .children = linked_list_create());
    this->entries->put(this->entries, ike_sa, entry);
  }
  return entry;
}

static void replace(ha_message_t** slot, ha_message_t* message) {
  if (*slot) (*slot)->destroy(*slot);
  *slot = message;
}

/* A whole update, or only addresses? */
static bool is_whole(ha_message_t* message) {
  ha_message_attribute_t attribute;
  ha_message_value_t value;
  bool whole = FALSE;
  enumerator_t* enumerator = message->create_attribute_enumerator(message);
  while (enumerator->enumerate(enumerator, &attribute, &value)) whole |= attribute == HA_CONFIG_NAME;
  enumerator->destroy(enumerator);
  return whole;
}

/* Keeps it where it belongs; it is the entry's, or gone. */
static void keep(struct entry* entry, ha_message_t* message) {
  switch (message->get_type(message)) {
    case HA_IKE_ADD: entry->adds->insert_last(entry->adds, message); break;
    case HA_IKE_UPDATE: replace(is_whole(message) ? &entry->update : &entry->moved, message); break;
    case HA_IKE_MID_INITIATOR: replace(&entry->mid_initiator, message); break;
    case HA_IKE_MID_RESPONDER: replace(&entry->mid_responder, message); break;
    case HA_IKE_IV: replace(&entry->iv, message); break;
    default: message->destroy(message); break;
  }
}

static struct child* child_of(struct gw_ha_cache* this, struct entry* entry, uint32_t spi_in) {
  struct child* child = child_with(this, spi_in);
  return child && child->parent == entry ? child : NULL;
}

static struct child* keep_child(struct gw_ha_cache* this, struct entry* entry, uint32_t spi_in, ha_message_t* message) {
  struct child* child = child_of(this, entry, spi_in);
  if (child) {
    replace(&child->add, message);
  } else {
    INIT(child, .parent = entry, .spi_in = spi_in, .add = message);
    entry->children->insert_last(entry->children, child);
    this->children->put(this->children, key_of(spi_in), child);
  }
  child->stale = FALSE;
  return child;
}

/* The first attribute of a message about a CHILD_SA is the id of its IKE_SA, which has one length. */
static void set_parent(ha_message_t* message, ike_sa_id_t* id) {
  ha_message_t* other = ha_message_create(HA_CHILD_ADD);
  other->add_attribute(other, HA_IKE_ID, id);
  const chunk_t from = other->get_encoding(other);
  const chunk_t to = message->get_encoding(message);
  memcpy(to.ptr, from.ptr, min(from.len, to.len));
  other->destroy(other);
}

/* --- saying (locked) ---------------------------------------------------------------------------------------------- */

static void push(struct gw_ha_cache* this, ha_message_t* message) {
  if (message) gw_ha_link_push(this->link, message);
}

static void push_pending(struct gw_ha_cache* this, struct entry* entry) {
  struct child* child;
  enumerator_t* enumerator = entry->children->create_enumerator(entry->children);
  while (enumerator->enumerate(enumerator, &child)) {
    if (child->pending) push(this, child->add);
    child->pending = FALSE;
  }
  enumerator->destroy(enumerator);
}

static void push_all(struct gw_ha_cache* this, struct entry* entry) {
  ha_message_t* message;
  struct child* child;
  enumerator_t* enumerator = entry->adds->create_enumerator(entry->adds);
  while (enumerator->enumerate(enumerator, &message)) push(this, message);
  enumerator->destroy(enumerator);
  push(this, entry->update);
  push(this, entry->moved);
  push(this, entry->mid_initiator);
  push(this, entry->mid_responder);
  push(this, entry->iv);
  enumerator = entry->children->create_enumerator(entry->children);
  while (enumerator->enumerate(enumerator, &child)) {
    if (!child->pending) push(this, child->add);
  }
  enumerator->destroy(enumerator);
}

/* --- ours --------------------------------------------------------------------------------------------------------- */

/* An entry can be older than the peer's half of the id. */
static void set_id(struct entry* entry, ike_sa_id_t* id) {
  struct child* child;
  entry->id->destroy(entry->id);
  entry->id = id->clone(id);
  enumerator_t* enumerator = entry->children->create_enumerator(entry->children);
  while (enumerator->enumerate(enumerator, &child)) set_parent(child->add, id);
  enumerator->destroy(enumerator);
}

static void say_and_keep(struct gw_ha_cache* this, struct entry* entry, ha_message_t* message) {
  const ha_message_type_t type = message->get_type(message);
  if (entry->told) {
    if (type == HA_IKE_MID_RESPONDER) push_pending(this, entry);
    push(this, message);
    keep(entry, message);
    return;
  }
  keep(entry, message);
  if (type == HA_IKE_UPDATE && entry->update) { /* it is established */
    entry->told = TRUE;
    push_all(this, entry);
  }
}

void gw_ha_cache_ours(struct gw_ha_cache* this, ike_sa_t* ike_sa, ha_message_t* message) {
  const ha_message_type_t type = message->get_type(message);
  this->lock->lock(this->lock);
  struct entry* entry = type == HA_IKE_ADD ? entry_made(this, ike_sa) : entry_of(this, ike_sa);
  if (type == HA_IKE_DELETE) {
    if (entry) {
      if (entry->told) push(this, message);
      this->entries->remove(this->entries, ike_sa);
      entry_destroy(this, entry);
    }
    message->destroy(message);
  } else if (entry) {
    if (!entry->told) set_id(entry, ike_sa->get_id(ike_sa));
    say_and_keep(this, entry, message);
  } else {
    message->destroy(message);
  }
  this->lock->unlock(this->lock);
}

void gw_ha_cache_child(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in, ha_message_t* message,
                       bool initiator) {
  this->lock->lock(this->lock);
  struct entry* entry = entry_of(this, ike_sa);
  if (entry) {
    struct child* child = keep_child(this, entry, spi_in, message);
    child->pending = !initiator && ike_sa->get_version(ike_sa) == IKEV2; /* IKEv1 has no numbers to tell an answer by */
    if (!child->pending && entry->told) push(this, message);
  } else {
    message->destroy(message);
  }
  this->lock->unlock(this->lock);
}

static bool remove_child(struct gw_ha_cache* this, struct entry* entry, uint32_t spi_in, bool* was_told) {
  struct child* child = child_of(this, entry, spi_in);
  if (!child) return FALSE;
  if (was_told) *was_told = !child->pending;
  entry->children->remove(entry->children, child, NULL);
  child_destroy(this, child);
  return TRUE;
}

void gw_ha_cache_child_gone(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in) {
  bool told = FALSE;
  this->lock->lock(this->lock);
  struct entry* entry = entry_of(this, ike_sa);
  if (entry && remove_child(this, entry, spi_in, &told) && told && entry->told) {
    ha_message_t* message = ha_message_create(HA_CHILD_DELETE);
    message->add_attribute(message, HA_IKE_ID, ike_sa->get_id(ike_sa));
    message->add_attribute(message, HA_INBOUND_SPI, spi_in);
    push(this, message);
    message->destroy(message);
  }
  this->lock->unlock(this->lock);
}

/* --- theirs ------------------------------------------------------------------------------------------------------- */

void gw_ha_cache_theirs(struct gw_ha_cache* this, ike_sa_t* ike_sa, ha_message_t* message) {
  this->lock->lock(this->lock);
  struct entry* entry = entry_made(this, ike_sa);
  entry->told = TRUE; /* whoever told us knows */
  keep(entry, message);
  this->lock->unlock(this->lock);
}

void gw_ha_cache_their_child(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in, ha_message_t* message) {
  this->lock->lock(this->lock);
  keep_child(this, entry_made(this, ike_sa), spi_in, message);
  this->lock->unlock(this->lock);
}

void gw_ha_cache_their_child_gone(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in) {
  this->lock->lock(this->lock);
  struct entry* entry = entry_of(this, ike_sa);
  if (entry) remove_child(this, entry, spi_in, NULL);
  this->lock->unlock(this->lock);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static struct entry* entry_with(struct gw_ha_cache* this, ike_sa_id_t* id) {
  ike_sa_t* ike_sa;
  struct entry *entry, *found = NULL;
  enumerator_t* enumerator = this->entries->create_enumerator(this->entries);
  while (!found && enumerator->enumerate(enumerator, &ike_sa, &entry)) {
    if (entry->id->equals(entry->id, id)) found = entry;
  }
  enumerator->destroy(enumerator);
  return found;
}

void gw_ha_cache_inherit(struct gw_ha_cache* this, ike_sa_t* old, ike_sa_id_t* new_id) {
  struct child* child;
  this->lock->lock(this->lock);
  struct entry* from = entry_of(this, old);
  struct entry* to = entry_with(this, new_id);
  while (from && to && from != to && from->children->remove_first(from->children, (void**)&child) == SUCCESS) {
    set_parent(child->add, new_id);
    child->parent = to;
    to->children->insert_last(to->children, child);
  }
  this->lock->unlock(this->lock);
}

/* Takes the child from whatever entry but `to` has it. */
static void take_child(struct gw_ha_cache* this, struct entry* to, uint32_t spi_in) {
  struct child* child = child_with(this, spi_in);
  if (!child || child->parent == to) return;
  child->parent->children->remove(child->parent->children, child, NULL);
  set_parent(child->add, to->id);
  child->parent = to;
  to->children->insert_last(to->children, child);
}

void gw_ha_cache_adopt(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  child_sa_t* child_sa;
  this->lock->lock(this->lock);
  struct entry* to = entry_made(this, ike_sa);
  enumerator_t* enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
  while (enumerator->enumerate(enumerator, &child_sa)) take_child(this, to, child_sa->get_spi(child_sa, TRUE));
  enumerator->destroy(enumerator);
  this->lock->unlock(this->lock);
}

void gw_ha_cache_forget(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  this->lock->lock(this->lock);
  struct entry* entry = this->entries->remove(this->entries, ike_sa);
  if (entry) {
    if (entry->told && ike_sa->get_state(ike_sa) != IKE_PASSIVE) {
      ha_message_t* message = ha_message_create(HA_IKE_DELETE);
      message->add_attribute(message, HA_IKE_ID, entry->id);
      push(this, message);
      message->destroy(message);
    }
    entry_destroy(this, entry);
  }
  this->lock->unlock(this->lock);
}

/* --- full sync ---------------------------------------------------------------------------------------------------- */

uint32_t gw_ha_cache_tell_all(struct gw_ha_cache* this, linked_list_t* owned) {
  ike_sa_t* ike_sa;
  struct entry* entry;
  host_t* host;
  uint32_t count = 0;
  ha_message_t* begin = ha_message_create(HA_SYNC_BEGIN);
  ha_message_t* end = ha_message_create(HA_SYNC_END);
  enumerator_t* enumerator = owned->create_enumerator(owned);
  while (enumerator->enumerate(enumerator, &host)) begin->add_attribute(begin, HA_LOCAL_ADDR, host);
  enumerator->destroy(enumerator);

  this->lock->lock(this->lock);
  push(this, begin);
  enumerator = this->entries->create_enumerator(this->entries);
  while (enumerator->enumerate(enumerator, &ike_sa, &entry)) {
    if (!entry->told) continue;
    push_all(this, entry);
    count++;
  }
  enumerator->destroy(enumerator);
  push(this, end);
  this->lock->unlock(this->lock);
  begin->destroy(begin);
  end->destroy(end);
  return count;
}

static void mark_entry(struct entry* entry) {
  struct child* child;
  enumerator_t* enumerator = entry->children->create_enumerator(entry->children);
  entry->stale = TRUE;
  while (enumerator->enumerate(enumerator, &child)) child->stale = TRUE;
  enumerator->destroy(enumerator);
}

void gw_ha_cache_mark(struct gw_ha_cache* this) {
  ike_sa_t* ike_sa;
  struct entry* entry;
  this->lock->lock(this->lock);
  enumerator_t* enumerator = this->entries->create_enumerator(this->entries);
  while (enumerator->enumerate(enumerator, &ike_sa, &entry)) mark_entry(entry);
  enumerator->destroy(enumerator);
  this->lock->unlock(this->lock);
}

void gw_ha_cache_seen(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  this->lock->lock(this->lock);
  struct entry* entry = entry_of(this, ike_sa);
  if (entry) entry->stale = FALSE;
  this->lock->unlock(this->lock);
}

bool gw_ha_cache_seen_child(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in) {
  this->lock->lock(this->lock);
  struct entry* entry = entry_of(this, ike_sa);
  struct child* child = entry ? child_of(this, entry, spi_in) : NULL;
  if (child) child->stale = FALSE;
  this->lock->unlock(this->lock);
  return child != NULL;
}

ike_sa_id_t* gw_ha_cache_other_parent(struct gw_ha_cache* this, ike_sa_id_t* id, uint32_t spi_in) {
  ike_sa_id_t* other = NULL;
  this->lock->lock(this->lock);
  struct child* child = child_with(this, spi_in);
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
  struct entry* entry;
  struct child* child;
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

/* --- life --------------------------------------------------------------------------------------------------------- */

void gw_ha_cache_destroy(struct gw_ha_cache* this) {
  ike_sa_t* ike_sa;
  struct entry* entry;
  enumerator_t* enumerator = this->entries->create_enumerator(this->entries);
  while (enumerator->enumerate(enumerator, &ike_sa, &entry)) entry_destroy(this, entry);
  enumerator->destroy(enumerator);
  this->children->destroy(this->children);
  this->entries->destroy(this->entries);
  this->lock->destroy(this->lock);
  free(this);
}

struct gw_ha_cache* gw_ha_cache_create(struct gw_ha_link* link) {
  struct gw_ha_cache* this;
  INIT(this, .link = link, .lock = mutex_create(MUTEX_TYPE_DEFAULT),
       .entries = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64),
       .children = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64));
  return this;
}
