// SPDX-License-Identifier: GPL-2.0-or-later
/* See algorithms.h. Ids: IANA "Internet Key Exchange Version 2 (IKEv2) Parameters". */
#include "algorithms.h"

#include "gw/fastpath/v1/fastpath.pb-c.h"

#define NO_INTEGRITY 1024 /* AUTH_UNDEFINED of charon */
#define SALT 4            /* RFC 4106 4, RFC 7634 2 */

struct encryption {
  uint16_t id;
  uint32_t wire;
  bool aead;
  uint8_t keys[3]; /* lengths without salt; 0 ends */
};

static const struct encryption encryptions[] = {
    {20, GW__FASTPATH__V1__ENCRYPTION__AES_GCM_16, true, {16, 24, 32}},
    {19, GW__FASTPATH__V1__ENCRYPTION__AES_GCM_12, true, {16, 24, 32}},
    {18, GW__FASTPATH__V1__ENCRYPTION__AES_GCM_8, true, {16, 24, 32}},
    {28, GW__FASTPATH__V1__ENCRYPTION__CHACHA20_POLY1305, true, {32}},
    {12, GW__FASTPATH__V1__ENCRYPTION__AES_CBC, false, {16, 24, 32}},
    {3, GW__FASTPATH__V1__ENCRYPTION__TRIPLE_DES_CBC, false, {24}},
    {11, GW__FASTPATH__V1__ENCRYPTION__NULL_CIPHER, false, {0}},
};

static const struct {
  uint16_t id;
  uint32_t wire;
  uint8_t key;
} integrities[] = {
    {2, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA1_96, 20},
    {12, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_256_128, 32},
    {13, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_384_192, 48},
    {14, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_512_256, 64},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct encryption* find_encryption(uint16_t id) {
  for (size_t i = 0; i < COUNT(encryptions); i++) {
    if (encryptions[i].id == id) return &encryptions[i];
  }
  return NULL;
}

static bool key_fits(const struct encryption* encryption, size_t bytes) {
  const size_t salt = encryption->aead ? SALT : 0;
  if (!encryption->keys[0]) return bytes == 0;
  for (size_t i = 0; i < COUNT(encryption->keys) && encryption->keys[i]; i++) {
    if (bytes == encryption->keys[i] + salt) return true;
  }
  return false;
}

static enum gw_algorithm_fault find_integrity(uint16_t id, size_t key_bytes, struct gw_algorithms* out) {
  for (size_t i = 0; i < COUNT(integrities); i++) {
    if (integrities[i].id != id) continue;
    out->integrity = integrities[i].wire;
    return key_bytes == integrities[i].key ? GW_ALGORITHM_OK : GW_ALGORITHM_INTEGRITY_KEY;
  }
  return GW_ALGORITHM_INTEGRITY;
}

enum gw_algorithm_fault gw_algorithms_find(const struct gw_transform_ids* ids, const struct gw_key_lengths* lengths,
                                           struct gw_algorithms* out) {
  const struct encryption* encryption = find_encryption(ids->encryption);
  *out = (struct gw_algorithms){0};
  if (!encryption) return GW_ALGORITHM_ENCRYPTION;
  out->encryption = encryption->wire;
  if (!key_fits(encryption, lengths->key)) return GW_ALGORITHM_KEY;
  if (!encryption->aead) return find_integrity(ids->integrity, lengths->integrity_key, out);
  if (ids->integrity != 0 && ids->integrity != NO_INTEGRITY) return GW_ALGORITHM_INTEGRITY;
  return lengths->integrity_key == 0 ? GW_ALGORITHM_OK : GW_ALGORITHM_INTEGRITY_KEY;
}
