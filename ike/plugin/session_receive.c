// SPDX-License-Identifier: GPL-2.0-or-later
/* What comes from gw-fastpath: answers to our requests, and events. See session.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "session_private.h"

typedef Gw__Fastpath__V1__Response Response;

static Gw__Fastpath__V1__Code code_of(const Response* response) {
  return response->status ? response->status->code : GW__FASTPATH__V1__CODE__OK; /* proto3: an absent one is OK */
}

/* "LIMIT: SA table is full (4096)", with the field where the server names one. */
static const char* describe(const Response* response, char* text, size_t size) {
  const Gw__Fastpath__V1__Status* status = response->status;
  snprintf(text, size, "%s%s%s%s%s", gw_message_code_name(code_of(response)), *status->message ? ": " : "",
           status->message, *status->field ? ", field " : "", status->field);
  return text;
}

static struct gw_sa* sa_of(const struct gw_session* session, const struct gw_request* request) {
  return gw_sa_table_find_serial(session->sas, request->sa.spi, request->serial);
}

static struct gw_sa_id id_of(const struct gw_sa* sa) {
  return (struct gw_sa_id){.spi = sa->params.spi, .dst = sa->params.path.dst};
}

static void raise_expire(struct gw_session* session, const struct gw_sa* sa, enum gw_action_kind kind) {
  gw_session_raise(session, &(struct gw_action){.kind = kind, .sa = id_of(sa)});
}

/* A passive IKE_SA (gw-ha's) ignores it: it is the other instance that rekeys. Should this one take the IKE_SA before
 * that, it has an SA that gw-fastpath does not: so it is asked for until something comes of it. */
static void ask_for_rekey(struct gw_session* session, struct gw_sa* sa) {
  gw_session_raise(
      session,
      &(struct gw_action){.kind = GW_RAISE_SOFT_EXPIRE, .sa = id_of(sa), .serial = sa->asked_for ? 0 : sa->serial});
  sa->asked_for = true;
}

/* --- hello and replay --------------------------------------------------------------------------------------- */

static void end_replay(struct gw_session* session) {
  const size_t room = gw_sa_table_size(session->sas) + 1;
  struct gw_sa** rekeys = calloc(room, sizeof(*rekeys));
  if (!rekeys) abort();
  const size_t count = gw_sa_table_pick_rekeys(session->sas, rekeys, room);
  for (size_t i = 0; i < count; i++) ask_for_rekey(session, rekeys[i]);
  free(rekeys);
  session->state = GW_SESSION_READY;
  for (const struct gw_sa* sa = gw_sa_table_next(session->sas, NULL); sa; sa = gw_sa_table_next(session->sas, sa)) {
    if (sa->params.direction == GW_OUTBOUND) gw_session_activate(session, sa->params.tunnel_id);
  }
  gw_session_enqueue(session, gw_message_sync_done(gw_session_next_id(session)),
                     &(struct gw_request){.kind = GW_REQUEST_SYNC_DONE});
}

static bool hello_answered(struct gw_session* session, const Response* response) {
  char text[256];
  if (code_of(response) != GW__FASTPATH__V1__CODE__OK) {
    if (!session->hello_refused) {
      gw_session_log(session, GW_LOG_NORMAL, "gw-fastpath refuses this client: %s",
                     describe(response, text, sizeof(text)));
    }
    session->hello_refused = true;
    return false;
  }
  if (response->body_case != GW__FASTPATH__V1__RESPONSE__BODY_HELLO) {
    gw_session_log(session, GW_LOG_NORMAL, "gw-fastpath answered Hello without a HelloReply");
    return false;
  }
  const Gw__Fastpath__V1__HelloReply* hello = response->hello;
  const char* which = session->server_epoch == 0              ? "first contact"
                      : session->server_epoch == hello->epoch ? "the same as before"
                                                              : "restarted";
  session->hello_refused = false;
  session->server_epoch = hello->epoch;
  session->state = GW_SESSION_REPLAYING;
  gw_policy_table_forget_activated(session->policies);
  for (struct gw_sa* sa = gw_sa_table_next(session->sas, NULL); sa; sa = gw_sa_table_next(session->sas, sa)) {
    sa->lost = false;
    session->replays++;
    gw_session_send_add(session, sa, GW_REPLAY, NULL);
  }
  gw_session_log(session, GW_LOG_NORMAL, "connected to gw-fastpath (%s), %s; sending it %zu SAs", hello->crypto_backend,
                 which, session->replays);
  if (session->replays == 0) end_replay(session);
  return true;
}

/* --- answers ------------------------------------------------------------------------------------------------ */

static void add_refused(struct gw_session* session, const struct gw_request* request, const Response* response) {
  char text[sizeof(request->wait->message)];
  struct gw_sa* sa = sa_of(session, request);
  describe(response, text, sizeof(text));
  if (request->wait) {
    request->wait->outcome = GW_REFUSED;
    snprintf(request->wait->message, sizeof(request->wait->message), "%s", text);
    if (sa) gw_sa_table_remove(session->sas, &request->sa);
    return;
  }
  if (!sa) return; /* deleted meanwhile */
  sa->lost = true;
  if (code_of(response) == GW__FASTPATH__V1__CODE__NEEDS_REKEY) {
    gw_session_log(session, GW_LOG_NORMAL, "gw-fastpath cannot go on with SA %08" PRIx32 " of tunnel %" PRIu32 " (%s)",
                   sa->params.spi, sa->params.tunnel_id, text);
    /* Of a replay all lost SAs are looked at together, to rekey each pair once. */
    if (session->state == GW_SESSION_READY) ask_for_rekey(session, sa);
    return;
  }
  /* charon was told SUCCESS long ago: the failure reaches it as a hard expire, which ends the CHILD_SA. */
  gw_session_log(session, GW_LOG_NORMAL,
                 "gw-fastpath does not take SA %08" PRIx32 " of tunnel %" PRIu32 " back (%s); the CHILD_SA is deleted",
                 sa->params.spi, sa->params.tunnel_id, text);
  raise_expire(session, sa, GW_RAISE_HARD_EXPIRE);
}

static void add_answered(struct gw_session* session, const struct gw_request* request, const Response* response) {
  if (code_of(response) == GW__FASTPATH__V1__CODE__OK) {
    struct gw_sa* sa = sa_of(session, request);
    if (request->wait) request->wait->outcome = GW_DONE;
    if (sa) {
      sa->acknowledged = true;
      gw_session_activate(session, sa->params.tunnel_id);
    }
  } else {
    add_refused(session, request, response);
  }
  if (request->occasion == GW_REPLAY && --session->replays == 0) end_replay(session);
}

static void update_answered(struct gw_session* session, const struct gw_request* request, const Response* response) {
  char text[sizeof(request->wait->message)];
  if (code_of(response) == GW__FASTPATH__V1__CODE__OK) {
    if (request->wait) request->wait->outcome = GW_DONE;
    return;
  }
  struct gw_sa* sa = sa_of(session, request);
  describe(response, text, sizeof(text));
  if (request->wait) {
    request->wait->outcome = GW_REFUSED;
    snprintf(request->wait->message, sizeof(request->wait->message), "%s", text);
    if (sa) gw_sa_table_move(session->sas, sa, &request->old_path);
  } else if (sa) {
    gw_session_log(session, GW_LOG_NORMAL, "gw-fastpath did not move SA %08" PRIx32 " (%s); the CHILD_SA is deleted",
                   sa->params.spi, text);
    raise_expire(session, sa, GW_RAISE_HARD_EXPIRE);
  }
}

static void query_answered(struct gw_session* session, const struct gw_request* request, const Response* response) {
  const bool ok = code_of(response) == GW__FASTPATH__V1__CODE__OK &&
                  response->body_case == GW__FASTPATH__V1__RESPONSE__BODY_QUERY_SA;
  struct gw_sa* sa = sa_of(session, request);
  if (ok && sa) {
    sa->counters = (struct gw_sa_counters){.packets = response->query_sa->packets,
                                           .bytes = response->query_sa->bytes,
                                           .last_used_unix_ms = response->query_sa->last_used_unix_ms,
                                           .read_ms = session->env.now_ms()};
  }
  if (request->wait) request->wait->outcome = ok ? GW_DONE : GW_AWAY; /* the cached counters have to do */
}

static void log_refusal(const struct gw_session* session, const struct gw_request* request, const Response* response) {
  const char* what = request->kind == GW_REQUEST_DEL_SA        ? "delete"
                     : request->kind == GW_REQUEST_ACTIVATE    ? "activate"
                     : request->kind == GW_REQUEST_RESERVE_SPI ? "reserve the SPI of"
                                                               : "end the replay with";
  const Gw__Fastpath__V1__Code code = code_of(response);
  char text[256];
  const bool already_gone = code == GW__FASTPATH__V1__CODE__NOT_FOUND && request->kind == GW_REQUEST_DEL_SA;
  if (code == GW__FASTPATH__V1__CODE__OK || already_gone) return;
  gw_session_log(session, GW_LOG_NORMAL, "gw-fastpath did not %s SA %08" PRIx32 ": %s", what, request->sa.spi,
                 describe(response, text, sizeof(text)));
}

static bool answered(struct gw_session* session, const struct gw_request* request, const Response* response) {
  switch (request->kind) {
    case GW_REQUEST_HELLO: return hello_answered(session, response);
    case GW_REQUEST_ADD_SA: add_answered(session, request, response); return true;
    case GW_REQUEST_UPDATE_SA: update_answered(session, request, response); return true;
    case GW_REQUEST_QUERY_SA: query_answered(session, request, response); return true;
    case GW_REQUEST_RESERVE_SPI:
      if (request->wait) request->wait->outcome = GW_DONE;
      log_refusal(session, request, response);
      return true;
    case GW_REQUEST_DEL_SA:
    case GW_REQUEST_ACTIVATE:
    case GW_REQUEST_SYNC_DONE: log_refusal(session, request, response); return true;
  }
  return false;
}

static bool response_received(struct gw_session* session, const Response* response) {
  struct gw_request* request = gw_session_pop_request(session);
  if (!request || request->id != response->id) {
    gw_session_log(session, GW_LOG_NORMAL, "gw-fastpath answered request %" PRIu64 ", expected %" PRIu64, response->id,
                   request ? request->id : 0);
    if (request && request->wait) request->wait->outcome = GW_AWAY;
    free(request);
    return false;
  }
  const bool ok = answered(session, request, response);
  free(request);
  return ok;
}

/* --- events ------------------------------------------------------------------------------------------------- */

static void expire_event(struct gw_session* session, const Gw__Fastpath__V1__Expire* event) {
  struct gw_sa_id id;
  if (!gw_message_sa_id(event->id, &id) || !gw_sa_table_find(session->sas, &id)) return;
  gw_session_log(session, GW_LOG_NORMAL, "SA %08" PRIx32 " has reached its %s limit (%s)", id.spi,
                 event->hard ? "hard" : "soft", event->reason);
  gw_session_raise(session,
                   &(struct gw_action){.kind = event->hard ? GW_RAISE_HARD_EXPIRE : GW_RAISE_SOFT_EXPIRE, .sa = id});
}

static void acquire_event(struct gw_session* session, const Gw__Fastpath__V1__Acquire* event) {
  struct gw_action action = {.kind = GW_RAISE_ACQUIRE};
  if (!gw_policy_table_trap(session->policies, event->tunnel_id, &action.reqid)) {
    gw_session_log(session, GW_LOG_DETAIL, "a packet wants tunnel %" PRIu32 ", which has no trap policy",
                   event->tunnel_id);
    return;
  }
  /* Addresses of the packet are a hint for narrowing; without them charon proposes the trap's selectors. */
  if (!gw_message_address(&event->src, &action.src) || !gw_message_address(&event->dst, &action.dst)) {
    action.src.len = action.dst.len = 0;
  }
  gw_session_raise(session, &action);
}

static void mapping_event(struct gw_session* session, const Gw__Fastpath__V1__Mapping* event) {
  struct gw_action action = {.kind = GW_RAISE_MAPPING};
  if (!gw_message_sa_id(event->id, &action.sa) || !event->src ||
      !gw_message_address(&event->src->address, &action.src) || event->src->port > UINT16_MAX ||
      !gw_sa_table_find(session->sas, &action.sa)) {
    return;
  }
  action.src_port = (uint16_t)event->src->port;
  gw_session_raise(session, &action);
}

bool gw_session_receive(struct gw_session* session, const Gw__Fastpath__V1__ServerFrame* frame) {
  if (frame->body_case == GW__FASTPATH__V1__SERVER_FRAME__BODY_RESPONSE) {
    return response_received(session, frame->response);
  }
  if (frame->body_case != GW__FASTPATH__V1__SERVER_FRAME__BODY_EVENT) return true; /* a newer server's body */
  switch (frame->event->body_case) {
    case GW__FASTPATH__V1__EVENT__BODY_EXPIRE: expire_event(session, frame->event->expire); break;
    case GW__FASTPATH__V1__EVENT__BODY_ACQUIRE: acquire_event(session, frame->event->acquire); break;
    case GW__FASTPATH__V1__EVENT__BODY_MAPPING: mapping_event(session, frame->event->mapping); break;
    default: break; /* not for an IKE client */
  }
  return true;
}
