// SPDX-License-Identifier: GPL-2.0-or-later
/* The ESP algorithms that gw-fastpath has, by their IANA transform ids (which charon uses) and by fastpath.proto's
 * numbers. Pure: no strongSwan and no protobuf types. Whether the administrator allows one is the fast path's
 * business. */
#ifndef GW_ALGORITHMS_H
#define GW_ALGORITHMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GW_KEY_MAX 36           /* AES-GCM-256, ChaCha20: 32 bytes of key, 4 of salt (RFC 4106 8.1) */
#define GW_INTEGRITY_KEY_MAX 64 /* HMAC-SHA2-512 (RFC 4868 2.1.1) */

struct gw_transform_ids {
  uint16_t encryption; /* IKEv2 transform type 1 */
  uint16_t integrity;  /* type 3; an AEAD has none: 1024, charon's AUTH_UNDEFINED, or 0 */
};

struct gw_algorithms { /* fastpath.proto's Encryption and Integrity */
  uint32_t encryption;
  uint32_t integrity;
};

struct gw_key_lengths { /* bytes */
  size_t key;           /* of the cipher, salt included */
  size_t integrity_key;
};

enum gw_algorithm_fault {
  GW_ALGORITHM_OK,
  GW_ALGORITHM_ENCRYPTION, /* unknown */
  GW_ALGORITHM_INTEGRITY,  /* unknown, missing, or beside an AEAD */
  GW_ALGORITHM_KEY,        /* length */
  GW_ALGORITHM_INTEGRITY_KEY,
};

enum gw_algorithm_fault gw_algorithms_find(const struct gw_transform_ids* ids, const struct gw_key_lengths* lengths,
                                           struct gw_algorithms* out);

#ifdef __cplusplus
}
#endif
#endif
