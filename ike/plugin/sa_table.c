// SPDX-License-Identifier: GPL-2.0-or-later
/* See sa_table.h. A hash on the SPI (ours are random, the peers' are their choice; a peer that makes them
 * collide slows down only itself, and by a list walk) and one list in order of installation for replay. */
#include "sa_table.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096 /* one SA pair per bucket with 2,000 tunnels; 32 KiB */

struct gw_sa_table {
  struct gw_sa* buckets[BUCKETS];
  struct gw_sa* oldest;
  struct gw_sa* newest;
  uint64_t last_serial;
  size_t size;
};

bool gw_addr_equal(const struct gw_addr* a, const struct gw_addr* b) {
  return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

void gw_sa_params_clear(struct gw_sa_params* params) {
  free(params->local.list);
  free(params->remote.list);
  explicit_bzero(params, sizeof(*params));
}

struct gw_sa_table* gw_sa_table_create(void) { return calloc(1, sizeof(struct gw_sa_table)); }

static void sa_free(struct gw_sa* sa) {
  gw_sa_params_clear(&sa->params);
  free(sa);
}

void gw_sa_table_destroy(struct gw_sa_table* table) {
  if (!table) return;
  for (struct gw_sa* sa = table->oldest; sa;) {
    struct gw_sa* newer = sa->newer;
    sa_free(sa);
    sa = newer;
  }
  free(table);
}

static size_t bucket_of(uint32_t spi) { return (spi ^ (spi >> 12) ^ (spi >> 24)) % BUCKETS; }

static struct gw_sa* chain_of(const struct gw_sa_table* table, uint32_t spi) { return table->buckets[bucket_of(spi)]; }

static struct gw_sa* link_new(struct gw_sa_table* table, uint32_t spi, enum gw_sa_state state) {
  struct gw_sa* sa = calloc(1, sizeof(*sa));
  if (!sa) abort();
  sa->params.spi = spi;
  sa->state = state;
  sa->serial = ++table->last_serial;
  sa->older = table->newest;
  if (table->newest) {
    table->newest->newer = sa;
  } else {
    table->oldest = sa;
  }
  table->newest = sa;
  sa->hash_next = chain_of(table, spi);
  table->buckets[bucket_of(spi)] = sa;
  table->size++;
  return sa;
}

static void unlink_and_free(struct gw_sa_table* table, struct gw_sa* sa) {
  struct gw_sa** link = &table->buckets[bucket_of(sa->params.spi)];
  while (*link != sa) link = &(*link)->hash_next;
  *link = sa->hash_next;
  if (sa->older) {
    sa->older->newer = sa->newer;
  } else {
    table->oldest = sa->newer;
  }
  if (sa->newer) {
    sa->newer->older = sa->older;
  } else {
    table->newest = sa->older;
  }
  table->size--;
  sa_free(sa);
}

static struct gw_sa* find_reservation(const struct gw_sa_table* table, uint32_t spi) {
  for (struct gw_sa* sa = chain_of(table, spi); sa; sa = sa->hash_next) {
    if (sa->params.spi == spi && sa->state == GW_SA_RESERVED) return sa;
  }
  return NULL;
}

struct gw_sa* gw_sa_table_find(const struct gw_sa_table* table, const struct gw_sa_id* id) {
  for (struct gw_sa* sa = chain_of(table, id->spi); sa; sa = sa->hash_next) {
    if (sa->state == GW_SA_INSTALLED && sa->params.spi == id->spi && gw_addr_equal(&sa->params.path.dst, &id->dst)) {
      return sa;
    }
  }
  return NULL;
}

struct gw_sa* gw_sa_table_find_serial(const struct gw_sa_table* table, uint32_t spi, uint64_t serial) {
  for (struct gw_sa* sa = chain_of(table, spi); sa; sa = sa->hash_next) {
    if (sa->state == GW_SA_INSTALLED && sa->serial == serial) return sa;
  }
  return NULL;
}

bool gw_sa_table_reserve(struct gw_sa_table* table, uint32_t spi) {
  for (const struct gw_sa* sa = chain_of(table, spi); sa; sa = sa->hash_next) {
    if (sa->params.spi == spi) return false;
  }
  link_new(table, spi, GW_SA_RESERVED);
  return true;
}

struct gw_sa* gw_sa_table_put(struct gw_sa_table* table, struct gw_sa_params* params, uint64_t now_ms) {
  const struct gw_sa_id id = {.spi = params->spi, .dst = params->path.dst};
  if (gw_sa_table_find(table, &id)) {
    gw_sa_params_clear(params);
    return NULL;
  }
  if (params->direction == GW_INBOUND) {
    struct gw_sa* reservation = find_reservation(table, params->spi);
    if (reservation) unlink_and_free(table, reservation);
  }
  struct gw_sa* sa = link_new(table, params->spi, GW_SA_INSTALLED);
  sa->params = *params;
  sa->installed_ms = now_ms;
  explicit_bzero(params, sizeof(*params)); /* the selectors have moved */
  return sa;
}

enum gw_removed gw_sa_table_remove(struct gw_sa_table* table, const struct gw_sa_id* id) {
  struct gw_sa* sa = gw_sa_table_find(table, id);
  if (!sa) sa = find_reservation(table, id->spi);
  if (!sa) return GW_REMOVED_NOTHING;
  const enum gw_removed what = sa->state == GW_SA_INSTALLED ? GW_REMOVED_SA : GW_REMOVED_RESERVATION;
  unlink_and_free(table, sa);
  return what;
}

bool gw_sa_table_move(struct gw_sa_table* table, struct gw_sa* sa, const struct gw_path* path) {
  const struct gw_sa_id id = {.spi = sa->params.spi, .dst = path->dst};
  const struct gw_sa* other = gw_sa_table_find(table, &id);
  if (other && other != sa) return false;
  sa->params.path = *path; /* the hash is on the SPI alone */
  return true;
}

struct gw_sa* gw_sa_table_next(const struct gw_sa_table* table, const struct gw_sa* after) {
  struct gw_sa* sa = after ? after->newer : table->oldest;
  while (sa && sa->state != GW_SA_INSTALLED) sa = sa->newer;
  return sa;
}

size_t gw_sa_table_size(const struct gw_sa_table* table) { return table->size; }

/* By CHILD_SA (tunnel, reqid); within one the best to rekey first. */
static int compare_for_rekey(const void* left, const void* right) {
  const struct gw_sa* a = *(struct gw_sa* const*)left;
  const struct gw_sa* b = *(struct gw_sa* const*)right;
  if (a->params.tunnel_id != b->params.tunnel_id) return a->params.tunnel_id < b->params.tunnel_id ? -1 : 1;
  if (a->params.reqid != b->params.reqid) return a->params.reqid < b->params.reqid ? -1 : 1;
  if (a->params.direction != b->params.direction) return a->params.direction == GW_INBOUND ? -1 : 1;
  return a->serial > b->serial ? -1 : 1;
}

size_t gw_sa_table_pick_rekeys(const struct gw_sa_table* table, struct gw_sa** out, size_t room) {
  struct gw_sa** lost = calloc(table->size + 1, sizeof(*lost));
  if (!lost) abort();
  size_t count = 0;
  size_t picked = 0;
  for (struct gw_sa* sa = gw_sa_table_next(table, NULL); sa; sa = gw_sa_table_next(table, sa)) {
    if (sa->lost) lost[count++] = sa;
  }
  qsort(lost, count, sizeof(*lost), compare_for_rekey);
  for (size_t i = 0; i < count && picked < room; i++) {
    const bool same_child = i > 0 && lost[i]->params.tunnel_id == lost[i - 1]->params.tunnel_id &&
                            lost[i]->params.reqid == lost[i - 1]->params.reqid;
    if (!same_child) out[picked++] = lost[i];
  }
  free(lost);
  return picked;
}
