// SPDX-License-Identifier: GPL-2.0-or-later
/* See socket_gw.h. One thread of charon's receives (it also connects), another sends; `lock` is for the
 * descriptor, which both use. */
#include "socket_gw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <daemon.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#include "ebpf/abi/ike_relay.h"

#define RECONNECT_MS 100
#define QUEUE_BYTES \
  (2 << 20) /* a burst of new connections while charon computes; beyond net.core limits only as root */
/* For this long after its start charon may not have all connections yet, which gwd loads. */
#define LOADING_S 60
#define IKE_PORT 500
#define NAT_T_PORT 4500

typedef struct private_gw_socket_t {
  socket_t public;
  struct sockaddr_un address;
  mutex_t* lock; /* guards fd against close while the other thread sends */
  int fd;        /* -1: gw-fastpath is away */
  bool absence_logged;
  time_t started;                                                            /* monotonic */
  uint8_t buffer[sizeof(struct gw_ike_datagram) + GW_IKE_RELAY_MAX_PAYLOAD]; /* the receiving thread's */
} private_gw_socket_t;

static const char* configured_path(void) {
  return lib->settings->get_str(lib->settings, "%s.plugins.kernel-gw.ike_socket", GW_IKE_RELAY_SOCKET, lib->ns);
}

bool gw_socket_wanted(void) { return !streq(configured_path(), "none"); }

/* --- the connection: receiving thread ----------------------------------------------------------------------------- */

static void disconnect(private_gw_socket_t* this, const char* why) {
  this->lock->lock(this->lock);
  close(this->fd);
  this->fd = -1;
  this->lock->unlock(this->lock);
  DBG1(DBG_NET, "kernel-gw: IKE connection to gw-fastpath lost: %s; reconnecting", why);
}

static bool connect_once(private_gw_socket_t* this) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr*)&this->address, sizeof(this->address)) != 0) {
    if (!this->absence_logged) {
      DBG1(DBG_NET, "kernel-gw: no gw-fastpath at %s (%s); no IKE until it is there", this->address.sun_path,
           strerror(errno));
    }
    this->absence_logged = TRUE;
    if (fd >= 0) close(fd);
    return FALSE;
  }
  const int bytes = QUEUE_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
    DBG2(DBG_NET, "kernel-gw: send buffer: %s", strerror(errno));
  }
  this->lock->lock(this->lock);
  this->fd = fd;
  this->lock->unlock(this->lock);
  if (this->absence_logged) DBG1(DBG_NET, "kernel-gw: gw-fastpath is there: IKE goes on");
  this->absence_logged = FALSE;
  return TRUE;
}

/* charon ends by cancelling the receiving thread, which is possible only here. */
static int wait_cancellable(struct pollfd* fd, int timeout_ms) {
  const bool before = thread_cancelability(TRUE);
  const int ready = poll(fd, fd ? 1 : 0, timeout_ms);
  thread_cancelability(before);
  return ready;
}

/* --- datagrams ---------------------------------------------------------------------------------------------------- */

static host_t* host_from(uint8_t family, const uint8_t* address, uint16_t port_be, uint32_t scope_id) {
  if (family == 4) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port_be};
    memcpy(&in.sin_addr, address, sizeof(in.sin_addr));
    return host_create_from_sockaddr((sockaddr_t*)&in);
  }
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port_be, .sin6_scope_id = scope_id};
  memcpy(&in6.sin6_addr, address, sizeof(in6.sin6_addr));
  return host_create_from_sockaddr((sockaddr_t*)&in6);
}

/* NULL: not a message of this version. */
static packet_t* packet_from(const uint8_t* bytes, size_t length) {
  struct gw_ike_datagram header;
  if (length < sizeof(header)) return NULL;
  memcpy(&header, bytes, sizeof(header));
  if (header.version != GW_IKE_RELAY_VERSION || (header.family != 4 && header.family != 6)) return NULL;
  packet_t* packet =
      packet_create_from_data(host_from(header.family, header.peer, header.peer_port_be, header.scope_id),
                              host_from(header.family, header.local, header.local_port_be, 0),
                              chunk_clone(chunk_create((u_char*)bytes + sizeof(header), length - sizeof(header))));
  packet->set_dscp(packet, header.traffic_class >> 2);
  return packet;
}

/* RFC 7296 3.1, RFC 2408 3.1: the first message of an initiator has no SPI of the responder. */
static bool opens_ike_sa(packet_t* packet, ike_version_t* version) {
  static const u_char no_spi[8];
  const chunk_t data = packet->get_data(packet);
  host_t* destination = packet->get_destination(packet);
  const size_t marker = destination->get_port(destination) == NAT_T_PORT ? 4 : 0;
  if (data.len < marker + 28) return FALSE;
  const u_char* header = data.ptr + marker;
  const u_char exchange = header[18];
  *version = header[17] >> 4 == 1 ? IKEV1 : IKEV2;
  return memeq(header + 8, no_spi, sizeof(no_spi)) &&
         (exchange == IKE_SA_INIT || exchange == ID_PROT || exchange == AGGRESSIVE);
}

/* charon would answer NO_PROPOSAL_CHOSEN to a peer whose connection is not loaded yet, and a peer that is told so may
 * give up for good (strongSwan does). Without an answer it asks again. */
static bool comes_too_early(private_gw_socket_t* this, packet_t* packet) {
  ike_version_t version;
  if (time_monotonic(NULL) - this->started > LOADING_S || !opens_ike_sa(packet, &version)) return FALSE;
  host_t* peer = packet->get_source(packet);
  ike_cfg_t* known = charon->backends->get_ike_cfg(charon->backends, packet->get_destination(packet), peer, version);
  if (known) {
    known->destroy(known);
    return FALSE;
  }
  DBG1(DBG_NET, "kernel-gw: %H asks for an IKE_SA, and its connection is not loaded (yet): not answered", peer);
  return TRUE;
}

METHOD(socket_t, receive, status_t, private_gw_socket_t* this, packet_t** packet) {
  for (;;) {
    if (this->fd < 0 && !connect_once(this)) {
      wait_cancellable(NULL, RECONNECT_MS);
      continue;
    }
    struct pollfd readable = {.fd = this->fd, .events = POLLIN};
    if (wait_cancellable(&readable, -1) <= 0) continue;
    const ssize_t count = recv(this->fd, this->buffer, sizeof(this->buffer), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (count <= 0) {
      disconnect(this, count == 0 ? "closed by gw-fastpath" : strerror(errno));
      wait_cancellable(NULL, RECONNECT_MS); /* a server that only hangs up is not asked in a tight loop */
      continue;
    }
    *packet = packet_from(this->buffer, (size_t)count);
    if (!*packet) {
      disconnect(this, "it speaks another version of the IKE relay");
      wait_cancellable(NULL, RECONNECT_MS);
      continue;
    }
    if (comes_too_early(this, *packet)) {
      (*packet)->destroy(*packet);
      continue;
    }
    DBG2(DBG_NET, "received packet: from %#H to %#H", (*packet)->get_source(*packet),
         (*packet)->get_destination(*packet));
    return SUCCESS;
  }
}

static uint32_t scope_of(host_t* host) {
  if (host->get_family(host) != AF_INET6) return 0;
  return ((const struct sockaddr_in6*)host->get_sockaddr(host))->sin6_scope_id;
}

static struct gw_ike_datagram header_of(packet_t* packet) {
  host_t* local = packet->get_source(packet);
  host_t* peer = packet->get_destination(packet);
  struct gw_ike_datagram header = {
      .version = GW_IKE_RELAY_VERSION,
      .family = peer->get_family(peer) == AF_INET ? 4 : 6,
      .traffic_class = (uint8_t)(packet->get_dscp(packet) << 2),
      .local_port_be = htons(local->get_port(local)),
      .peer_port_be = htons(peer->get_port(peer)),
      .scope_id = scope_of(peer),
  };
  const chunk_t from = local->get_address(local);
  const chunk_t to = peer->get_address(peer);
  if (!local->is_anyaddr(local)) memcpy(header.local, from.ptr, min(from.len, sizeof(header.local)));
  memcpy(header.peer, to.ptr, min(to.len, sizeof(header.peer)));
  return header;
}

METHOD(socket_t, send_packet, status_t, private_gw_socket_t* this, packet_t* packet) {
  struct gw_ike_datagram header = header_of(packet);
  const chunk_t data = packet->get_data(packet);
  struct iovec parts[] = {{&header, sizeof(header)}, {data.ptr, data.len}};
  const struct msghdr message = {.msg_iov = parts, .msg_iovlen = countof(parts)};
  DBG2(DBG_NET, "sending packet: from %#H to %#H", packet->get_source(packet), packet->get_destination(packet));
  this->lock->lock(this->lock);
  const bool there = this->fd >= 0;
  const bool sent = there && sendmsg(this->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
  const int why = errno;
  this->lock->unlock(this->lock);
  if (sent) return SUCCESS;
  DBG1(DBG_NET, "kernel-gw: IKE packet to %#H not sent: %s", packet->get_destination(packet),
       there ? strerror(why) : "gw-fastpath is away");
  return FAILED;
}

METHOD(socket_t, get_port, uint16_t, private_gw_socket_t* this, bool nat_t) { return nat_t ? NAT_T_PORT : IKE_PORT; }

METHOD(socket_t, supported_families, socket_family_t, private_gw_socket_t* this) { return SOCKET_FAMILY_BOTH; }

METHOD(socket_t, destroy, void, private_gw_socket_t* this) {
  if (this->fd >= 0) close(this->fd);
  this->lock->destroy(this->lock);
  free(this);
}

socket_t* gw_socket_create(void) {
  const char* path = configured_path();
  private_gw_socket_t* this;
  INIT(this,
       .public =
           {
               .receive = _receive,
               .send = _send_packet,
               .get_port = _get_port,
               .supported_families = _supported_families,
               .destroy = _destroy,
           },
       .address = {.sun_family = AF_UNIX}, .lock = mutex_create(MUTEX_TYPE_DEFAULT), .fd = -1,
       .started = time_monotonic(NULL));
  if (strlen(path) >= sizeof(this->address.sun_path)) {
    DBG1(DBG_NET, "kernel-gw: charon.plugins.kernel-gw.ike_socket '%s' is longer than %zu bytes", path,
         sizeof(this->address.sun_path) - 1);
    destroy(this);
    return NULL;
  }
  strcpy(this->address.sun_path, path);
  (void)connect_once(this);
  return &this->public;
}
