// SPDX-License-Identifier: GPL-2.0-or-later
// Counts what XDP sent to a clear port and what was lost on the way to its driver: the programs have long ended then,
// and nobody else tells. Two raw tracepoints: one runs once for each batch of frames, the other for errors alone.
#include "ebpf/xdp/maps.bpf.h"

#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 network;          // inode of our network namespace; set at load
const volatile __u32 ports[GW_SIDES];  // interfaces of the clear ports; 0: none

// What we read of the kernel's; the loader finds the fields (CO-RE).
struct ns_common {
  unsigned int inum;
} __attribute__((preserve_access_index));
struct net {
  struct ns_common ns;
} __attribute__((preserve_access_index));
typedef struct {
  struct net* net;
} __attribute__((preserve_access_index)) possible_net_t;
struct net_device {
  int ifindex;
  possible_net_t nd_net;
} __attribute__((preserve_access_index));

static __always_inline __u32 interface_of(const struct net_device* device) {
  return BPF_CORE_READ(device, nd_net.net, ns.inum) == network ? (__u32)BPF_CORE_READ(device, ifindex) : 0;
}

static __always_inline void count_at(__u32 ifindex, enum gw_xdp_counter counter, __u64 packets) {
  if (ifindex == 0) return;
  if (ifindex == ports[GW_SIDE_VNET]) gw_count(&vnet_counters, counter, packets);
  if (ifindex == ports[GW_SIDE_CIRCUIT]) gw_count(&circuit_counters, counter, packets);
}

// The driver is full, or its other end is gone: (from_dev, to_dev, sent, drops, err).
SEC("raw_tp/xdp_devmap_xmit")
int gw_devmap_drops(struct bpf_raw_tracepoint_args* ctx) {
  const int drops = (int)ctx->args[3];
  if (drops > 0) count_at(interface_of((const void*)ctx->args[1]), GW_XDP_DROP_TX_FULL, (__u64)drops);
  return 0;
}

// The driver takes no frames any more, and we have not heard of it yet: (from_dev, program, target, err, map type,
// ...). What goes to AF_XDP sockets is counted by them.
SEC("raw_tp/xdp_redirect_err")
int gw_redirect_errors(struct bpf_raw_tracepoint_args* ctx) {
  if (ctx->args[4] != BPF_MAP_TYPE_DEVMAP) return 0;
  count_at(interface_of((const void*)ctx->args[0]), GW_XDP_DROP_NO_SOCKET, 1);
  return 0;
}
