// SPDX-License-Identifier: GPL-2.0-or-later
/* See supported.h. Refused here rather than by the fast path where charon's own names make the better message. */
#include "supported.h"

#include "sa_table.h"

#define GCM_SALT_BYTES 4 /* RFC 4106 4 */

static bool supported_shape(kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
  if (id->proto != IPPROTO_ESP) {
    DBG1(DBG_KNL, "kernel-gw: protocol %u is not supported, only ESP is", id->proto);
  } else if (data->mode != MODE_TUNNEL) {
    DBG1(DBG_KNL, "kernel-gw: %N mode is not supported, only tunnel mode is", ipsec_mode_names, data->mode);
  } else if (data->ipcomp != IPCOMP_NONE) {
    DBG1(DBG_KNL, "kernel-gw: IP compression is not supported: set ipcomp = no");
  } else if (data->tfc) {
    DBG1(DBG_KNL, "kernel-gw: TFC padding is not supported: set tfc_padding = 0");
  } else if (id->mark.value || data->mark.value) {
    DBG1(DBG_KNL, "kernel-gw: marks are not supported: use if_id_in and if_id_out");
  } else if (data->label) {
    DBG1(DBG_KNL, "kernel-gw: security labels are not supported");
  } else {
    return TRUE;
  }
  return FALSE;
}

static bool supported_algorithm(kernel_ipsec_add_sa_t* data) {
  const size_t key_bits = data->enc_key.len > GCM_SALT_BYTES ? 8 * (data->enc_key.len - GCM_SALT_BYTES) : 0;
  if (data->enc_alg != ENCR_AES_GCM_ICV16) {
    DBG1(DBG_KNL,
         "kernel-gw: encryption algorithm %N is not supported, only AES_GCM_16 is (esp_proposals = aes256gcm16)",
         encryption_algorithm_names, data->enc_alg);
  } else if (data->int_alg != AUTH_UNDEFINED) {
    DBG1(DBG_KNL, "kernel-gw: integrity algorithm %N is not supported: AES_GCM_16 has its own",
         integrity_algorithm_names, data->int_alg);
  } else if (key_bits != 128 && key_bits != 192 && key_bits != 256) {
    DBG1(DBG_KNL, "kernel-gw: AES_GCM_16 key of %zu bits is not supported", key_bits);
  } else {
    return TRUE;
  }
  return FALSE;
}

status_t gw_supported(kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
  if (!supported_shape(id, data) || !supported_algorithm(data)) return NOT_SUPPORTED;
  if (id->if_id != 0) return SUCCESS;
  DBG1(DBG_KNL,
       "kernel-gw: %s SA %H - %H (reqid %u) has no interface id: set if_id_in and if_id_out of the child "
       "to its tunnel's id",
       data->inbound ? "inbound" : "outbound", id->src, id->dst, data->reqid);
  return FAILED;
}
