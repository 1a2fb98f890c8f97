// SPDX-License-Identifier: GPL-2.0-or-later
/* What the fast path can carry out. */
#ifndef GW_SUPPORTED_H
#define GW_SUPPORTED_H

#include <daemon.h>
#include <kernel/kernel_ipsec.h>

#include "algorithms.h"

/* SUCCESS, NOT_SUPPORTED (algorithm, mode, option) or FAILED (no tunnel id); all but SUCCESS are logged by name. */
status_t gw_supported(kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data);

/* What gw_supported has found good, in the words of the fast path. */
enum gw_algorithm_fault gw_supported_algorithms(kernel_ipsec_add_sa_t* data, struct gw_algorithms* out);

#endif
