// SPDX-License-Identifier: GPL-2.0-or-later
/* See policy_table.h. A hash of tunnels, each with its few policies in order of arrival. A tunnel without policies
 * stays (40 bytes for each id ever configured): MOBIKE takes policies away and puts them back, and what was
 * activated must be remembered meanwhile. */
#include "policy_table.h"

#include <stdlib.h>

#define BUCKETS 1024

struct entry {
  struct gw_policy policy;
  uint32_t references; /* one for each selector pair */
  struct entry* earlier;
};

struct tunnel {
  uint32_t id;
  uint64_t activated_serial;
  struct entry* latest;
  struct tunnel* next;
};

struct gw_policy_table {
  struct tunnel* buckets[BUCKETS];
};

struct gw_policy_table* gw_policy_table_create(void) { return calloc(1, sizeof(struct gw_policy_table)); }

static struct tunnel* find(const struct gw_policy_table* table, uint32_t id) {
  struct tunnel* tunnel = table->buckets[id % BUCKETS];
  while (tunnel && tunnel->id != id) tunnel = tunnel->next;
  return tunnel;
}

static struct tunnel* find_or_add(struct gw_policy_table* table, uint32_t id) {
  struct tunnel* tunnel = find(table, id);
  if (tunnel) return tunnel;
  tunnel = calloc(1, sizeof(*tunnel));
  if (!tunnel) abort();
  tunnel->id = id;
  tunnel->next = table->buckets[id % BUCKETS];
  table->buckets[id % BUCKETS] = tunnel;
  return tunnel;
}

static void drop_tunnel(struct gw_policy_table* table, struct tunnel* tunnel) {
  struct tunnel** link = &table->buckets[tunnel->id % BUCKETS];
  while (*link != tunnel) link = &(*link)->next;
  *link = tunnel->next;
  free(tunnel);
}

/* The link that points to the policy, or to the end of the list. */
static struct entry** link_to(struct tunnel* tunnel, const struct gw_policy* policy) {
  struct entry** link = &tunnel->latest;
  while (*link && !((*link)->policy.sa.spi == policy->sa.spi && (*link)->policy.reqid == policy->reqid &&
                    gw_addr_equal(&(*link)->policy.sa.dst, &policy->sa.dst))) {
    link = &(*link)->earlier;
  }
  return link;
}

void gw_policy_table_add(struct gw_policy_table* table, const struct gw_policy* policy) {
  struct tunnel* tunnel = find_or_add(table, policy->tunnel_id);
  struct entry* entry = *link_to(tunnel, policy);
  if (!entry) {
    entry = calloc(1, sizeof(*entry));
    if (!entry) abort();
    entry->policy = *policy;
    entry->earlier = tunnel->latest;
    tunnel->latest = entry;
  }
  entry->references++;
}

void gw_policy_table_remove(struct gw_policy_table* table, const struct gw_policy* policy) {
  struct tunnel* tunnel = find(table, policy->tunnel_id);
  if (!tunnel) return;
  struct entry** link = link_to(tunnel, policy);
  struct entry* entry = *link;
  if (!entry || --entry->references > 0) return;
  *link = entry->earlier;
  free(entry);
}

void gw_policy_table_flush(struct gw_policy_table* table) {
  for (size_t i = 0; i < BUCKETS; i++) {
    while (table->buckets[i]) {
      struct tunnel* tunnel = table->buckets[i];
      while (tunnel->latest) {
        struct entry* earlier = tunnel->latest->earlier;
        free(tunnel->latest);
        tunnel->latest = earlier;
      }
      drop_tunnel(table, tunnel);
    }
  }
}

void gw_policy_table_destroy(struct gw_policy_table* table) {
  if (!table) return;
  gw_policy_table_flush(table);
  free(table);
}

struct gw_sa* gw_policy_table_current(const struct gw_policy_table* table, const struct gw_sa_table* sas,
                                      uint32_t tunnel_id) {
  const struct tunnel* tunnel = find(table, tunnel_id);
  for (const struct entry* entry = tunnel ? tunnel->latest : NULL; entry; entry = entry->earlier) {
    struct gw_sa* sa = entry->policy.sa.spi ? gw_sa_table_find(sas, &entry->policy.sa) : NULL;
    if (sa && sa->params.direction == GW_OUTBOUND) return sa;
  }
  return NULL;
}

bool gw_policy_table_trap(const struct gw_policy_table* table, uint32_t tunnel_id, uint32_t* reqid) {
  const struct tunnel* tunnel = find(table, tunnel_id);
  for (const struct entry* entry = tunnel ? tunnel->latest : NULL; entry; entry = entry->earlier) {
    if (entry->policy.sa.spi == 0) {
      *reqid = entry->policy.reqid;
      return true;
    }
  }
  return false;
}

uint64_t gw_policy_table_activated(const struct gw_policy_table* table, uint32_t tunnel_id) {
  const struct tunnel* tunnel = find(table, tunnel_id);
  return tunnel ? tunnel->activated_serial : 0;
}

void gw_policy_table_set_activated(struct gw_policy_table* table, uint32_t tunnel_id, uint64_t serial) {
  struct tunnel* tunnel = find(table, tunnel_id);
  if (tunnel) tunnel->activated_serial = serial;
}

void gw_policy_table_forget_activated(struct gw_policy_table* table) {
  for (size_t i = 0; i < BUCKETS; i++) {
    for (struct tunnel* tunnel = table->buckets[i]; tunnel; tunnel = tunnel->next) tunnel->activated_serial = 0;
  }
}
