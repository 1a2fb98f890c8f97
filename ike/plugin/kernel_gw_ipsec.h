// SPDX-License-Identifier: GPL-2.0-or-later
/* charon's kernel_ipsec_t on top of gw-fastpath: SAs and policies go to the table, and to the fast path over RPC. */
#ifndef GW_KERNEL_GW_IPSEC_H
#define GW_KERNEL_GW_IPSEC_H

#include <daemon.h>
#include <kernel/kernel_ipsec.h>

/* A kernel_ipsec_constructor_t. NULL (logged): no RNG, or a bad charon.plugins.kernel-gw setting. */
kernel_ipsec_t* kernel_gw_ipsec_create(void);

#endif
