// SPDX-License-Identifier: GPL-2.0-or-later
/* The entry point of gw-ha: strongSwan's ha plugin (its messages, its listeners, its reading of what the other instance
 * says) on gwd's connection, with addresses for segments. Patched by gw-ha.patch at build time; ADR 15 has the reasons.
 * Settings: charon.plugins.gw-ha.socket. */
#include <daemon.h>
#include <plugins/plugin.h>

#include "gw_ha_cache.h"
#include "gw_ha_end.h"
#include "gw_ha_link.h"
#include "gw_ha_owned.h"
#include "ha_child.h"
#include "ha_dispatcher.h"
#include "ha_ike.h"

typedef struct private_gw_ha_t {
  plugin_t public;
  struct gw_ha_link* link;
  struct gw_ha_cache* cache;
  struct gw_ha_owned* owned;
  struct gw_ha_end* end;
  ha_ike_t* ike;
  ha_child_t* child;
  ha_dispatcher_t* dispatcher;
} private_gw_ha_t;

METHOD(plugin_t, get_name, char*, private_gw_ha_t* this) { return "gw-ha"; }

static bool start(private_gw_ha_t* this) {
  this->link =
      gw_ha_link_create(lib->settings->get_str(lib->settings, "%s.plugins.gw-ha.socket", GW_HA_SOCKET, lib->ns));
  if (!this->link) return FALSE;
  this->cache = gw_ha_cache_create(this->link);
  this->owned = gw_ha_owned_create();
  this->ike = ha_ike_create(this->cache);
  this->child = ha_child_create(this->cache);
  this->dispatcher = ha_dispatcher_create(this->link, this->cache, this->owned);
  charon->bus->add_listener(charon->bus, &this->ike->listener);
  charon->bus->add_listener(charon->bus, &this->child->listener);
  this->end = gw_ha_end_create(this->cache);
  return TRUE;
}

static bool plugin_cb(private_gw_ha_t* this, plugin_feature_t* feature, bool reg, void* data) {
  if (reg) return start(this);
  gw_ha_end_destroy(this->end);
  charon->bus->remove_listener(charon->bus, &this->ike->listener);
  charon->bus->remove_listener(charon->bus, &this->child->listener);
  return TRUE;
}

METHOD(plugin_t, get_features, int, private_gw_ha_t* this, plugin_feature_t* features[]) {
  static plugin_feature_t provided[] = {
      PLUGIN_CALLBACK((plugin_feature_callback_t)plugin_cb, NULL),
      PLUGIN_PROVIDE(CUSTOM, "gw-ha"),
      PLUGIN_SDEPEND(CUSTOM, "kernel-ipsec"),
  };
  *features = provided;
  return countof(provided);
}

METHOD(plugin_t, destroy, void, private_gw_ha_t* this) {
  DESTROY_IF(this->ike);
  DESTROY_IF(this->child);
  DESTROY_IF(this->dispatcher);
  if (this->owned) gw_ha_owned_destroy(this->owned);
  if (this->cache) gw_ha_cache_destroy(this->cache);
  if (this->link) gw_ha_link_destroy(this->link);
  free(this);
}

plugin_t* gw_ha_plugin_create(void); /* charon's loader looks the name up */

__attribute__((visibility("default"))) plugin_t* gw_ha_plugin_create(void) {
  private_gw_ha_t* this;
  INIT(this, .public = {.get_name = _get_name, .get_features = _get_features, .destroy = _destroy});
  return &this->public;
}
