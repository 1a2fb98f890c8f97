// SPDX-License-Identifier: GPL-2.0-or-later
// Chooses among the workers' sockets on UDP 4500 (SO_ATTACH_REUSEPORT_EBPF): ESP goes to the worker that owns the
// SA, IKE and everything else to worker 0. Of a train (GRO) the first datagram decides: a flow is one SA's, but
// for the moment of a rekey, when the worker hands over.
#include "ebpf/xdp/guard.bpf.h"

char LICENSE[] SEC("license") = "GPL";

// By worker and family: 2 * worker, + 1 for IPv6. A group of sockets has one family.
struct {
  __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
  __uint(max_entries, 2 * GW_MAX_WORKERS);
  __type(key, __u32);
  __type(value, __u64);
} nat_t_sockets SEC(".maps");

static __always_inline __u32 owner_of(struct sk_reuseport_md* md, int v6) {
  struct gw_spi_key key = {.family = v6 ? 6 : 4};
  if (bpf_skb_load_bytes(md, sizeof(struct udphdr), &key.spi_be, sizeof(key.spi_be)) != 0 || !key.spi_be) return 0;
  long copied = v6 ? bpf_skb_load_bytes_relative(md, offsetof(struct ipv6hdr, daddr), key.dst, 16, BPF_HDR_START_NET)
                   : bpf_skb_load_bytes_relative(md, offsetof(struct iphdr, daddr), key.dst, 4, BPF_HDR_START_NET);
  if (copied != 0) return 0;
  struct gw_spi_owner* owner = bpf_map_lookup_elem(&spis, &key);
  return owner ? owner->worker : 0;
}

SEC("sk_reuseport")
int gw_nat_t_steering(struct sk_reuseport_md* md) {
  int v6 = md->eth_protocol == bpf_htons(ETH_P_IPV6);
  __u32 index = 2 * owner_of(md, v6) + v6;
  // Without such a socket the kernel chooses by its hash, and whoever gets it hands over.
  (void)bpf_sk_select_reuseport(md, &nat_t_sockets, &index, 0);
  return SK_PASS;
}
