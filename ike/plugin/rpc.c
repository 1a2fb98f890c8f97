// SPDX-License-Identifier: GPL-2.0-or-later
/* See rpc.h. A peer that leaves a request unanswered for a second without sending anything is as good as gone:
 * the connection is dropped and everything replayed on the next one. */
#include "rpc.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <library.h>
#include <threading/condvar.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#include "events.h"

#define RECONNECT_MS 100
#define ANSWER_MS 1000
#define DRAIN_MS 1000

struct gw_rpc {
  struct sockaddr_un address;
  mutex_t* mutex;     /* guards session, stopping */
  condvar_t* changed; /* an answer has come, or the connection is lost */
  thread_t* thread;
  struct gw_session* session;
  bool stopping;
  int wake_fd; /* eventfd: there is something to send, or we are stopping */

  /* the thread's own */
  int fd;
  struct gw_reader reader;
  size_t written; /* of the first frame to send */
  uint64_t progress_ms;
  bool absence_logged;
};

uint64_t gw_rpc_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void log_text(enum gw_log_level level, const char* text) { dbg(DBG_KNL, (level_t)level, "kernel-gw: %s", text); }

static void wake(struct gw_rpc* rpc) {
  const uint64_t one = 1;
  if (write(rpc->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN) {
    DBG1(DBG_KNL, "kernel-gw: eventfd: %s", strerror(errno));
  }
}

static void clear_wake(struct gw_rpc* rpc) {
  uint64_t count;
  if (read(rpc->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
    DBG1(DBG_KNL, "kernel-gw: eventfd: %s", strerror(errno));
  }
}

struct gw_session* gw_rpc_enter(struct gw_rpc* rpc) {
  rpc->mutex->lock(rpc->mutex);
  return rpc->session;
}

void gw_rpc_leave(struct gw_rpc* rpc) {
  const bool something = gw_session_to_send(rpc->session) != NULL;
  rpc->mutex->unlock(rpc->mutex);
  if (something) wake(rpc);
}

void gw_rpc_wait(struct gw_rpc* rpc, struct gw_wait* wait, uint32_t timeout_ms) {
  const uint64_t deadline_ms = gw_rpc_now_ms() + timeout_ms;
  if (wait->outcome == GW_PENDING) wake(rpc);
  while (wait->outcome == GW_PENDING) {
    const uint64_t now_ms = gw_rpc_now_ms();
    if (now_ms >= deadline_ms) {
      gw_session_abandon(rpc->session, wait);
      return;
    }
    rpc->changed->timed_wait(rpc->changed, rpc->mutex, (u_int)(deadline_ms - now_ms));
  }
}

/* --- the thread ----------------------------------------------------------------------------------------------- */

/* why: NULL when we end it ourselves */
static void lose(struct gw_rpc* rpc, const char* why) {
  rpc->mutex->lock(rpc->mutex);
  const bool was_up = gw_session_state(rpc->session) > GW_SESSION_GREETING;
  gw_session_lost(rpc->session);
  rpc->changed->broadcast(rpc->changed);
  rpc->mutex->unlock(rpc->mutex);
  close(rpc->fd);
  rpc->fd = -1;
  rpc->written = 0;
  gw_reader_clear(&rpc->reader);
  if (was_up && why) DBG1(DBG_KNL, "kernel-gw: connection to gw-fastpath lost: %s; reconnecting", why);
}

static void connect_once(struct gw_rpc* rpc) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&rpc->address, sizeof(rpc->address)) != 0) {
    if (!rpc->absence_logged) {
      DBG1(DBG_KNL, "kernel-gw: no gw-fastpath at %s (%s); SAs are kept and sent when it is there",
           rpc->address.sun_path, strerror(errno));
    }
    rpc->absence_logged = true;
    if (fd >= 0) close(fd);
    return;
  }
  rpc->absence_logged = false;
  rpc->fd = fd;
  rpc->progress_ms = gw_rpc_now_ms();
  rpc->mutex->lock(rpc->mutex);
  gw_session_connected(rpc->session);
  rpc->mutex->unlock(rpc->mutex);
}

/* Writes what the socket takes. Only this thread removes frames, so the first one stays put without the lock. */
static const char* write_some(struct gw_rpc* rpc) {
  for (;;) {
    rpc->mutex->lock(rpc->mutex);
    const struct gw_frame* frame = gw_session_to_send(rpc->session);
    rpc->mutex->unlock(rpc->mutex);
    if (!frame) return NULL;
    const ssize_t count =
        send(rpc->fd, frame->bytes + rpc->written, frame->len - rpc->written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? NULL : strerror(errno);
    rpc->written += (size_t)count;
    if (rpc->written < frame->len) continue;
    rpc->written = 0;
    rpc->mutex->lock(rpc->mutex);
    gw_session_sent(rpc->session);
    rpc->mutex->unlock(rpc->mutex);
  }
}

static const char* handle_frames(struct gw_rpc* rpc) {
  Gw__Fastpath__V1__ServerFrame* frame;
  for (;;) {
    switch (gw_reader_next(&rpc->reader, &frame)) {
      case GW_READ_MORE: return NULL;
      case GW_READ_TOO_LONG: return "it sent a frame of more than 1 MiB";
      case GW_READ_MALFORMED: return "it sent a malformed frame";
      case GW_READ_FRAME: break;
    }
    rpc->mutex->lock(rpc->mutex);
    const bool ok = gw_session_receive(rpc->session, frame);
    rpc->changed->broadcast(rpc->changed);
    rpc->mutex->unlock(rpc->mutex);
    gw__fastpath__v1__server_frame__free_unpacked(frame, NULL);
    if (!ok) return "it broke the protocol";
    rpc->progress_ms = gw_rpc_now_ms();
  }
}

static const char* read_some(struct gw_rpc* rpc) {
  size_t room;
  uint8_t* space = gw_reader_space(&rpc->reader, &room);
  const ssize_t count = recv(rpc->fd, space, room, MSG_DONTWAIT);
  if (count < 0) return errno == EAGAIN || errno == EINTR ? NULL : strerror(errno);
  if (count == 0) return "closed by gw-fastpath";
  gw_reader_received(&rpc->reader, (size_t)count);
  return handle_frames(rpc);
}

/* One turn on an open connection. */
static void turn(struct gw_rpc* rpc) {
  rpc->mutex->lock(rpc->mutex);
  const bool to_send = gw_session_to_send(rpc->session) != NULL;
  const bool waiting = gw_session_unanswered(rpc->session) > 0;
  rpc->mutex->unlock(rpc->mutex);
  const uint64_t now_ms = gw_rpc_now_ms();
  if (!waiting) rpc->progress_ms = now_ms;
  struct pollfd fds[2] = {{.fd = rpc->wake_fd, .events = POLLIN},
                          {.fd = rpc->fd, .events = (short)(POLLIN | (to_send ? POLLOUT : 0))}};
  const uint64_t idle_ms = now_ms - rpc->progress_ms;
  const int timeout_ms = !waiting ? -1 : idle_ms >= ANSWER_MS ? 0 : (int)(ANSWER_MS - idle_ms);
  if (poll(fds, 2, timeout_ms) < 0 && errno != EINTR) {
    lose(rpc, strerror(errno));
    return;
  }
  if (fds[0].revents) {
    clear_wake(rpc);
    if (!waiting) rpc->progress_ms = gw_rpc_now_ms(); /* the first request after a quiet time */
  }
  const char* trouble = to_send || fds[0].revents ? write_some(rpc) : NULL;
  if (!trouble && fds[1].revents) trouble = read_some(rpc);
  if (!trouble && waiting && gw_rpc_now_ms() - rpc->progress_ms >= ANSWER_MS) trouble = "no answer for a second";
  if (trouble) lose(rpc, trouble);
}

static bool stopping(struct gw_rpc* rpc) {
  rpc->mutex->lock(rpc->mutex);
  const bool result = rpc->stopping;
  rpc->mutex->unlock(rpc->mutex);
  return result;
}

static void raise_actions(struct gw_rpc* rpc) {
  rpc->mutex->lock(rpc->mutex);
  struct gw_action* actions = gw_session_take_actions(rpc->session);
  rpc->mutex->unlock(rpc->mutex);
  gw_events_raise(rpc, actions);
}

/* Before every new attempt, so that a server that only hangs up is not asked in a tight loop. */
static void pause_before_retry(struct gw_rpc* rpc) {
  struct pollfd woken = {.fd = rpc->wake_fd, .events = POLLIN};
  if (poll(&woken, 1, RECONNECT_MS) > 0) clear_wake(rpc);
}

static void* run(void* argument) {
  struct gw_rpc* rpc = argument;
  while (!stopping(rpc)) {
    if (rpc->fd >= 0) {
      turn(rpc);
    } else {
      connect_once(rpc);
    }
    raise_actions(rpc);
    if (rpc->fd < 0) pause_before_retry(rpc);
  }
  if (rpc->fd >= 0) lose(rpc, NULL);
  return NULL;
}

/* --- life ----------------------------------------------------------------------------------------------------- */

/* charon blocks its signals only after the plugins are loaded: a thread started before that would be the one
 * that SIGTERM finds unblocked, and the default action would end the process. Faults stay unblocked. */
static thread_t* start_thread(struct gw_rpc* rpc) {
  sigset_t all_but_faults, before;
  sigfillset(&all_but_faults);
  const int faults[] = {SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGABRT};
  for (size_t i = 0; i < countof(faults); i++) sigdelset(&all_but_faults, faults[i]);
  pthread_sigmask(SIG_BLOCK, &all_but_faults, &before);
  thread_t* thread = thread_create(run, rpc);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return thread;
}

struct gw_rpc* gw_rpc_create(const char* socket_path, uint64_t epoch) {
  struct gw_rpc* rpc;
  INIT(rpc, .address = {.sun_family = AF_UNIX}, .fd = -1, .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
       .mutex = mutex_create(MUTEX_TYPE_DEFAULT), .changed = condvar_create(CONDVAR_TYPE_DEFAULT));
  const struct gw_session_env env = {
      .now_ms = gw_rpc_now_ms, .log = log_text, .hello = {.name = "charon " VERSION, .epoch = epoch}};
  rpc->session = gw_session_create(&env);
  if (strlen(socket_path) >= sizeof(rpc->address.sun_path)) {
    DBG1(DBG_KNL, "kernel-gw: socket path '%s' is longer than %zu bytes", socket_path,
         sizeof(rpc->address.sun_path) - 1);
  } else {
    strcpy(rpc->address.sun_path, socket_path);
    rpc->thread = rpc->wake_fd < 0 ? NULL : start_thread(rpc);
    if (!rpc->thread) DBG1(DBG_KNL, "kernel-gw: cannot start its thread: %s", strerror(errno));
  }
  if (rpc->thread) return rpc;
  gw_rpc_destroy(rpc);
  return NULL;
}

static void drain(struct gw_rpc* rpc) {
  const uint64_t deadline_ms = gw_rpc_now_ms() + DRAIN_MS;
  rpc->mutex->lock(rpc->mutex);
  while (gw_session_state(rpc->session) != GW_SESSION_AWAY && gw_session_unanswered(rpc->session) > 0) {
    const uint64_t now_ms = gw_rpc_now_ms();
    if (now_ms >= deadline_ms) break;
    rpc->changed->timed_wait(rpc->changed, rpc->mutex, (u_int)(deadline_ms - now_ms));
  }
  rpc->stopping = TRUE;
  rpc->mutex->unlock(rpc->mutex);
}

void gw_rpc_destroy(struct gw_rpc* rpc) {
  if (rpc->thread) {
    drain(rpc);
    wake(rpc);
    rpc->thread->join(rpc->thread);
  }
  gw_session_destroy(rpc->session);
  if (rpc->wake_fd >= 0) close(rpc->wake_fd);
  rpc->changed->destroy(rpc->changed);
  rpc->mutex->destroy(rpc->mutex);
  free(rpc);
}
