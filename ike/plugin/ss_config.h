// SPDX-License-Identifier: GPL-2.0-or-later
/* The part of strongSwan's generated config.h that its headers look at, with Debian 13's values (6.0.1).
 * Included before everything (-include). It is an ABI matter, not a convenience: Debian configures with
 * --enable-mediation, and without ME the layouts of daemon_t, ike_sa_t and peer_cfg_t differ from the charon
 * that loads us. tests/system/test_plugin.py loads the result into the stock charon. */
#ifndef GW_SS_CONFIG_H
#define GW_SS_CONFIG_H
#define CONFIG_H_INCLUDED 1
#define VERSION "6.0.1"
#define ME 1
#define USE_IKEV1 1
#define USE_IKEV2 1
#define CAPABILITIES 1
#define CAPABILITIES_LIBCAP 1
#define HAVE_SIGWAITINFO 1
#define HAVE_SEM_TIMEDWAIT 1
#define HAVE_PRCTL 1
#define HAVE_STRERROR_R 1
#define HAVE_STDBOOL_H 1
#define HAVE__BOOL 1
#define HAVE_ALLOCA_H 1
#define HAVE_SYS_PARAM_H 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_CONDATTR_CLOCK_MONOTONIC 1
#define HAVE_EXPLICIT_BZERO 1
#define HAVE_MEMRCHR 1
#define HAVE_FMEMOPEN 1
#define HAVE_CLOSEFROM 1
#define HAVE_INT128 1
#define HAVE_PRINTF_SPECIFIER 1
#define HAVE_QSORT_R 1
#define HAVE_QSORT_R_GNU 1
#endif
