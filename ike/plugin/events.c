// SPDX-License-Identifier: GPL-2.0-or-later
/* See events.h. charon answers these calls by queueing jobs, so none of them blocks for an exchange. */
#include "events.h"

#include <arpa/inet.h>

#include <daemon.h>
#include <processing/jobs/callback_job.h>

#include "convert.h"
#include "rpc.h"

static void expire(const struct gw_sa_id* id, bool hard) {
  host_t* dst = gw_addr_to_host(&id->dst, 0);
  charon->kernel->expire(charon->kernel, IPPROTO_ESP, htonl(id->spi), dst, hard);
  dst->destroy(dst);
}

static void acquire(const struct gw_action* action) {
  kernel_acquire_data_t data = {0};
  if (action->src.len) {
    data.src = gw_addr_to_selector(&action->src);
    data.dst = gw_addr_to_selector(&action->dst);
  }
  charon->kernel->acquire(charon->kernel, action->reqid, &data);
  DESTROY_IF(data.src);
  DESTROY_IF(data.dst);
}

static void mapping(const struct gw_action* action) {
  host_t* dst = gw_addr_to_host(&action->sa.dst, 0);
  host_t* seen = gw_addr_to_host(&action->src, action->src_port);
  charon->kernel->mapping(charon->kernel, IPPROTO_ESP, htonl(action->sa.spi), dst, seen);
  dst->destroy(dst);
  seen->destroy(seen);
}

/* --- time lifetimes ------------------------------------------------------------------------------------------- */

#define REPEAT_S 15

struct timer {
  struct gw_rpc* rpc;
  uint32_t spi;
  uint64_t serial;
  bool hard;             /* what comes next */
  uint32_t hard_after_s; /* the soft limit; 0: no hard limit follows */
};

/* An SA of the other instance's is past its soft limit here, where a passive IKE_SA does not rekey it: the other
 * instance is about to. Should the SA be taken over first, the limit must be raised again. */
static job_requeue_t repeat_soft(struct timer* timer) {
  if (!timer->hard_after_s) return JOB_RESCHEDULE(REPEAT_S);
  if (timer->hard_after_s > REPEAT_S) {
    timer->hard_after_s -= REPEAT_S;
    return JOB_RESCHEDULE(REPEAT_S);
  }
  timer->hard = TRUE;
  return JOB_RESCHEDULE(timer->hard_after_s);
}

CALLBACK(time_is_up, job_requeue_t, struct timer* timer) {
  struct gw_sa_id id;
  const struct gw_session* session = gw_rpc_enter(timer->rpc);
  const struct gw_sa* sa =
      gw_sa_table_find_serial(gw_session_sas((struct gw_session*)session), timer->spi, timer->serial);
  const bool alive = sa != NULL;
  const bool synced = alive && sa->params.origin == GW_SYNCED;
  if (alive) id = (struct gw_sa_id){.spi = sa->params.spi, .dst = sa->params.path.dst}; /* MOBIKE may have moved it */
  gw_rpc_leave(timer->rpc);
  if (!alive) return JOB_REQUEUE_NONE;
  expire(&id, timer->hard);
  if (synced && !timer->hard) return repeat_soft(timer);
  if (timer->hard || !timer->hard_after_s) return JOB_REQUEUE_NONE;
  timer->hard = TRUE;
  return JOB_RESCHEDULE(timer->hard_after_s);
}

void gw_events_schedule(struct gw_rpc* rpc, uint32_t spi, uint64_t serial, struct gw_lifetime lifetime) {
  const bool soft_first =
      lifetime.soft_seconds && (!lifetime.hard_seconds || lifetime.soft_seconds < lifetime.hard_seconds);
  struct timer* timer;
  if (!lifetime.soft_seconds && !lifetime.hard_seconds) return;
  INIT(timer, .rpc = rpc, .spi = spi, .serial = serial, .hard = !soft_first);
  if (soft_first && lifetime.hard_seconds) timer->hard_after_s = lifetime.hard_seconds - lifetime.soft_seconds;
  const uint32_t first_s = soft_first ? lifetime.soft_seconds : lifetime.hard_seconds;
  lib->scheduler->schedule_job(lib->scheduler, (job_t*)callback_job_create(time_is_up, timer, free, NULL), first_s);
}

/* --- lost SAs ------------------------------------------------------------------------------------------------- */

CALLBACK(still_lost, job_requeue_t, struct timer* timer) {
  struct gw_sa_id id;
  struct gw_session* session = gw_rpc_enter(timer->rpc);
  struct gw_sa* sa = gw_sa_table_find_serial(gw_session_sas(session), timer->spi, timer->serial);
  const bool lost = sa && sa->lost;
  if (lost) id = (struct gw_sa_id){.spi = sa->params.spi, .dst = sa->params.path.dst};
  if (sa) sa->asked_for = lost;
  gw_rpc_leave(timer->rpc);
  if (!lost) return JOB_REQUEUE_NONE;
  expire(&id, FALSE);
  return JOB_RESCHEDULE(REPEAT_S);
}

static void repeat_while_lost(struct gw_rpc* rpc, uint32_t spi, uint64_t serial) {
  struct timer* timer;
  INIT(timer, .rpc = rpc, .spi = spi, .serial = serial);
  lib->scheduler->schedule_job(lib->scheduler, (job_t*)callback_job_create(still_lost, timer, free, NULL), REPEAT_S);
}

/* --- what a session raises ------------------------------------------------------------------------------------ */

void gw_events_raise(struct gw_rpc* rpc, struct gw_action* actions) {
  while (actions) {
    struct gw_action* next = actions->next;
    switch (actions->kind) {
      case GW_RAISE_SOFT_EXPIRE:
        expire(&actions->sa, FALSE);
        if (actions->serial) repeat_while_lost(rpc, actions->sa.spi, actions->serial);
        break;
      case GW_RAISE_HARD_EXPIRE: expire(&actions->sa, TRUE); break;
      case GW_RAISE_ACQUIRE: acquire(actions); break;
      case GW_RAISE_MAPPING: mapping(actions); break;
    }
    free(actions);
    actions = next;
  }
}
