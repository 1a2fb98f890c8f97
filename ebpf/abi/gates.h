/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * The endpoint gates: for which public addresses this instance sends and answers at this moment. One array, mapped by
 * gw-fastpath (ebpf/worker/endpoint_gates.hpp says who writes what) and read by the workers and by the BPF programs of
 * the wan port, so that a machine that wakes from a long sleep answers nothing before its processes run.
 * Times are of CLOCK_BOOTTIME in ns: bpf_ktime_get_boot_ns() is the same clock.
 */
#ifndef GW_EBPF_ABI_GATES_H
#define GW_EBPF_ABI_GATES_H

#include <linux/types.h>

/* Places; a bit each in a word. Place 0 is no endpoint: always open. */
#define GW_GATES 64
#define GW_GATE_FOREVER (~0ull)

struct gw_gate {
  __u64 until_ns;         /* sends before this time; 0: standby, GW_GATE_FOREVER: no deadline of its own */
  __u64 receive_until_ns; /* decapsulates before it, owned or not: what was under way when it was handed over */
  __u64 lease_epoch;      /* of our claim */
  __u64 lost_to_epoch;    /* the highest claim heard of the other instance: higher than ours closes the gate */
};

struct gw_gates {
  __u64 lease_until_ns; /* the embedded lease, for all endpoints; GW_GATE_FOREVER: there is none */
  __u64 used;           /* places in use, by their bits */
  __u64 hold;           /* nothing is sent at all: restarted, and nobody has said yet what is ours */
  __u64 parting;        /* places that take nothing new, while what is encrypted already leaves */
  __u64 reserved[4];
  struct gw_gate gates[GW_GATES];
};

static inline __attribute__((always_inline)) int gw_gate_is_open(__u64 lease_until_ns, const struct gw_gate* gate,
                                                                 __u64 now_ns) {
  return now_ns < lease_until_ns && now_ns < gate->until_ns && gate->lost_to_epoch <= gate->lease_epoch;
}

#endif
