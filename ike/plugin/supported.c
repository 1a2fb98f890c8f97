// SPDX-License-Identifier: GPL-2.0-or-later
/* See supported.h. Refused here rather than by the fast path where charon's own names make the better message. */
#include "supported.h"

static bool supported_shape(kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
  if (id->proto != IPPROTO_ESP) {
    DBG1(DBG_KNL, "kernel-gw: protocol %u is not supported, only ESP is", id->proto);
  } else if (data->mode != MODE_TUNNEL) {
    DBG1(DBG_KNL, "kernel-gw: %N mode is not supported, only tunnel mode is", ipsec_mode_names, data->mode);
  } else if (data->ipcomp != IPCOMP_NONE) {
    DBG1(DBG_KNL, "kernel-gw: IP compression is not supported: set ipcomp = no");
  } else if (data->tfc == UINT32_MAX) {
    DBG1(DBG_KNL, "kernel-gw: tfc_padding = mtu is not supported: set the number of bytes");
  } else if (id->mark.value || data->mark.value) {
    DBG1(DBG_KNL, "kernel-gw: marks are not supported: use if_id_in and if_id_out");
  } else if (data->label) {
    DBG1(DBG_KNL, "kernel-gw: security labels are not supported");
  } else {
    return TRUE;
  }
  return FALSE;
}

enum gw_algorithm_fault gw_supported_algorithms(kernel_ipsec_add_sa_t* data, struct gw_algorithms* out) {
  const struct gw_transform_ids ids = {.encryption = data->enc_alg, .integrity = data->int_alg};
  const struct gw_key_lengths lengths = {.key = data->enc_key.len, .integrity_key = data->int_key.len};
  return gw_algorithms_find(&ids, &lengths, out);
}

static bool supported_algorithm(kernel_ipsec_add_sa_t* data) {
  struct gw_algorithms algorithms;
  switch (gw_supported_algorithms(data, &algorithms)) {
    case GW_ALGORITHM_OK: return TRUE;
    case GW_ALGORITHM_ENCRYPTION:
      DBG1(DBG_KNL, "kernel-gw: encryption algorithm %N is not supported (esp_proposals; aes256gcm16 is the usual one)",
           encryption_algorithm_names, data->enc_alg);
      break;
    case GW_ALGORITHM_INTEGRITY:
      DBG1(DBG_KNL, "kernel-gw: integrity algorithm %N is not supported with %N", integrity_algorithm_names,
           data->int_alg, encryption_algorithm_names, data->enc_alg);
      break;
    case GW_ALGORITHM_KEY:
      DBG1(DBG_KNL, "kernel-gw: %N key of %zu bytes is not supported", encryption_algorithm_names, data->enc_alg,
           data->enc_key.len);
      break;
    case GW_ALGORITHM_INTEGRITY_KEY:
      DBG1(DBG_KNL, "kernel-gw: %N key of %zu bytes is not supported", integrity_algorithm_names, data->int_alg,
           data->int_key.len);
      break;
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
