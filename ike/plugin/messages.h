// SPDX-License-Identifier: GPL-2.0-or-later
/* The wire of fastpath.proto, client side: requests as ready frames, and the reader that cuts a byte stream
 * into ServerFrames. Pure. What comes in is hostile until checked: lengths, frame size (1 MiB), addresses.
 * Frames may hold keys: clear them with gw_frame_clear, which wipes. */
#ifndef GW_MESSAGES_H
#define GW_MESSAGES_H

#include "gw/fastpath/v1/fastpath.pb-c.h"
#include "sa_table.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GW_FRAME_MAX (1024 * 1024) /* of what follows the length; the contract's limit */

struct gw_frame {
  size_t len;
  uint8_t* bytes; /* length prefix included; malloc'd */
};

void gw_frame_clear(struct gw_frame* frame);

struct gw_hello {
  const char* name;
  uint64_t epoch;
};

struct gw_frame gw_message_hello(uint64_t request, const struct gw_hello* hello);
/* Fresh unless some gw-fastpath has acknowledged the SA; hard_seconds is what is left of it at now_ms. */
struct gw_frame gw_message_add_sa(uint64_t request, const struct gw_sa* sa, uint64_t now_ms);
struct gw_frame gw_message_update_sa(uint64_t request, const struct gw_sa_id* id, const struct gw_path* path);
struct gw_frame gw_message_reserve_spi(uint64_t request, const struct gw_sa_id* id);
struct gw_frame gw_message_del_sa(uint64_t request, const struct gw_sa_id* id);
struct gw_frame gw_message_activate(uint64_t request, const struct gw_sa_id* id);
struct gw_frame gw_message_query_sa(uint64_t request, const struct gw_sa_id* id);
struct gw_frame gw_message_sync_done(uint64_t request);

/* False: not 4 or 16 bytes. */
bool gw_message_address(const ProtobufCBinaryData* data, struct gw_addr* out);
bool gw_message_sa_id(const Gw__Fastpath__V1__SaId* message, struct gw_sa_id* out);

const char* gw_message_code_name(Gw__Fastpath__V1__Code code);

struct gw_reader {
  uint8_t* buffer;
  size_t size;
  size_t used;
};

enum gw_read { GW_READ_FRAME, GW_READ_MORE, GW_READ_TOO_LONG, GW_READ_MALFORMED };

/* Where to receive into: *room bytes, at least 1. Valid until the next call of any gw_reader function. */
uint8_t* gw_reader_space(struct gw_reader* reader, size_t* room);
void gw_reader_received(struct gw_reader* reader, size_t count);
/* GW_READ_FRAME: *out is the caller's, to free with gw__fastpath__v1__server_frame__free_unpacked.
 * After GW_READ_TOO_LONG or GW_READ_MALFORMED the stream is unusable. */
enum gw_read gw_reader_next(struct gw_reader* reader, Gw__Fastpath__V1__ServerFrame** out);
void gw_reader_clear(struct gw_reader* reader);

#ifdef __cplusplus
}
#endif
#endif
