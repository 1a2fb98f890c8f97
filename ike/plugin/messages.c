// SPDX-License-Identifier: GPL-2.0-or-later
/* See messages.h. Length prefix and bodies as fastpath.proto has them. */
#include "messages.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX 4
#define FIRST_BUFFER 4096
#define SMALLEST_WINDOW_PKTS 64 /* the fast path always checks replay (RFC 4303 3.4.3) */

typedef Gw__Fastpath__V1__ClientFrame Frame;
typedef Gw__Fastpath__V1__Endpoint Endpoint;
typedef Gw__Fastpath__V1__SaId SaId;
typedef Gw__Fastpath__V1__Selector Selector;

void gw_frame_clear(struct gw_frame* frame) {
  if (frame->bytes) {
    explicit_bzero(frame->bytes, frame->len);
    free(frame->bytes);
  }
  *frame = (struct gw_frame){0};
}

static struct gw_frame pack(const Frame* message) {
  const size_t body = gw__fastpath__v1__client_frame__get_packed_size(message);
  struct gw_frame frame = {.len = PREFIX + body, .bytes = malloc(PREFIX + body)};
  if (!frame.bytes) abort();
  for (int i = 0; i < PREFIX; i++) frame.bytes[i] = (uint8_t)(body >> (8 * (PREFIX - 1 - i)));
  gw__fastpath__v1__client_frame__pack(message, frame.bytes + PREFIX);
  return frame;
}

static Frame frame_of(uint64_t request, Gw__Fastpath__V1__ClientFrame__BodyCase body) {
  Frame frame = GW__FASTPATH__V1__CLIENT_FRAME__INIT;
  frame.id = request;
  frame.body_case = body;
  return frame;
}

/* protobuf-c has no const in its messages; packing only reads. */
static ProtobufCBinaryData bytes_of(const struct gw_addr* addr) {
  return (ProtobufCBinaryData){.len = addr->len, .data = (uint8_t*)addr->bytes};
}

static SaId sa_id_of(const struct gw_sa_id* id) {
  SaId message = GW__FASTPATH__V1__SA_ID__INIT;
  message.spi = id->spi;
  message.dst = bytes_of(&id->dst);
  return message;
}

static Endpoint endpoint_of(const struct gw_addr* addr, uint16_t port, enum gw_encapsulation encapsulation) {
  Endpoint message = GW__FASTPATH__V1__ENDPOINT__INIT;
  message.address = bytes_of(addr);
  message.port = encapsulation == GW_ENCAP_UDP ? port : 0;
  return message;
}

struct gw_frame gw_message_hello(uint64_t request, const struct gw_hello* hello) {
  Gw__Fastpath__V1__Hello body = GW__FASTPATH__V1__HELLO__INIT;
  body.version = 1;
  body.role = GW__FASTPATH__V1__ROLE__ROLE_IKE;
  body.name = (char*)hello->name;
  body.epoch = hello->epoch;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_HELLO);
  frame.hello = &body;
  return pack(&frame);
}

struct selector_block {
  Selector* messages;
  Selector** pointers;
};

static struct selector_block selectors_of(const struct gw_selectors* selectors) {
  struct selector_block block = {.messages = calloc(selectors->count + 1, sizeof(Selector)),
                                 .pointers = calloc(selectors->count + 1, sizeof(Selector*))};
  if (!block.messages || !block.pointers) abort();
  for (size_t i = 0; i < selectors->count; i++) {
    const struct gw_selector* from = &selectors->list[i];
    Selector* to = block.pointers[i] = &block.messages[i];
    gw__fastpath__v1__selector__init(to);
    to->first = bytes_of(&from->first);
    to->last = bytes_of(&from->last);
    to->protocol = from->protocol;
    to->first_port = from->first_port;
    to->last_port = from->last_port;
  }
  return block;
}

static void selectors_free(struct selector_block* block) {
  free(block->messages);
  free(block->pointers);
}

static Gw__Fastpath__V1__Lifetime lifetime_of(const struct gw_sa* sa, uint64_t now_ms) {
  const struct gw_limits* limits = &sa->params.limits;
  Gw__Fastpath__V1__Lifetime message = GW__FASTPATH__V1__LIFETIME__INIT;
  message.soft_bytes = limits->soft_bytes;
  message.hard_bytes = limits->hard_bytes;
  message.soft_packets = limits->soft_packets;
  message.hard_packets = limits->hard_packets;
  if (limits->hard_seconds) { /* 0 would mean "no limit": an SA that is overdue keeps one second */
    const uint64_t age_seconds = (now_ms - sa->installed_ms) / 1000;
    message.hard_seconds = age_seconds < limits->hard_seconds ? limits->hard_seconds - age_seconds : 1;
  }
  return message;
}

struct gw_frame gw_message_add_sa(uint64_t request, const struct gw_sa* sa, uint64_t now_ms) {
  const struct gw_sa_params* params = &sa->params;
  const struct gw_path* path = &params->path;
  const struct gw_sa_id key = {.spi = params->spi, .dst = path->dst};
  SaId id = sa_id_of(&key);
  Endpoint src = endpoint_of(&path->src, path->src_port, path->encapsulation);
  Endpoint dst = endpoint_of(&path->dst, path->dst_port, path->encapsulation);
  Gw__Fastpath__V1__Lifetime lifetime = lifetime_of(sa, now_ms);
  struct selector_block local = selectors_of(&params->local);
  struct selector_block remote = selectors_of(&params->remote);
  Gw__Fastpath__V1__AddSa body = GW__FASTPATH__V1__ADD_SA__INIT;
  body.id = &id;
  body.src = &src;
  body.dst = &dst;
  body.inbound = params->direction == GW_INBOUND;
  body.tunnel_id = params->tunnel_id;
  body.encryption = (Gw__Fastpath__V1__Encryption)params->algorithms.encryption;
  body.integrity = (Gw__Fastpath__V1__Integrity)params->algorithms.integrity;
  body.key = (ProtobufCBinaryData){.len = params->key_len, .data = (uint8_t*)params->key};
  body.integrity_key = (ProtobufCBinaryData){.len = params->integrity_key_len, .data = (uint8_t*)params->integrity_key};
  body.tfc_pad_to = params->tfc_pad_to_bytes;
  body.esn = params->sequence_numbers == GW_SEQ_64;
  if (params->direction == GW_INBOUND) {
    body.replay_window =
        params->replay_window_pkts > SMALLEST_WINDOW_PKTS ? params->replay_window_pkts : SMALLEST_WINDOW_PKTS;
  }
  body.udp_encapsulation = path->encapsulation == GW_ENCAP_UDP;
  body.n_local_selectors = params->local.count;
  body.local_selectors = local.pointers;
  body.n_remote_selectors = params->remote.count;
  body.remote_selectors = remote.pointers;
  body.lifetime = &lifetime;
  body.fresh = !sa->acknowledged;
  body.synced = params->origin == GW_SYNCED;
  body.reqid = params->reqid;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_ADD_SA);
  frame.add_sa = &body;
  const struct gw_frame packed = pack(&frame);
  selectors_free(&local);
  selectors_free(&remote);
  return packed;
}

struct gw_frame gw_message_update_sa(uint64_t request, const struct gw_sa_id* id, const struct gw_path* path) {
  SaId key = sa_id_of(id);
  Endpoint src = endpoint_of(&path->src, path->src_port, path->encapsulation);
  Endpoint dst = endpoint_of(&path->dst, path->dst_port, path->encapsulation);
  Gw__Fastpath__V1__UpdateSa body = GW__FASTPATH__V1__UPDATE_SA__INIT;
  body.id = &key;
  body.new_src = &src;
  body.new_dst = &dst;
  body.udp_encapsulation = path->encapsulation == GW_ENCAP_UDP;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_UPDATE_SA);
  frame.update_sa = &body;
  return pack(&frame);
}

struct gw_frame gw_message_reserve_spi(uint64_t request, const struct gw_sa_id* id) {
  SaId key = sa_id_of(id);
  Gw__Fastpath__V1__ReserveSpi body = GW__FASTPATH__V1__RESERVE_SPI__INIT;
  body.id = &key;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_RESERVE_SPI);
  frame.reserve_spi = &body;
  return pack(&frame);
}

struct gw_frame gw_message_del_sa(uint64_t request, const struct gw_sa_id* id) {
  SaId key = sa_id_of(id);
  Gw__Fastpath__V1__DelSa body = GW__FASTPATH__V1__DEL_SA__INIT;
  body.id = &key;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_DEL_SA);
  frame.del_sa = &body;
  return pack(&frame);
}

struct gw_frame gw_message_activate(uint64_t request, const struct gw_sa_id* id) {
  SaId key = sa_id_of(id);
  Gw__Fastpath__V1__ActivateOutbound body = GW__FASTPATH__V1__ACTIVATE_OUTBOUND__INIT;
  body.id = &key;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_ACTIVATE_OUTBOUND);
  frame.activate_outbound = &body;
  return pack(&frame);
}

struct gw_frame gw_message_query_sa(uint64_t request, const struct gw_sa_id* id) {
  SaId key = sa_id_of(id);
  Gw__Fastpath__V1__QuerySa body = GW__FASTPATH__V1__QUERY_SA__INIT;
  body.id = &key;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_QUERY_SA);
  frame.query_sa = &body;
  return pack(&frame);
}

struct gw_frame gw_message_sync_done(uint64_t request) {
  Gw__Fastpath__V1__SyncDone body = GW__FASTPATH__V1__SYNC_DONE__INIT;
  Frame frame = frame_of(request, GW__FASTPATH__V1__CLIENT_FRAME__BODY_SYNC_DONE);
  frame.sync_done = &body;
  return pack(&frame);
}

bool gw_message_address(const ProtobufCBinaryData* data, struct gw_addr* out) {
  if (data->len != 4 && data->len != 16) return false;
  *out = (struct gw_addr){.len = (uint8_t)data->len};
  memcpy(out->bytes, data->data, data->len);
  return true;
}

bool gw_message_sa_id(const Gw__Fastpath__V1__SaId* message, struct gw_sa_id* out) {
  if (!message || !message->spi || !gw_message_address(&message->dst, &out->dst)) return false;
  out->spi = message->spi;
  return true;
}

const char* gw_message_code_name(Gw__Fastpath__V1__Code code) {
  const ProtobufCEnumValue* value =
      protobuf_c_enum_descriptor_get_value(&gw__fastpath__v1__code__descriptor, (int)code);
  return value ? value->name : "unknown code";
}

/* --- reader ------------------------------------------------------------------------------------------------- */

static size_t frame_length(const struct gw_reader* reader) {
  size_t length = 0;
  for (int i = 0; i < PREFIX; i++) length = length << 8 | reader->buffer[i];
  return length;
}

uint8_t* gw_reader_space(struct gw_reader* reader, size_t* room) {
  size_t wanted = FIRST_BUFFER;
  if (reader->used >= PREFIX) { /* gw_reader_next has checked the length */
    const size_t length = frame_length(reader);
    if (length <= GW_FRAME_MAX && PREFIX + length > wanted) wanted = PREFIX + length;
  }
  if (wanted <= reader->used) wanted = reader->used + FIRST_BUFFER;
  if (reader->size < wanted) {
    uint8_t* bigger = realloc(reader->buffer, wanted);
    if (!bigger) abort();
    reader->buffer = bigger;
    reader->size = wanted;
  }
  *room = reader->size - reader->used;
  return reader->buffer + reader->used;
}

void gw_reader_received(struct gw_reader* reader, size_t count) { reader->used += count; }

enum gw_read gw_reader_next(struct gw_reader* reader, Gw__Fastpath__V1__ServerFrame** out) {
  if (reader->used < PREFIX) return GW_READ_MORE;
  const size_t length = frame_length(reader);
  if (length > GW_FRAME_MAX) return GW_READ_TOO_LONG;
  if (reader->used < PREFIX + length) return GW_READ_MORE;
  *out = gw__fastpath__v1__server_frame__unpack(NULL, length, reader->buffer + PREFIX);
  if (!*out) return GW_READ_MALFORMED;
  reader->used -= PREFIX + length;
  memmove(reader->buffer, reader->buffer + PREFIX + length, reader->used);
  return GW_READ_FRAME;
}

void gw_reader_clear(struct gw_reader* reader) {
  free(reader->buffer);
  *reader = (struct gw_reader){0};
}
