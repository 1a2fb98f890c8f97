// SPDX-License-Identifier: GPL-2.0-or-later
/* The I/O around a session: one thread that connects to gw-fastpath's socket, writes, reads and reconnects, and
 * the mutex that charon's threads and it share. The thread never calls into charon with the mutex held. */
#ifndef GW_RPC_H
#define GW_RPC_H

#include "session.h"

struct gw_rpc;

/* Threads start here; socket_path is copied. NULL: no thread or eventfd (logged). */
struct gw_rpc* gw_rpc_create(const char* socket_path, uint64_t epoch);
/* Waits up to a second for requests under way (the DelSa of charon's last CHILD_SAs), then ends the thread. */
void gw_rpc_destroy(struct gw_rpc* rpc);

/* The session, locked, until gw_rpc_leave. */
struct gw_session* gw_rpc_enter(struct gw_rpc* rpc);
void gw_rpc_leave(struct gw_rpc* rpc);

/* Between enter and leave: waits for the answer with the lock released, at most so long. */
void gw_rpc_wait(struct gw_rpc* rpc, struct gw_wait* wait, uint32_t timeout_ms);

uint64_t gw_rpc_now_ms(void);

#endif
