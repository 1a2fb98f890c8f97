// SPDX-License-Identifier: GPL-2.0-or-later
/* What is said to gw-fastpath and when: the tables, the requests under way, hello and replay. Sans-I/O: frames to
 * send and actions to raise in charon come out of queues. No locks: rpc.c owns the one mutex around it.
 *
 *   AWAY -> GREETING (Hello sent) -> REPLAYING (every AddSa sent, answers awaited) -> READY
 *
 * The whole table is replayed on every connection, also to a gw-fastpath that has not restarted: what was lost
 * with the old connection (a DelSa, an answer) is then put right by SyncDone's sweep instead of by bookkeeping.
 * Activations wait for the acknowledgement of their AddSa, so a key that was never acknowledged was never used
 * to send with, and may be called fresh (the rule about nonces, docs/architecture.md). */
#ifndef GW_SESSION_H
#define GW_SESSION_H

#include "messages.h"
#include "policy_table.h"
#include "sa_table.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gw_log_level { GW_LOG_NORMAL = 1, GW_LOG_DETAIL = 2 }; /* strongSwan's levels */

struct gw_session_env {
  uint64_t (*now_ms)(void); /* monotonic */
  void (*log)(enum gw_log_level level, const char* text);
  struct gw_hello hello; /* name: owned by the caller, longer-lived than the session */
};

enum gw_session_state { GW_SESSION_AWAY, GW_SESSION_GREETING, GW_SESSION_REPLAYING, GW_SESSION_READY };

/* One caller that waits for the answer to its request; on its stack. */
enum gw_outcome {
  GW_PENDING,
  GW_DONE,    /* carried out */
  GW_REFUSED, /* semantic error; message says it for people */
  GW_AWAY,    /* not sent, or the connection was lost: the table has it and it will be replayed */
};
struct gw_wait {
  enum gw_outcome outcome;
  char message[256];
};

enum gw_action_kind { GW_RAISE_SOFT_EXPIRE, GW_RAISE_HARD_EXPIRE, GW_RAISE_ACQUIRE, GW_RAISE_MAPPING };

/* Something to raise in charon, by a thread that does not hold the lock. */
struct gw_action {
  enum gw_action_kind kind;
  struct gw_sa_id sa; /* expire, mapping */
  uint64_t serial; /* soft expire of a lost SA, the first of its kind: to be repeated as long as it is lost; else 0 */
  uint32_t reqid;  /* acquire */
  struct gw_addr src; /* acquire: of the packet; mapping: where it came from. len 0: not told */
  struct gw_addr dst; /* acquire */
  uint16_t src_port;  /* mapping */
  struct gw_action* next;
};

struct gw_session;

struct gw_session* gw_session_create(const struct gw_session_env* env);
void gw_session_destroy(struct gw_session* session);

struct gw_sa_table* gw_session_sas(struct gw_session* session);
enum gw_session_state gw_session_state(const struct gw_session* session);

/* --- the connection's side */
void gw_session_connected(struct gw_session* session);
void gw_session_lost(struct gw_session* session); /* waits end with GW_AWAY; unsent frames are wiped */
/* False: the peer broke the contract (logged); drop the connection. */
bool gw_session_receive(struct gw_session* session, const Gw__Fastpath__V1__ServerFrame* frame);
size_t gw_session_unanswered(const struct gw_session* session);
struct gw_frame* gw_session_to_send(struct gw_session* session);       /* the first; NULL: none */
void gw_session_sent(struct gw_session* session);                      /* the first is written: wiped, removed */
struct gw_action* gw_session_take_actions(struct gw_session* session); /* the list is the caller's, to free() */

/* --- charon's side; wait->outcome is GW_PENDING where an answer is to come */
void gw_session_add_sa(struct gw_session* session, struct gw_sa_params* params, struct gw_wait* wait);
/* Tells gw-fastpath that the SA of a reserved inbound SPI will come, so that it keeps packets which are faster.
 * Any answer is GW_DONE: what is refused costs only such packets. */
void gw_session_announce_spi(struct gw_session* session, const struct gw_sa_id* id, struct gw_wait* wait);
void gw_session_update_sa(struct gw_session* session, const struct gw_sa_id* id, const struct gw_path* path,
                          struct gw_wait* wait);
void gw_session_query_sa(struct gw_session* session, const struct gw_sa_id* id, struct gw_wait* wait);
void gw_session_del_sa(struct gw_session* session, const struct gw_sa_id* id);
void gw_session_flush_sas(struct gw_session* session);
void gw_session_add_policy(struct gw_session* session, const struct gw_policy* policy);
void gw_session_del_policy(struct gw_session* session, const struct gw_policy* policy);
void gw_session_flush_policies(struct gw_session* session);
/* The caller's patience is over: the answer will be dealt with without it. */
void gw_session_abandon(struct gw_session* session, const struct gw_wait* wait);

#ifdef __cplusplus
}
#endif
#endif
