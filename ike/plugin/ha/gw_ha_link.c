// SPDX-License-Identifier: GPL-2.0-or-later
/* See gw_ha_link.h. `lock` guards the descriptor and the queue of what the socket did not take at once. */
#include "gw_ha_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <daemon.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#define RECONNECT_MS 100
#define SOCKET_QUEUE_BYTES (4 << 20)
#define MAX_QUEUED_BYTES (64 << 20) /* then gwd is not well: a new connection syncs again */

struct waiting {
  struct waiting* next;
  size_t length;
  uint8_t bytes[]; /* wiped when sent */
};

struct gw_ha_link {
  struct sockaddr_un address;
  mutex_t* lock;
  int fd;    /* -1: gwd is away */
  int event; /* something waits to be written */
  struct waiting* first;
  struct waiting** end;
  size_t queued_bytes;
  bool absence_logged;
  uint8_t* buffer; /* the pulling thread's */
};

/* --- what waits (locked) ------------------------------------------------------------------------------------------ */

static void drop_first(struct gw_ha_link* this) {
  struct waiting* first = this->first;
  this->first = first->next;
  if (!this->first) this->end = &this->first;
  this->queued_bytes -= first->length;
  memwipe(first->bytes, first->length);
  free(first);
}

static void enqueue(struct gw_ha_link* this, const uint8_t* bytes, size_t length) {
  const uint64_t one = 1;
  struct waiting* waiting = malloc(sizeof(*waiting) + length);
  waiting->next = NULL;
  waiting->length = length;
  memcpy(waiting->bytes, bytes, length);
  *this->end = waiting;
  this->end = &waiting->next;
  this->queued_bytes += length;
  if (write(this->event, &one, sizeof(one)) < 0) { /* it is signalled already */
  }
}

static void close_locked(struct gw_ha_link* this) {
  if (this->fd >= 0) close(this->fd);
  this->fd = -1;
  while (this->first) drop_first(this);
}

/* False: the connection is lost. */
static bool flush_locked(struct gw_ha_link* this) {
  while (this->fd >= 0 && this->first) {
    if (send(this->fd, this->first->bytes, this->first->length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    drop_first(this);
  }
  return TRUE;
}

static void send_or_queue(struct gw_ha_link* this, const uint8_t* bytes, size_t length) {
  this->lock->lock(this->lock);
  if (this->fd >= 0) {
    enqueue(this, bytes, length);
    if (!flush_locked(this) || this->queued_bytes > MAX_QUEUED_BYTES)
      shutdown(this->fd, SHUT_RDWR); /* pull() sees it */
  }
  this->lock->unlock(this->lock);
}

/* --- saying ------------------------------------------------------------------------------------------------------- */

void gw_ha_link_push(struct gw_ha_link* this, ha_message_t* message) {
  const chunk_t encoding = message->get_encoding(message);
  const size_t length = encoding.len + 1;
  if (length > GW_HA_MAX_MESSAGE) {
    DBG1(DBG_CFG, "gw-ha: a message of %zu bytes is not synced: the other instance cannot take this SA over", length);
    return;
  }
  uint8_t* bytes = malloc(length);
  bytes[0] = GW_HA_SYNC;
  memcpy(bytes + 1, encoding.ptr, encoding.len);
  send_or_queue(this, bytes, length);
  memwipe(bytes, length);
  free(bytes);
}

void gw_ha_link_say(struct gw_ha_link* this, struct gw_ha_control control, host_t* host) {
  control.what = GW_HA_CONTROL;
  if (host) {
    const chunk_t address = host->get_address(host);
    control.family = address.len == 4 ? 4 : 6;
    memcpy(control.address, address.ptr, min(address.len, sizeof(control.address)));
  }
  send_or_queue(this, (const uint8_t*)&control, sizeof(control));
}

/* --- the connection: pulling thread ------------------------------------------------------------------------------- */

static void disconnect(struct gw_ha_link* this, const char* why) {
  this->lock->lock(this->lock);
  close_locked(this);
  this->lock->unlock(this->lock);
  DBG1(DBG_CFG, "gw-ha: connection to gwd lost: %s; reconnecting", why);
}

static bool connect_once(struct gw_ha_link* this) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr*)&this->address, sizeof(this->address)) != 0) {
    if (!this->absence_logged) {
      DBG1(DBG_CFG, "gw-ha: no gwd at %s (%s): IKE SAs are not synced until it is there", this->address.sun_path,
           strerror(errno));
    }
    this->absence_logged = TRUE;
    if (fd >= 0) close(fd);
    return FALSE;
  }
  const int bytes = SOCKET_QUEUE_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
    DBG2(DBG_CFG, "gw-ha: send buffer: %s", strerror(errno));
  }
  const struct gw_ha_control hello = {.what = GW_HA_CONTROL, .kind = GW_HA_HELLO, .count = GW_HA_VERSION};
  this->lock->lock(this->lock);
  this->fd = fd;
  enqueue(this, (const uint8_t*)&hello, sizeof(hello)); /* before anything that another thread has */
  this->lock->unlock(this->lock);
  DBG1(DBG_CFG, "gw-ha: connected to gwd: IKE SAs are synced");
  this->absence_logged = FALSE;
  return TRUE;
}

/* charon ends by cancelling the pulling thread, which is possible only here. */
static int wait_cancellable(struct pollfd* fds, nfds_t count, int timeout_ms) {
  const bool before = thread_cancelability(TRUE);
  const int ready = poll(fds, count, timeout_ms);
  thread_cancelability(before);
  return ready;
}

/* The length of the next message in `buffer`; 0: the connection has ended. */
static size_t receive(struct gw_ha_link* this) {
  for (;;) {
    this->lock->lock(this->lock);
    const bool alive = flush_locked(this);
    const bool writing = this->first != NULL;
    this->lock->unlock(this->lock);
    if (!alive) {
      disconnect(this, strerror(errno));
      return 0;
    }
    struct pollfd fds[] = {{.fd = this->fd, .events = (short)(POLLIN | (writing ? POLLOUT : 0))},
                           {.fd = this->event, .events = POLLIN}};
    if (wait_cancellable(fds, countof(fds), -1) <= 0) continue;
    if (fds[1].revents) {
      uint64_t count;
      if (read(this->event, &count, sizeof(count)) < 0) { /* another turn will */
      }
    }
    const ssize_t length = recv(this->fd, this->buffer, GW_HA_MAX_MESSAGE, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (length <= 0 || length > GW_HA_MAX_MESSAGE) {
      disconnect(this, length == 0 ? "closed by gwd" : length < 0 ? strerror(errno) : "a message is too long");
      return 0;
    }
    return (size_t)length;
  }
}

ha_message_t* gw_ha_link_pull(struct gw_ha_link* this, struct gw_ha_control* control) {
  for (;;) {
    if (this->fd < 0 && !connect_once(this)) {
      wait_cancellable(NULL, 0, RECONNECT_MS);
      continue;
    }
    const size_t length = receive(this);
    if (length == 0) {
      wait_cancellable(NULL, 0, RECONNECT_MS); /* a server that only hangs up is not asked in a tight loop */
      continue;
    }
    if (this->buffer[0] == GW_HA_CONTROL && length == sizeof(*control)) {
      memcpy(control, this->buffer, sizeof(*control));
      return NULL;
    }
    ha_message_t* message =
        this->buffer[0] == GW_HA_SYNC ? ha_message_parse(chunk_create(this->buffer + 1, length - 1)) : NULL;
    memwipe(this->buffer, length);
    if (message) return message; /* else it has been logged: a newer release's */
  }
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void gw_ha_link_destroy(struct gw_ha_link* this) {
  close_locked(this);
  if (this->event >= 0) close(this->event);
  this->lock->destroy(this->lock);
  free(this->buffer);
  free(this);
}

struct gw_ha_link* gw_ha_link_create(const char* path) {
  struct gw_ha_link* this;
  INIT(this, .address = {.sun_family = AF_UNIX}, .lock = mutex_create(MUTEX_TYPE_DEFAULT), .fd = -1,
       .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .buffer = malloc(GW_HA_MAX_MESSAGE));
  this->end = &this->first;
  if (strlen(path) >= sizeof(this->address.sun_path) || this->event < 0) {
    DBG1(DBG_CFG, "gw-ha: charon.plugins.gw-ha.socket '%s' is longer than %zu bytes, or there is no eventfd", path,
         sizeof(this->address.sun_path) - 1);
    gw_ha_link_destroy(this);
    return NULL;
  }
  strcpy(this->address.sun_path, path);
  return this;
}
