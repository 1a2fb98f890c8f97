// SPDX-License-Identifier: GPL-2.0-or-later
/* See convert.h. */
#include "convert.h"

#include <arpa/inet.h>
#include <string.h>

static struct gw_addr addr_from_chunk(chunk_t chunk) {
  struct gw_addr addr = {.len = (uint8_t)min(chunk.len, sizeof(addr.bytes))};
  memcpy(addr.bytes, chunk.ptr, addr.len);
  return addr;
}

static int family_of(const struct gw_addr* addr) { return addr->len == 4 ? AF_INET : AF_INET6; }

static chunk_t chunk_of(const struct gw_addr* addr) { return chunk_create((u_char*)addr->bytes, addr->len); }

struct gw_addr gw_addr_from_host(host_t* host) { return addr_from_chunk(host->get_address(host)); }

host_t* gw_addr_to_host(const struct gw_addr* addr, uint16_t port) {
  return host_create_from_chunk(family_of(addr), chunk_of(addr), port);
}

traffic_selector_t* gw_addr_to_selector(const struct gw_addr* addr) {
  return traffic_selector_create_from_bytes(0, addr->len == 4 ? TS_IPV4_ADDR_RANGE : TS_IPV6_ADDR_RANGE, chunk_of(addr),
                                            0, chunk_of(addr), 65535);
}

struct gw_sa_id gw_sa_id_from(uint32_t spi_be, host_t* dst) {
  return (struct gw_sa_id){.spi = ntohl(spi_be), .dst = gw_addr_from_host(dst)};
}

struct gw_selectors gw_selectors_from_list(linked_list_t* list) {
  struct gw_selectors selectors = {.list = calloc((size_t)list->get_count(list) + 1, sizeof(struct gw_selector))};
  traffic_selector_t* from;
  if (!selectors.list) abort();
  enumerator_t* enumerator = list->create_enumerator(list);
  while (enumerator->enumerate(enumerator, &from)) {
    selectors.list[selectors.count++] = (struct gw_selector){
        .first = addr_from_chunk(from->get_from_address(from)),
        .last = addr_from_chunk(from->get_to_address(from)),
        .protocol = from->get_protocol(from),
        .first_port = from->get_from_port(from),
        .last_port = from->get_to_port(from),
    };
  }
  enumerator->destroy(enumerator);
  return selectors;
}
