// SPDX-License-Identifier: GPL-2.0-or-later
/* The plugin's entry point. Registers kernel-gw as charon's IPsec interface; kernel-netlink keeps the network part,
 * so load kernel-gw before it (the first provider of "kernel-ipsec" wins). It is charon's IKE socket as well, in
 * place of socket-default: gw-fastpath has the ports. */
#include <daemon.h>
#include <plugins/plugin.h>

#include "kernel_gw_ipsec.h"
#include "socket_gw.h"

METHOD(plugin_t, get_name, char*, plugin_t* this) { return "kernel-gw"; }

enum { kSocketFeatures = 3 }; /* the last entries below */

METHOD(plugin_t, get_features, int, plugin_t* this, plugin_feature_t* features[]) {
  static plugin_feature_t provided[] = {
      PLUGIN_CALLBACK(kernel_ipsec_register, kernel_gw_ipsec_create),
      PLUGIN_PROVIDE(CUSTOM, "kernel-ipsec"),
      PLUGIN_DEPENDS(RNG, RNG_WEAK),
      PLUGIN_CALLBACK(socket_register, gw_socket_create),
      PLUGIN_PROVIDE(CUSTOM, "socket"),
      PLUGIN_SDEPEND(CUSTOM, "kernel-ipsec"),
  };
  *features = provided;
  return gw_socket_wanted() ? countof(provided) : countof(provided) - kSocketFeatures;
}

METHOD(plugin_t, destroy, void, plugin_t* this) { free(this); }

plugin_t* kernel_gw_plugin_create(void); /* charon's loader looks the name up */

__attribute__((visibility("default"))) plugin_t* kernel_gw_plugin_create(void) {
  plugin_t* this;
  INIT(this, .get_name = _get_name, .get_features = _get_features, .destroy = _destroy);
  return this;
}
