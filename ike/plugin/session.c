// SPDX-License-Identifier: GPL-2.0-or-later
/* See session.h. Requests and their answers are matched in order, as the contract promises. */
#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_private.h"

void gw_session_log(const struct gw_session* session, enum gw_log_level level, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  session->env.log(level, text);
}

struct gw_session* gw_session_create(const struct gw_session_env* env) {
  struct gw_session* session = calloc(1, sizeof(*session));
  if (!session) abort();
  session->env = *env;
  session->sas = gw_sa_table_create();
  session->policies = gw_policy_table_create();
  if (!session->sas || !session->policies) abort();
  session->out_end = &session->out;
  session->requests_end = &session->requests;
  session->actions_end = &session->actions;
  return session;
}

void gw_session_destroy(struct gw_session* session) {
  if (!session) return;
  gw_session_lost(session);
  for (struct gw_action* action = gw_session_take_actions(session); action;) {
    struct gw_action* next = action->next;
    free(action);
    action = next;
  }
  gw_sa_table_destroy(session->sas);
  gw_policy_table_destroy(session->policies);
  free(session);
}

struct gw_sa_table* gw_session_sas(struct gw_session* session) { return session->sas; }
enum gw_session_state gw_session_state(const struct gw_session* session) { return session->state; }
size_t gw_session_unanswered(const struct gw_session* session) { return session->unanswered; }

/* --- queues ------------------------------------------------------------------------------------------------- */

struct gw_frame* gw_session_to_send(struct gw_session* session) { return session->out ? &session->out->frame : NULL; }

void gw_session_sent(struct gw_session* session) {
  struct gw_out* out = session->out;
  session->out = out->next;
  if (!session->out) session->out_end = &session->out;
  gw_frame_clear(&out->frame);
  free(out);
}

struct gw_action* gw_session_take_actions(struct gw_session* session) {
  struct gw_action* actions = session->actions;
  session->actions = NULL;
  session->actions_end = &session->actions;
  return actions;
}

void gw_session_raise(struct gw_session* session, const struct gw_action* template) {
  struct gw_action* action = malloc(sizeof(*action));
  if (!action) abort();
  *action = *template;
  action->next = NULL;
  *session->actions_end = action;
  session->actions_end = &action->next;
}

uint64_t gw_session_next_id(const struct gw_session* session) { return session->last_request + 1; }

void gw_session_enqueue(struct gw_session* session, struct gw_frame frame, const struct gw_request* about) {
  struct gw_request* request = malloc(sizeof(*request));
  struct gw_out* out = calloc(1, sizeof(*out));
  if (!request || !out) abort();
  *request = *about;
  request->id = ++session->last_request;
  request->next = NULL;
  *session->requests_end = request;
  session->requests_end = &request->next;
  session->unanswered++;
  out->frame = frame;
  *session->out_end = out;
  session->out_end = &out->next;
  if (request->wait) request->wait->outcome = GW_PENDING;
}

struct gw_request* gw_session_pop_request(struct gw_session* session) {
  struct gw_request* request = session->requests;
  if (!request) return NULL;
  session->requests = request->next;
  if (!session->requests) session->requests_end = &session->requests;
  session->unanswered--;
  return request;
}

/* --- the connection ----------------------------------------------------------------------------------------- */

void gw_session_connected(struct gw_session* session) {
  session->state = GW_SESSION_GREETING;
  gw_session_enqueue(session, gw_message_hello(gw_session_next_id(session), &session->env.hello),
                     &(struct gw_request){.kind = GW_REQUEST_HELLO});
}

void gw_session_lost(struct gw_session* session) {
  struct gw_request* request;
  session->state = GW_SESSION_AWAY;
  session->replays = 0;
  while ((request = gw_session_pop_request(session))) {
    if (request->wait) request->wait->outcome = GW_AWAY;
    free(request);
  }
  while (session->out) gw_session_sent(session);
}

void gw_session_send_add(struct gw_session* session, const struct gw_sa* sa, enum gw_occasion occasion,
                         struct gw_wait* wait) {
  const struct gw_request about = {
      .kind = GW_REQUEST_ADD_SA,
      .sa = {.spi = sa->params.spi, .dst = sa->params.path.dst},
      .serial = sa->serial,
      .occasion = occasion,
      .wait = wait,
  };
  gw_session_enqueue(session, gw_message_add_sa(gw_session_next_id(session), sa, session->env.now_ms()), &about);
}

/* --- charon's side ------------------------------------------------------------------------------------------ */

static bool talking(const struct gw_session* session) {
  return session->state == GW_SESSION_REPLAYING || session->state == GW_SESSION_READY;
}

static void refuse(struct gw_wait* wait, const char* message) {
  wait->outcome = GW_REFUSED;
  snprintf(wait->message, sizeof(wait->message), "%s", message);
}

void gw_session_add_sa(struct gw_session* session, struct gw_sa_params* params, struct gw_wait* wait) {
  const struct gw_sa* sa = gw_sa_table_put(session->sas, params, session->env.now_ms());
  wait->outcome = GW_AWAY;
  if (!sa) {
    refuse(wait, "an SA with this SPI and destination is installed already");
  } else if (talking(session)) {
    gw_session_send_add(session, sa, GW_FIRST_TIME, wait);
  }
}

void gw_session_announce_spi(struct gw_session* session, const struct gw_sa_id* id, struct gw_wait* wait) {
  wait->outcome = GW_AWAY;
  if (!talking(session)) return; /* it is a favour to early packets, not state: never replayed */
  gw_session_enqueue(session, gw_message_reserve_spi(gw_session_next_id(session), id),
                     &(struct gw_request){.kind = GW_REQUEST_RESERVE_SPI, .sa = *id, .wait = wait});
}

void gw_session_update_sa(struct gw_session* session, const struct gw_sa_id* id, const struct gw_path* path,
                          struct gw_wait* wait) {
  struct gw_sa* sa = gw_sa_table_find(session->sas, id);
  wait->outcome = GW_AWAY;
  if (!sa) {
    refuse(wait, "no such SA");
    return;
  }
  const struct gw_request about = {
      .kind = GW_REQUEST_UPDATE_SA, .sa = *id, .serial = sa->serial, .old_path = sa->params.path, .wait = wait};
  if (!gw_sa_table_move(session->sas, sa, path)) {
    refuse(wait, "another SA has this SPI at the new destination");
  } else if (talking(session)) {
    gw_session_enqueue(session, gw_message_update_sa(gw_session_next_id(session), id, path), &about);
  }
}

void gw_session_query_sa(struct gw_session* session, const struct gw_sa_id* id, struct gw_wait* wait) {
  const struct gw_sa* sa = gw_sa_table_find(session->sas, id);
  wait->outcome = GW_AWAY;
  if (!sa) {
    refuse(wait, "no such SA");
  } else if (session->state == GW_SESSION_READY) { /* while replaying, the cached counters have to do */
    gw_session_enqueue(
        session, gw_message_query_sa(gw_session_next_id(session), id),
        &(struct gw_request){.kind = GW_REQUEST_QUERY_SA, .sa = *id, .serial = sa->serial, .wait = wait});
  }
}

void gw_session_del_sa(struct gw_session* session, const struct gw_sa_id* id) {
  if (gw_sa_table_remove(session->sas, id) != GW_REMOVED_NOTHING && talking(session)) {
    gw_session_enqueue(session, gw_message_del_sa(gw_session_next_id(session), id),
                       &(struct gw_request){.kind = GW_REQUEST_DEL_SA, .sa = *id});
  }
}

void gw_session_flush_sas(struct gw_session* session) {
  const struct gw_sa* sa;
  while ((sa = gw_sa_table_next(session->sas, NULL))) {
    const struct gw_sa_id id = {.spi = sa->params.spi, .dst = sa->params.path.dst};
    gw_session_del_sa(session, &id);
  }
}

void gw_session_activate(struct gw_session* session, uint32_t tunnel_id) {
  const struct gw_sa* sa = gw_policy_table_current(session->policies, session->sas, tunnel_id);
  if (session->state != GW_SESSION_READY || !sa || !sa->acknowledged || sa->lost ||
      gw_policy_table_activated(session->policies, tunnel_id) == sa->serial) {
    return;
  }
  const struct gw_sa_id id = {.spi = sa->params.spi, .dst = sa->params.path.dst};
  gw_policy_table_set_activated(session->policies, tunnel_id, sa->serial);
  gw_session_enqueue(session, gw_message_activate(gw_session_next_id(session), &id),
                     &(struct gw_request){.kind = GW_REQUEST_ACTIVATE, .sa = id});
}

void gw_session_add_policy(struct gw_session* session, const struct gw_policy* policy) {
  gw_policy_table_add(session->policies, policy);
  gw_session_activate(session, policy->tunnel_id);
}

void gw_session_del_policy(struct gw_session* session, const struct gw_policy* policy) {
  gw_policy_table_remove(session->policies, policy);
  gw_session_activate(session, policy->tunnel_id); /* the loser of a rekey collision has gone */
}

void gw_session_flush_policies(struct gw_session* session) { gw_policy_table_flush(session->policies); }

void gw_session_abandon(struct gw_session* session, const struct gw_wait* wait) {
  for (struct gw_request* request = session->requests; request; request = request->next) {
    if (request->wait == wait) request->wait = NULL;
  }
}
