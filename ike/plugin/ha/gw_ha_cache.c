// SPDX-License-Identifier: GPL-2.0-or-later
/* See gw_ha_cache.h. */
#include "gw_ha_cache_private.h"

/* --- entries (locked) --------------------------------------------------------------------------------------------- */

static void* key_of(uint32_t spi_in) { return (void*)(uintptr_t)spi_in; }

/* Of whatever entry. */
struct gw_ha_child* gw_ha_cache_child_with(struct gw_ha_cache* this, uint32_t spi_in) {
  return this->children->get(this->children, key_of(spi_in));
}

static void child_destroy(struct gw_ha_cache* this, struct gw_ha_child* child) {
  if (gw_ha_cache_child_with(this, child->spi_in) == child)
    this->children->remove(this->children, key_of(child->spi_in));
  child->add->destroy(child->add);
  free(child);
}

static void entry_destroy(struct gw_ha_cache* this, struct gw_ha_entry* entry) {
  struct gw_ha_child* child;
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

struct gw_ha_entry* gw_ha_cache_entry_of(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  return this->entries->get(this->entries, ike_sa);
}

static struct gw_ha_entry* entry_made(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  struct gw_ha_entry* entry = gw_ha_cache_entry_of(this, ike_sa);
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
static void keep(struct gw_ha_entry* entry, ha_message_t* message) {
  switch (message->get_type(message)) {
    case HA_IKE_ADD: entry->adds->insert_last(entry->adds, message); break;
    case HA_IKE_UPDATE: replace(is_whole(message) ? &entry->update : &entry->moved, message); break;
    case HA_IKE_MID_INITIATOR: replace(&entry->mid_initiator, message); break;
    case HA_IKE_MID_RESPONDER: replace(&entry->mid_responder, message); break;
    case HA_IKE_IV: replace(&entry->iv, message); break;
    default: message->destroy(message); break;
  }
}

struct gw_ha_child* gw_ha_cache_child_of(struct gw_ha_cache* this, struct gw_ha_entry* entry, uint32_t spi_in) {
  struct gw_ha_child* child = gw_ha_cache_child_with(this, spi_in);
  return child && child->parent == entry ? child : NULL;
}

static struct gw_ha_child* keep_child(struct gw_ha_cache* this, struct gw_ha_entry* entry, uint32_t spi_in,
                                      ha_message_t* message) {
  struct gw_ha_child* child = gw_ha_cache_child_of(this, entry, spi_in);
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

void gw_ha_cache_push(struct gw_ha_cache* this, ha_message_t* message) {
  if (message) gw_ha_link_push(this->link, message);
}

static void push_pending(struct gw_ha_cache* this, struct gw_ha_entry* entry) {
  struct gw_ha_child* child;
  enumerator_t* enumerator = entry->children->create_enumerator(entry->children);
  while (enumerator->enumerate(enumerator, &child)) {
    if (child->pending) gw_ha_cache_push(this, child->add);
    child->pending = FALSE;
  }
  enumerator->destroy(enumerator);
}

void gw_ha_cache_push_all(struct gw_ha_cache* this, struct gw_ha_entry* entry) {
  ha_message_t* message;
  struct gw_ha_child* child;
  enumerator_t* enumerator = entry->adds->create_enumerator(entry->adds);
  while (enumerator->enumerate(enumerator, &message)) gw_ha_cache_push(this, message);
  enumerator->destroy(enumerator);
  gw_ha_cache_push(this, entry->update);
  gw_ha_cache_push(this, entry->moved);
  gw_ha_cache_push(this, entry->mid_initiator);
  gw_ha_cache_push(this, entry->mid_responder);
  gw_ha_cache_push(this, entry->iv);
  enumerator = entry->children->create_enumerator(entry->children);
  while (enumerator->enumerate(enumerator, &child)) {
    if (!child->pending) gw_ha_cache_push(this, child->add);
  }
  enumerator->destroy(enumerator);
}

/* --- ours --------------------------------------------------------------------------------------------------------- */

/* An entry can be older than the peer's half of the id. */
static void set_id(struct gw_ha_entry* entry, ike_sa_id_t* id) {
  struct gw_ha_child* child;
  entry->id->destroy(entry->id);
  entry->id = id->clone(id);
  enumerator_t* enumerator = entry->children->create_enumerator(entry->children);
  while (enumerator->enumerate(enumerator, &child)) set_parent(child->add, id);
  enumerator->destroy(enumerator);
}

static void say_and_keep(struct gw_ha_cache* this, struct gw_ha_entry* entry, ha_message_t* message) {
  const ha_message_type_t type = message->get_type(message);
  if (entry->told) {
    if (type == HA_IKE_MID_RESPONDER) push_pending(this, entry);
    gw_ha_cache_push(this, message);
    keep(entry, message);
    return;
  }
  keep(entry, message);
  if (type == HA_IKE_UPDATE && entry->update) { /* it is established */
    entry->told = TRUE;
    gw_ha_cache_push_all(this, entry);
  }
}

void gw_ha_cache_ours(struct gw_ha_cache* this, ike_sa_t* ike_sa, ha_message_t* message) {
  const ha_message_type_t type = message->get_type(message);
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = type == HA_IKE_ADD ? entry_made(this, ike_sa) : gw_ha_cache_entry_of(this, ike_sa);
  if (type == HA_IKE_DELETE) {
    if (entry) {
      if (entry->told) gw_ha_cache_push(this, message);
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
  struct gw_ha_entry* entry = gw_ha_cache_entry_of(this, ike_sa);
  if (entry) {
    struct gw_ha_child* child = keep_child(this, entry, spi_in, message);
    child->pending = !initiator && ike_sa->get_version(ike_sa) == IKEV2; /* IKEv1 has no numbers to tell an answer by */
    if (!child->pending && entry->told) gw_ha_cache_push(this, message);
  } else {
    message->destroy(message);
  }
  this->lock->unlock(this->lock);
}

static bool remove_child(struct gw_ha_cache* this, struct gw_ha_entry* entry, uint32_t spi_in, bool* was_told) {
  struct gw_ha_child* child = gw_ha_cache_child_of(this, entry, spi_in);
  if (!child) return FALSE;
  if (was_told) *was_told = !child->pending;
  entry->children->remove(entry->children, child, NULL);
  child_destroy(this, child);
  return TRUE;
}

void gw_ha_cache_child_gone(struct gw_ha_cache* this, ike_sa_t* ike_sa, uint32_t spi_in) {
  bool told = FALSE;
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = gw_ha_cache_entry_of(this, ike_sa);
  if (entry && remove_child(this, entry, spi_in, &told) && told && entry->told) {
    ha_message_t* message = ha_message_create(HA_CHILD_DELETE);
    message->add_attribute(message, HA_IKE_ID, ike_sa->get_id(ike_sa));
    message->add_attribute(message, HA_INBOUND_SPI, spi_in);
    gw_ha_cache_push(this, message);
    message->destroy(message);
  }
  this->lock->unlock(this->lock);
}

/* --- theirs ------------------------------------------------------------------------------------------------------- */

void gw_ha_cache_theirs(struct gw_ha_cache* this, ike_sa_t* ike_sa, ha_message_t* message) {
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = entry_made(this, ike_sa);
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
  struct gw_ha_entry* entry = gw_ha_cache_entry_of(this, ike_sa);
  if (entry) remove_child(this, entry, spi_in, NULL);
  this->lock->unlock(this->lock);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static struct gw_ha_entry* entry_with(struct gw_ha_cache* this, ike_sa_id_t* id) {
  ike_sa_t* ike_sa;
  struct gw_ha_entry *entry, *found = NULL;
  enumerator_t* enumerator = this->entries->create_enumerator(this->entries);
  while (!found && enumerator->enumerate(enumerator, &ike_sa, &entry)) {
    if (entry->id->equals(entry->id, id)) found = entry;
  }
  enumerator->destroy(enumerator);
  return found;
}

void gw_ha_cache_inherit(struct gw_ha_cache* this, ike_sa_t* old, ike_sa_id_t* new_id) {
  struct gw_ha_child* child;
  this->lock->lock(this->lock);
  struct gw_ha_entry* from = gw_ha_cache_entry_of(this, old);
  struct gw_ha_entry* to = entry_with(this, new_id);
  while (from && to && from != to && from->children->remove_first(from->children, (void**)&child) == SUCCESS) {
    set_parent(child->add, new_id);
    child->parent = to;
    to->children->insert_last(to->children, child);
  }
  this->lock->unlock(this->lock);
}

/* Takes the child from whatever entry but `to` has it. */
static void take_child(struct gw_ha_cache* this, struct gw_ha_entry* to, uint32_t spi_in) {
  struct gw_ha_child* child = gw_ha_cache_child_with(this, spi_in);
  if (!child || child->parent == to) return;
  child->parent->children->remove(child->parent->children, child, NULL);
  set_parent(child->add, to->id);
  child->parent = to;
  to->children->insert_last(to->children, child);
}

void gw_ha_cache_adopt(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  child_sa_t* child_sa;
  this->lock->lock(this->lock);
  struct gw_ha_entry* to = entry_made(this, ike_sa);
  enumerator_t* enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
  while (enumerator->enumerate(enumerator, &child_sa)) take_child(this, to, child_sa->get_spi(child_sa, TRUE));
  enumerator->destroy(enumerator);
  this->lock->unlock(this->lock);
}

void gw_ha_cache_forget(struct gw_ha_cache* this, ike_sa_t* ike_sa) {
  this->lock->lock(this->lock);
  struct gw_ha_entry* entry = this->entries->remove(this->entries, ike_sa);
  if (entry) {
    if (entry->told && ike_sa->get_state(ike_sa) != IKE_PASSIVE) {
      ha_message_t* message = ha_message_create(HA_IKE_DELETE);
      message->add_attribute(message, HA_IKE_ID, entry->id);
      gw_ha_cache_push(this, message);
      message->destroy(message);
    }
    entry_destroy(this, entry);
  }
  this->lock->unlock(this->lock);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void gw_ha_cache_destroy(struct gw_ha_cache* this) {
  ike_sa_t* ike_sa;
  struct gw_ha_entry* entry;
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
