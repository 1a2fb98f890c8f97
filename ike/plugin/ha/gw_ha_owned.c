// SPDX-License-Identifier: GPL-2.0-or-later
/* See gw_ha_owned.h. */
#include "gw_ha_owned.h"

#include <collections/array.h>
#include <collections/linked_list.h>
#include <processing/jobs/delete_child_sa_job.h>
#include <processing/jobs/rekey_child_sa_job.h>
#include <processing/jobs/rekey_ike_sa_job.h>

#include <unistd.h>

#define EXCHANGE_TRIES 15 /* a round trip of 300 ms is had in time */
#define EXCHANGE_WAIT_US 20000
#define OVERDUE_S 1 /* when the move is over */

struct gw_ha_owned {
  linked_list_t* hosts;
};

/* --- the set ------------------------------------------------------------------------------------------------------ */

static host_t* find(struct gw_ha_owned* this, host_t* host) {
  host_t *current, *found = NULL;
  enumerator_t* enumerator = this->hosts->create_enumerator(this->hosts);
  while (!found && enumerator->enumerate(enumerator, &current)) {
    if (current->ip_equals(current, host)) found = current;
  }
  enumerator->destroy(enumerator);
  return found;
}

bool gw_ha_owned_has(struct gw_ha_owned* this, host_t* host) { return find(this, host) != NULL; }

linked_list_t* gw_ha_owned_list(struct gw_ha_owned* this) { return this->hosts; }

/* --- moves -------------------------------------------------------------------------------------------------------- */

/* Ids of the IKE_SAs of `host`, for checkout. What changes an IKE_SA locks the bus; the enumerator has a lock of the
 * manager's that whoever holds the bus may want (gw_ha_end.c): nothing is changed while it runs. */
static array_t* ids_of(host_t* host) {
  ike_sa_t* ike_sa;
  array_t* ids = array_create(0, 0);
  enumerator_t* enumerator = charon->ike_sa_manager->create_enumerator(charon->ike_sa_manager, TRUE);
  while (enumerator->enumerate(enumerator, &ike_sa)) {
    host_t* own = ike_sa->get_my_host(ike_sa);
    if (!own->ip_equals(own, host)) continue;
    ike_sa_id_t* id = ike_sa->get_id(ike_sa);
    array_insert(ids, ARRAY_TAIL, id->clone(id));
  }
  enumerator->destroy(enumerator);
  return ids;
}

/* The next one that is still there, checked out; NULL, and `ids` is gone, after the last. */
static ike_sa_t* next_of(array_t* ids) {
  ike_sa_id_t* id;
  while (array_remove(ids, ARRAY_HEAD, &id)) {
    ike_sa_t* ike_sa = charon->ike_sa_manager->checkout(charon->ike_sa_manager, id);
    id->destroy(id);
    if (ike_sa) return ike_sa;
  }
  array_destroy(ids);
  return NULL;
}

static void check_in(ike_sa_t* ike_sa) { charon->ike_sa_manager->checkin(charon->ike_sa_manager, ike_sa); }

static void destroy_incomplete(ike_sa_t* ike_sa, const char* why) {
  DBG1(DBG_IKE, "gw-ha: destroying IKE_SA %s[%d], incomplete when its address was %s", ike_sa->get_name(ike_sa),
       ike_sa->get_unique_id(ike_sa), why);
  charon->ike_sa_manager->checkin_and_destroy(charon->ike_sa_manager, ike_sa);
}

static void do_soon(job_t* job) { lib->scheduler->schedule_job(lib->scheduler, job, OVERDUE_S); }

/* A passive IKE_SA lets the time of its rekeying go by, and of its CHILD_SAs' rekeying and closing: charon schedules
 * each once, also of an SA that was ours before it was passive. To be made up for, or the SA lives until its hard
 * lifetime cuts the tunnel, or for ever. A time of 0 is scheduled anew when the IKE_SA is established. */
static void make_up_for_jobs(ike_sa_t* ike_sa) {
  child_sa_t* child_sa;
  const time_t now = time_monotonic(NULL);
  const time_t due = ike_sa->get_statistic(ike_sa, STAT_REKEY);
  if (due && due <= now) {
    ike_sa->set_statistic(ike_sa, STAT_REKEY, 0);
    do_soon((job_t*)rekey_ike_sa_job_create(ike_sa->get_id(ike_sa), FALSE));
  }
  enumerator_t* enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
  while (enumerator->enumerate(enumerator, &child_sa)) {
    if (child_sa->get_state(child_sa) == CHILD_DELETED) /* kept for what was still on its way */
      do_soon((job_t*)delete_child_sa_job_create_id(child_sa->get_unique_id(child_sa)));
    const time_t child_due = child_sa->get_lifetime(child_sa, FALSE);
    if (!child_due || child_due > now || child_sa->get_state(child_sa) != CHILD_INSTALLED) continue;
    do_soon((job_t*)rekey_child_sa_job_create(child_sa->get_protocol(child_sa), child_sa->get_spi(child_sa, TRUE),
                                              ike_sa->get_my_host(ike_sa)));
  }
  enumerator->destroy(enumerator);
}

uint32_t gw_ha_owned_take(struct gw_ha_owned* this, host_t* host) {
  ike_sa_t* ike_sa;
  uint32_t count = 0;
  const bool changes = !find(this, host);
  if (changes) this->hosts->insert_last(this->hosts, host->clone(host));
  array_t* ids = ids_of(host);
  while ((ike_sa = next_of(ids))) {
    const ike_sa_state_t state = ike_sa->get_state(ike_sa);
    if (state == IKE_CONNECTING && changes && !ike_sa->get_peer_cfg(ike_sa)) {
      destroy_incomplete(ike_sa, "taken"); /* of the former owner's; an own one begins after this */
      continue;
    }
    if (state == IKE_PASSIVE) {
      make_up_for_jobs(ike_sa);
      ike_sa->set_state(ike_sa, IKE_ESTABLISHED);
    }
    count += state != IKE_CONNECTING;
    check_in(ike_sa);
  }
  return count;
}

static bool is_busy(ike_sa_t* ike_sa) {
  task_t* task;
  enumerator_t* enumerator = ike_sa->create_task_enumerator(ike_sa, TASK_QUEUE_ACTIVE);
  const bool busy = enumerator->enumerate(enumerator, &task);
  enumerator->destroy(enumerator);
  return busy;
}

/* One pass; returns how many still have an exchange under way. Those are passive all the same with `force`. */
static uint32_t make_passive(host_t* host, bool force, uint32_t* count) {
  ike_sa_t* ike_sa;
  uint32_t busy = 0;
  *count = 0;
  array_t* ids = ids_of(host);
  while ((ike_sa = next_of(ids))) {
    const ike_sa_state_t state = ike_sa->get_state(ike_sa);
    const bool active = state == IKE_ESTABLISHED || state == IKE_REKEYING;
    if (!force && (state == IKE_CONNECTING || (active && is_busy(ike_sa)))) {
      busy++;
    } else if (state == IKE_CONNECTING) {
      destroy_incomplete(ike_sa, "released");
      continue;
    } else if (active) {
      ike_sa->set_state(ike_sa, IKE_PASSIVE);
      (*count)++;
    } else {
      *count += state == IKE_PASSIVE;
    }
    check_in(ike_sa);
  }
  return busy;
}

uint32_t gw_ha_owned_release(struct gw_ha_owned* this, host_t* host) {
  uint32_t count;
  host_t* known = find(this, host);
  if (known) {
    this->hosts->remove(this->hosts, known, NULL);
    known->destroy(known);
  }
  for (int i = 0; i < EXCHANGE_TRIES && make_passive(host, FALSE, &count) > 0; i++) usleep(EXCHANGE_WAIT_US);
  /* An IKE_SA that a rekeying made while the first pass was under way is found by the second one. */
  for (int i = 0; i < 2; i++) make_passive(host, TRUE, &count);
  return count;
}

/* --- leftovers ---------------------------------------------------------------------------------------------------- */

static child_sa_t* older_twin(ike_sa_t* ike_sa) {
  child_sa_t *a, *b, *found = NULL;
  enumerator_t* outer = ike_sa->create_child_sa_enumerator(ike_sa);
  while (!found && outer->enumerate(outer, &a)) {
    enumerator_t* inner = ike_sa->create_child_sa_enumerator(ike_sa);
    while (!found && inner->enumerate(inner, &b)) {
      if (a->get_state(a) == CHILD_INSTALLED && b->get_state(b) == CHILD_INSTALLED &&
          streq(a->get_name(a), b->get_name(b)) && a->get_unique_id(a) < b->get_unique_id(b)) {
        found = a;
      }
    }
    inner->destroy(inner);
  }
  outer->destroy(outer);
  return found;
}

void gw_ha_owned_delete_leftovers(host_t* host) {
  ike_sa_t* ike_sa;
  array_t* ids = ids_of(host);
  while ((ike_sa = next_of(ids))) {
    child_sa_t* child = ike_sa->get_state(ike_sa) == IKE_ESTABLISHED ? older_twin(ike_sa) : NULL;
    status_t status = SUCCESS;
    if (child) {
      DBG1(DBG_IKE, "gw-ha: deleting CHILD_SA %s{%d}, which a rekeying left when its owner stopped",
           child->get_name(child), child->get_unique_id(child));
      status = ike_sa->delete_child_sa(ike_sa, child->get_protocol(child), child->get_spi(child, TRUE), FALSE);
    }
    if (status == DESTROY_ME) {
      charon->ike_sa_manager->checkin_and_destroy(charon->ike_sa_manager, ike_sa);
    } else {
      check_in(ike_sa);
    }
  }
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct gw_ha_owned* gw_ha_owned_create(void) {
  struct gw_ha_owned* this;
  INIT(this, .hosts = linked_list_create());
  return this;
}

void gw_ha_owned_destroy(struct gw_ha_owned* this) {
  this->hosts->destroy_offset(this->hosts, offsetof(host_t, destroy));
  free(this);
}
