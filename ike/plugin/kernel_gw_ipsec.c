// SPDX-License-Identifier: GPL-2.0-or-later
/* See kernel_gw_ipsec.h. Called by any of charon's threads, which hold an IKE_SA (not the table) meanwhile.
 *
 * add_sa and update_sa wait for gw-fastpath's acknowledgement, at most a second. If none comes they report SUCCESS:
 * a timeout says nothing about the SA, the table has it, and the next connection replays it, exactly as if
 * gw-fastpath had been away from the start. FAILED would tear down a CHILD_SA at both ends (in a rekey: the
 * replacement of one that works) because of a hiccup. Should the replay then be refused, charon hears of it by a
 * hard expire. Only a semantic error, which no reconnection can cure, is FAILED. */
#include "kernel_gw_ipsec.h"

#include <arpa/inet.h>
#include <time.h>

#include <daemon.h>
#include <threading/mutex.h>

#include "convert.h"
#include "events.h"
#include "quiet_end.h"
#include "rpc.h"
#include "supported.h"

#define DEFAULT_SOCKET "/run/gw/fastpath.sock"
#define ACKNOWLEDGE_MS 1000
#define ANNOUNCE_MS 100 /* the peer may send with the SPI as soon as it has our message */
#define QUERY_MS 100    /* list-sas asks per SA, and DPD asks with an IKE_SA locked */
#define COUNTERS_FRESH_MS 500
#define SPI_TRIES 1000
#define SPI_RESERVED 256 /* RFC 4303 2.1: 0..255 are reserved */
#define MAX_INSTANCE 15

typedef struct private_kernel_gw_ipsec_t {
  kernel_ipsec_t public;
  rng_t* rng;
  mutex_t* rng_mutex;
  struct gw_rpc* rpc;
  uint32_t instance; /* of this gateway; in the top 4 bits of our SPIs */
} private_kernel_gw_ipsec_t;

METHOD(kernel_ipsec_t, get_features, kernel_feature_t, private_kernel_gw_ipsec_t* this) {
  return KERNEL_ESP_V3_TFC | KERNEL_POLICY_SPI | KERNEL_SA_USE_TIME;
}

/* --- SPIs --------------------------------------------------------------------------------------------------------- */

static bool random_spi(private_kernel_gw_ipsec_t* this, uint32_t* spi) {
  uint32_t value;
  this->rng_mutex->lock(this->rng_mutex);
  const bool ok = this->rng->get_bytes(this->rng, sizeof(value), (uint8_t*)&value);
  this->rng_mutex->unlock(this->rng_mutex);
  *spi = (this->instance << 28) | (value & 0x0fffffff);
  return ok;
}

METHOD(kernel_ipsec_t, get_spi, status_t, private_kernel_gw_ipsec_t* this, host_t* src, host_t* dst, uint8_t protocol,
       uint32_t* spi) {
  uint32_t candidate;
  if (protocol != IPPROTO_ESP) {
    DBG1(DBG_KNL, "kernel-gw: no SPI for protocol %u: only ESP is supported", protocol);
    return NOT_SUPPORTED;
  }
  for (int i = 0; i < SPI_TRIES; i++) {
    if (!random_spi(this, &candidate)) break;
    if (candidate < SPI_RESERVED) continue;
    struct gw_session* session = gw_rpc_enter(this->rpc);
    const bool ok = gw_sa_table_reserve(gw_session_sas(session), candidate);
    const struct gw_sa_id id = {.spi = candidate, .dst = gw_addr_from_host(dst)};
    struct gw_wait wait = {0};
    if (ok) {
      gw_session_announce_spi(session, &id, &wait);
      gw_rpc_wait(this->rpc, &wait, ANNOUNCE_MS);
    }
    gw_rpc_leave(this->rpc);
    if (ok) {
      *spi = htonl(candidate);
      return SUCCESS;
    }
  }
  DBG1(DBG_KNL, "kernel-gw: no random SPI for %H", dst);
  return FAILED;
}

METHOD(kernel_ipsec_t, get_cpi, status_t, private_kernel_gw_ipsec_t* this, host_t* src, host_t* dst, uint16_t* cpi) {
  return NOT_SUPPORTED; /* no IPComp */
}

/* --- SAs ---------------------------------------------------------------------------------------------------------- */

static struct gw_path path_of(host_t* src, host_t* dst, bool encap) {
  return (struct gw_path){
      .src = gw_addr_from_host(src),
      .dst = gw_addr_from_host(dst),
      /* charon tells ports 4500 without encapsulation too: `encap` is what counts */
      .src_port = encap ? src->get_port(src) : 0,
      .dst_port = encap ? dst->get_port(dst) : 0,
      .encapsulation = encap ? GW_ENCAP_UDP : GW_ENCAP_NONE,
  };
}

/* gw-ha installs the other instance's SAs with their IKE_SA passive; charon keeps the one a thread works on. */
static enum gw_origin origin_now(void) {
  ike_sa_t* ike_sa = charon->bus->get_sa(charon->bus);
  return ike_sa && ike_sa->get_state(ike_sa) == IKE_PASSIVE ? GW_SYNCED : GW_NEGOTIATED_HERE;
}

/* The caller clears it. */
static void fill_params(struct gw_sa_params* params, kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
  const lifetime_cfg_t* lifetime = data->lifetime;
  *params = (struct gw_sa_params){
      .spi = ntohl(id->spi),
      .path = path_of(id->src, id->dst, data->encap),
      .direction = data->inbound ? GW_INBOUND : GW_OUTBOUND,
      .sequence_numbers = data->esn ? GW_SEQ_64 : GW_SEQ_32,
      .origin = origin_now(),
      .tunnel_id = id->if_id,
      .reqid = data->reqid,
      .replay_window_pkts = data->replay_window,
      .limits = {.soft_bytes = lifetime->bytes.rekey,
                 .hard_bytes = lifetime->bytes.life,
                 .soft_packets = lifetime->packets.rekey,
                 .hard_packets = lifetime->packets.life,
                 .hard_seconds = lifetime->time.life},
      .local = gw_selectors_from_list(data->inbound ? data->dst_ts : data->src_ts),
      .remote = gw_selectors_from_list(data->inbound ? data->src_ts : data->dst_ts),
      .tfc_pad_to_bytes = data->inbound ? 0 : data->tfc,
      .key_len = data->enc_key.len, /* gw_supported has checked both */
      .integrity_key_len = data->int_key.len,
  };
  (void)gw_supported_algorithms(data, &params->algorithms);
  memcpy(params->key, data->enc_key.ptr, data->enc_key.len);
  memcpy(params->integrity_key, data->int_key.ptr, data->int_key.len);
}

METHOD(kernel_ipsec_t, add_sa, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_sa_id_t* id,
       kernel_ipsec_add_sa_t* data) {
  const char* direction = data->inbound ? "inbound" : "outbound";
  struct gw_sa_params params;
  struct gw_wait wait = {0};
  uint64_t serial = 0;
  const status_t supported = gw_supported(id, data);
  if (supported != SUCCESS) return supported;
  fill_params(&params, id, data);
  const struct gw_sa_id key = {.spi = params.spi, .dst = params.path.dst};
  struct gw_session* session = gw_rpc_enter(this->rpc);
  gw_session_add_sa(session, &params, &wait);
  gw_rpc_wait(this->rpc, &wait, ACKNOWLEDGE_MS);
  const struct gw_sa* sa = gw_sa_table_find(gw_session_sas(session), &key);
  if (sa) serial = sa->serial;
  gw_rpc_leave(this->rpc);
  gw_sa_params_clear(&params);
  if (wait.outcome == GW_REFUSED) {
    DBG1(DBG_KNL, "kernel-gw: %s SA %08x of tunnel %u refused: %s", direction, key.spi, id->if_id, wait.message);
    return FAILED;
  }
  if (wait.outcome != GW_DONE) {
    DBG1(DBG_KNL, "kernel-gw: gw-fastpath is %s: %s SA %08x of tunnel %u will be sent when it is back",
         wait.outcome == GW_AWAY ? "away" : "silent", direction, key.spi, id->if_id);
  }
  gw_events_schedule(this->rpc, key.spi, serial,
                     (struct gw_lifetime){.soft_seconds = (uint32_t)data->lifetime->time.rekey,
                                          .hard_seconds = (uint32_t)data->lifetime->time.life});
  return SUCCESS;
}

METHOD(kernel_ipsec_t, update_sa, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_sa_id_t* id,
       kernel_ipsec_update_sa_t* data) {
  const struct gw_sa_id old_id = gw_sa_id_from(id->spi, id->dst);
  const struct gw_sa_id new_id = gw_sa_id_from(id->spi, data->new_dst);
  const struct gw_path path = path_of(data->new_src, data->new_dst, data->new_encap);
  struct gw_wait wait = {0};
  struct gw_session* session = gw_rpc_enter(this->rpc);
  gw_session_update_sa(session, &old_id, &path, &wait);
  gw_rpc_wait(this->rpc, &wait, ACKNOWLEDGE_MS);
  struct gw_sa* sa = gw_sa_table_find(gw_session_sas(session), &new_id);
  if (wait.outcome != GW_REFUSED && sa && data->new_reqid) sa->params.reqid = data->new_reqid;
  gw_rpc_leave(this->rpc);
  if (wait.outcome != GW_REFUSED) return SUCCESS;
  /* charon then keeps the old addresses and negotiates a new CHILD_SA */
  DBG1(DBG_KNL, "kernel-gw: moving SA %08x to %#H refused: %s", old_id.spi, data->new_dst, wait.message);
  return NOT_SUPPORTED;
}

static time_t monotonic_of(uint64_t unix_ms) {
  if (!unix_ms) return 0;
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  const time_t ago = wall.tv_sec - (time_t)(unix_ms / 1000);
  return time_monotonic(NULL) - max(ago, 0);
}

METHOD(kernel_ipsec_t, query_sa, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_sa_id_t* id,
       kernel_ipsec_query_sa_t* data, uint64_t* bytes, uint64_t* packets, time_t* use_time) {
  const struct gw_sa_id key = gw_sa_id_from(id->spi, id->dst);
  struct gw_sa_counters counters = {0};
  struct gw_wait wait = {0};
  struct gw_session* session = gw_rpc_enter(this->rpc);
  const struct gw_sa* sa = gw_sa_table_find(gw_session_sas(session), &key);
  if (sa && (!sa->counters.read_ms || gw_rpc_now_ms() - sa->counters.read_ms > COUNTERS_FRESH_MS)) {
    gw_session_query_sa(session, &key, &wait);
    gw_rpc_wait(this->rpc, &wait, QUERY_MS);
    sa = gw_sa_table_find(gw_session_sas(session), &key); /* the lock was released */
  }
  if (sa) counters = sa->counters;
  const bool found = sa != NULL;
  gw_rpc_leave(this->rpc);
  if (!found) return NOT_FOUND;
  if (bytes) *bytes = counters.bytes;
  if (packets) *packets = counters.packets;
  if (use_time) *use_time = monotonic_of(counters.last_used_unix_ms);
  return SUCCESS;
}

METHOD(kernel_ipsec_t, del_sa, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_sa_id_t* id,
       kernel_ipsec_del_sa_t* data) {
  if (gw_ends_quietly()) return SUCCESS;
  const struct gw_sa_id key = gw_sa_id_from(id->spi, id->dst);
  gw_session_del_sa(gw_rpc_enter(this->rpc), &key);
  gw_rpc_leave(this->rpc);
  return SUCCESS;
}

METHOD(kernel_ipsec_t, flush_sas, status_t, private_kernel_gw_ipsec_t* this) {
  gw_session_flush_sas(gw_rpc_enter(this->rpc));
  gw_rpc_leave(this->rpc);
  return SUCCESS;
}

/* --- policies ------------------------------------------------------------------------------------------------------
 */

static struct gw_policy policy_of(kernel_ipsec_policy_id_t* id, kernel_ipsec_manage_policy_t* data) {
  return (struct gw_policy){
      .tunnel_id = id->if_id, .reqid = data->sa->reqid, .sa = gw_sa_id_from(data->sa->esp.spi, data->dst)};
}

/* Selectors are checked per SA and the tunnel device decides what enters it: of policies only the outbound ones
 * say something, namely which SA to send with. */
static bool matters(kernel_ipsec_policy_id_t* id, kernel_ipsec_manage_policy_t* data) {
  return id->dir == POLICY_OUT && data->type == POLICY_IPSEC && id->if_id != 0;
}

METHOD(kernel_ipsec_t, add_policy, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_policy_id_t* id,
       kernel_ipsec_manage_policy_t* data) {
  if (id->if_id == 0) { /* with one, drop policies are charon's stop-gap while it moves an SA: nothing to do */
    DBG1(DBG_KNL,
         "kernel-gw: policy %R === %R has no interface id: set if_id_in and if_id_out of the child to its tunnel's id",
         id->src_ts, id->dst_ts);
    return FAILED;
  }
  if (matters(id, data)) {
    const struct gw_policy policy = policy_of(id, data);
    gw_session_add_policy(gw_rpc_enter(this->rpc), &policy);
    gw_rpc_leave(this->rpc);
  }
  return SUCCESS;
}

METHOD(kernel_ipsec_t, query_policy, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_policy_id_t* id,
       kernel_ipsec_query_policy_t* data, time_t* use_time) {
  return NOT_SUPPORTED; /* KERNEL_SA_USE_TIME: charon takes query_sa's */
}

METHOD(kernel_ipsec_t, del_policy, status_t, private_kernel_gw_ipsec_t* this, kernel_ipsec_policy_id_t* id,
       kernel_ipsec_manage_policy_t* data) {
  if (matters(id, data) && !gw_ends_quietly()) {
    const struct gw_policy policy = policy_of(id, data);
    gw_session_del_policy(gw_rpc_enter(this->rpc), &policy);
    gw_rpc_leave(this->rpc);
  }
  return SUCCESS;
}

METHOD(kernel_ipsec_t, flush_policies, status_t, private_kernel_gw_ipsec_t* this) {
  gw_session_flush_policies(gw_rpc_enter(this->rpc));
  gw_rpc_leave(this->rpc);
  return SUCCESS;
}

/* --- sockets: there is no kernel policy to bypass, and gw-fastpath takes ESP-in-UDP before charon's socket ----------
 */

METHOD(kernel_ipsec_t, bypass_socket, bool, private_kernel_gw_ipsec_t* this, int fd, int family) { return TRUE; }

METHOD(kernel_ipsec_t, enable_udp_decap, bool, private_kernel_gw_ipsec_t* this, int fd, int family, uint16_t port) {
  return TRUE;
}

/* --- life -----------------------------------------------------------------------------------------------------------
 */

METHOD(kernel_ipsec_t, destroy, void, private_kernel_gw_ipsec_t* this) {
  if (this->rpc) gw_rpc_destroy(this->rpc);
  DESTROY_IF(this->rng);
  this->rng_mutex->destroy(this->rng_mutex);
  free(this);
}

static bool start(private_kernel_gw_ipsec_t* this) {
  const int instance = lib->settings->get_int(lib->settings, "%s.plugins.kernel-gw.instance", 0, lib->ns);
  const char* path = lib->settings->get_str(lib->settings, "%s.plugins.kernel-gw.socket", DEFAULT_SOCKET, lib->ns);
  uint64_t epoch;
  if (instance < 0 || instance > MAX_INSTANCE) {
    DBG1(DBG_KNL, "kernel-gw: charon.plugins.kernel-gw.instance is %d, must be 0 to %d", instance, MAX_INSTANCE);
    return FALSE;
  }
  this->instance = (uint32_t)instance;
  this->rng = lib->crypto->create_rng(lib->crypto, RNG_WEAK); /* SPIs and the epoch must be unique, not secret */
  if (!this->rng || !this->rng->get_bytes(this->rng, sizeof(epoch), (uint8_t*)&epoch)) {
    DBG1(DBG_KNL, "kernel-gw: no random numbers");
    return FALSE;
  }
  this->rpc = gw_rpc_create(path, epoch | 1); /* 0 would read as "none" */
  return this->rpc != NULL;
}

kernel_ipsec_t* kernel_gw_ipsec_create(void) {
  private_kernel_gw_ipsec_t* this;
  INIT(this,
       .public =
           {
               .get_features = _get_features,
               .get_spi = _get_spi,
               .get_cpi = _get_cpi,
               .add_sa = _add_sa,
               .update_sa = _update_sa,
               .query_sa = _query_sa,
               .del_sa = _del_sa,
               .flush_sas = _flush_sas,
               .add_policy = _add_policy,
               .query_policy = _query_policy,
               .del_policy = _del_policy,
               .flush_policies = _flush_policies,
               .bypass_socket = _bypass_socket,
               .enable_udp_decap = _enable_udp_decap,
               .destroy = _destroy,
           },
       .rng_mutex = mutex_create(MUTEX_TYPE_DEFAULT));
  if (start(this)) return &this->public;
  destroy(this);
  return NULL;
}
