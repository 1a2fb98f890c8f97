// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of what charon has installed: SAs with their keys (kept only to replay them to a gw-fastpath that
 * has restarted) and SPIs that are allocated but not yet in use. Pure: no locks, no I/O, no strongSwan and no
 * protobuf types; the caller serializes. Key memory is wiped when an entry goes.
 * SPIs and ports are in host order, addresses in network order. */
#ifndef GW_SA_TABLE_H
#define GW_SA_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "algorithms.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gw_addr {
  uint8_t len; /* 4 or 16 */
  uint8_t bytes[16];
};

bool gw_addr_equal(const struct gw_addr* a, const struct gw_addr* b);

struct gw_sa_id {
  uint32_t spi;
  struct gw_addr dst;
};

struct gw_selector {
  struct gw_addr first;
  struct gw_addr last;
  uint8_t protocol; /* 0: any */
  uint16_t first_port;
  uint16_t last_port;
};

struct gw_selectors {
  size_t count;
  struct gw_selector* list; /* malloc'd, owned */
};

enum gw_direction { GW_INBOUND, GW_OUTBOUND };
enum gw_encapsulation { GW_ENCAP_NONE, GW_ENCAP_UDP };
enum gw_sequence_numbers { GW_SEQ_32, GW_SEQ_64 };
enum gw_origin { GW_NEGOTIATED_HERE, GW_SYNCED /* by the other instance of the gateway: it may have used the key */ };

/* What can change while an SA lives (MOBIKE, NAT rebinding). */
struct gw_path {
  struct gw_addr src;
  struct gw_addr dst;
  uint16_t src_port; /* ports only with GW_ENCAP_UDP */
  uint16_t dst_port;
  enum gw_encapsulation encapsulation;
};

struct gw_limits { /* 0: no limit */
  uint64_t soft_bytes;
  uint64_t hard_bytes;
  uint64_t soft_packets;
  uint64_t hard_packets;
  uint64_t hard_seconds; /* from installation */
};

struct gw_sa_params {
  uint32_t spi;
  struct gw_path path;
  enum gw_direction direction;
  enum gw_sequence_numbers sequence_numbers;
  enum gw_origin origin;
  uint32_t tunnel_id;
  uint32_t reqid;
  uint32_t replay_window_pkts;
  struct gw_limits limits;
  struct gw_selectors local;
  struct gw_selectors remote;
  struct gw_algorithms algorithms;
  uint32_t tfc_pad_to_bytes; /* outbound; 0: no padding */
  size_t key_len;
  uint8_t key[GW_KEY_MAX];
  size_t integrity_key_len;
  uint8_t integrity_key[GW_INTEGRITY_KEY_MAX];
};

/* Frees the selectors and wipes the keys. */
void gw_sa_params_clear(struct gw_sa_params* params);

struct gw_sa_counters {
  uint64_t packets;
  uint64_t bytes;
  uint64_t last_used_unix_ms; /* 0: never */
  uint64_t read_ms;           /* when gw-fastpath reported them; 0: never */
};

enum gw_sa_state { GW_SA_RESERVED, GW_SA_INSTALLED };

struct gw_sa {
  struct gw_sa_params params; /* of a reservation only spi is meaningful */
  enum gw_sa_state state;
  uint64_t serial; /* unique for the life of the table: tells incarnations apart */
  uint64_t installed_ms;
  bool acknowledged; /* some gw-fastpath has had it, so its key may have been used */
  bool lost;         /* the present gw-fastpath refused to take it back */
  bool asked_for;    /* its soft expire is repeated */
  struct gw_sa_counters counters;
  struct gw_sa* hash_next;
  struct gw_sa* older;
  struct gw_sa* newer;
};

struct gw_sa_table;

struct gw_sa_table* gw_sa_table_create(void);
void gw_sa_table_destroy(struct gw_sa_table* table);

/* Reserves an inbound SPI. False: some entry has it already, whatever its address. */
bool gw_sa_table_reserve(struct gw_sa_table* table, uint32_t spi);

/* Moves *params into the table (it is cleared in any case) and takes over the reservation of an inbound SPI.
 * NULL: (SPI, dst) is installed already. The entry stays valid until it is removed. */
struct gw_sa* gw_sa_table_put(struct gw_sa_table* table, struct gw_sa_params* params, uint64_t now_ms);

/* Installed SAs only. */
struct gw_sa* gw_sa_table_find(const struct gw_sa_table* table, const struct gw_sa_id* id);
struct gw_sa* gw_sa_table_find_serial(const struct gw_sa_table* table, uint32_t spi, uint64_t serial);

enum gw_removed { GW_REMOVED_NOTHING, GW_REMOVED_RESERVATION, GW_REMOVED_SA };
enum gw_removed gw_sa_table_remove(struct gw_sa_table* table, const struct gw_sa_id* id);

/* False, and nothing changes: another SA has (SPI, path->dst). */
bool gw_sa_table_move(struct gw_sa_table* table, struct gw_sa* sa, const struct gw_path* path);

/* Installed SAs, oldest first: NULL starts, NULL ends. */
struct gw_sa* gw_sa_table_next(const struct gw_sa_table* table, const struct gw_sa* after);

size_t gw_sa_table_size(const struct gw_sa_table* table); /* reservations included */

/* One SA for each (tunnel, reqid) that has a lost SA: rekeying it replaces the CHILD_SA's pair. The newest
 * lost inbound SA if there is one, else the newest lost outbound SA. Writes at most `room`, returns the number. */
size_t gw_sa_table_pick_rekeys(const struct gw_sa_table* table, struct gw_sa** out, size_t room);

#ifdef __cplusplus
}
#endif
#endif
