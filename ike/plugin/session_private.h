// SPDX-License-Identifier: GPL-2.0-or-later
/* Shared by session.c (requests) and session_receive.c (answers and events); of no use to anybody else. */
#ifndef GW_SESSION_PRIVATE_H
#define GW_SESSION_PRIVATE_H

#include "session.h"

enum gw_request_kind {
  GW_REQUEST_HELLO,
  GW_REQUEST_ADD_SA,
  GW_REQUEST_UPDATE_SA,
  GW_REQUEST_RESERVE_SPI,
  GW_REQUEST_DEL_SA,
  GW_REQUEST_ACTIVATE,
  GW_REQUEST_QUERY_SA,
  GW_REQUEST_SYNC_DONE,
};

enum gw_occasion { GW_FIRST_TIME, GW_REPLAY };

/* A request that waits for its answer. */
struct gw_request {
  uint64_t id;
  enum gw_request_kind kind;
  enum gw_occasion occasion; /* of an AddSa */
  struct gw_sa_id sa;
  uint64_t serial;         /* of the table's entry; it may be gone when the answer comes */
  struct gw_path old_path; /* UpdateSa: what to go back to when it is refused */
  struct gw_wait* wait;    /* NULL: nobody waits */
  struct gw_request* next;
};

struct gw_out {
  struct gw_frame frame;
  struct gw_out* next;
};

struct gw_session {
  struct gw_session_env env;
  enum gw_session_state state;
  struct gw_sa_table* sas;
  struct gw_policy_table* policies;
  struct gw_request *requests, **requests_end;
  struct gw_out *out, **out_end;
  struct gw_action *actions, **actions_end;
  size_t unanswered;
  size_t replays;        /* AddSa of the replay that are not answered yet */
  uint64_t last_request; /* never reused, not even by the next connection */
  uint64_t server_epoch; /* of the last HelloReply; 0: none yet */
  bool hello_refused;    /* logged once, not at every attempt */
};

void gw_session_log(const struct gw_session* session, enum gw_log_level level, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
void gw_session_raise(struct gw_session* session, const struct gw_action* template);
uint64_t gw_session_next_id(const struct gw_session* session);
/* Takes the frame over; it must have been made with gw_session_next_id(). */
void gw_session_enqueue(struct gw_session* session, struct gw_frame frame, const struct gw_request* about);
struct gw_request* gw_session_pop_request(struct gw_session* session); /* the caller's, to free() */
void gw_session_send_add(struct gw_session* session, const struct gw_sa* sa, enum gw_occasion occasion,
                         struct gw_wait* wait);
/* Sends ActivateOutbound if the tunnel should send with another SA than gw-fastpath was told. */
void gw_session_activate(struct gw_session* session, uint32_t tunnel_id);

#endif
