// SPDX-License-Identifier: GPL-2.0-or-later
// Chooses the data TUN's queue (TUNSETSTEERINGEBPF): that of the worker which owns the tunnel in the mark.
#include "ebpf/xdp/maps.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("socket")
int gw_tun_steering(struct __sk_buff* skb) {
  __u32 slot = skb->mark;
  __u32* worker = bpf_map_lookup_elem(&slot_owners, &slot);
  return worker ? (int)*worker : 0;
}
