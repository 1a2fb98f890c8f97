// SPDX-License-Identifier: GPL-2.0-or-later
/* See gw_ha_end.h. charon says ALERT_SHUTDOWN_SIGNAL before it deletes its IKE_SAs, with the lock of its listeners
 * held: an IKE_SA that another thread works on cannot be waited for here, since that thread may wait for the lock. Such
 * a one is deleted at the site as well; it is one that had a message in that very moment. */
#include "gw_ha_end.h"

#include <daemon.h>

#include "ike/plugin/quiet_end.h"

struct gw_ha_end {
  listener_t listener;
  struct gw_ha_cache* cache;
};

static u_int leave(struct gw_ha_cache* cache) {
  ike_sa_t* ike_sa;
  u_int count = 0;
  enumerator_t* enumerator = charon->ike_sa_manager->create_enumerator(charon->ike_sa_manager, FALSE);
  while (enumerator->enumerate(enumerator, &ike_sa)) {
    const ike_sa_state_t state = ike_sa->get_state(ike_sa);
    if ((state != IKE_ESTABLISHED && state != IKE_REKEYING) || !gw_ha_cache_is_elsewhere(cache, ike_sa)) continue;
    ike_sa->set_state(ike_sa, IKE_PASSIVE); /* charon destroys such a one and says nothing */
    count++;
  }
  enumerator->destroy(enumerator);
  return count;
}

METHOD(listener_t, alert, bool, struct gw_ha_end* this, ike_sa_t* ike_sa, alert_t alert, va_list args) {
  if (alert != ALERT_SHUTDOWN_SIGNAL) return TRUE;
  const u_int count = leave(this->cache);
  if (count > 0) {
    lib->set(lib, GW_QUIET_END, this);
    DBG1(DBG_IKE, "gw-ha: %u IKE_SAs are left to the other instance, or to the next charon; no DELETE is sent", count);
  }
  return FALSE;
}

struct gw_ha_end* gw_ha_end_create(struct gw_ha_cache* cache) {
  struct gw_ha_end* this;
  INIT(this, .listener = {.alert = _alert}, .cache = cache);
  charon->bus->add_listener(charon->bus, &this->listener);
  return this;
}

void gw_ha_end_destroy(struct gw_ha_end* this) {
  charon->bus->remove_listener(charon->bus, &this->listener);
  free(this);
}
