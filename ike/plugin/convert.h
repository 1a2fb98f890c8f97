// SPDX-License-Identifier: GPL-2.0-or-later
/* Between strongSwan's types and the plugin's plain ones. SPIs are in network order in charon, in host order here. */
#ifndef GW_CONVERT_H
#define GW_CONVERT_H

#include <collections/linked_list.h>
#include <networking/host.h>
#include <selectors/traffic_selector.h>

#include "sa_table.h"

struct gw_addr gw_addr_from_host(host_t* host);
host_t* gw_addr_to_host(const struct gw_addr* addr, uint16_t port);  /* the caller's to destroy */
traffic_selector_t* gw_addr_to_selector(const struct gw_addr* addr); /* this address, any protocol */

struct gw_sa_id gw_sa_id_from(uint32_t spi_be, host_t* dst);
struct gw_selectors gw_selectors_from_list(linked_list_t* list);

#endif
