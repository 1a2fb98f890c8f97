/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * Why a packet was dropped: one typed reason each, shared by the BPF programs and user space. Counter
 * arrays are indexed by it, so numbers only ever grow: append before GW_DROP_COUNT, never reorder.
 * Names and one-sentence meanings for people: drop_names.cpp. No #include: BPF programs bring vmlinux.h.
 */
#ifndef GW_EBPF_ABI_DROP_H
#define GW_EBPF_ABI_DROP_H

enum gw_drop {
  GW_DROP_NONE = 0, /* not dropped */

  /* outer header and classification */
  GW_DROP_TRUNCATED,
  GW_DROP_MALFORMED_OUTER,
  GW_DROP_OUTER_FRAGMENT,
  GW_DROP_UNKNOWN_SPI,
  GW_DROP_IKE_FLOOD,
  GW_DROP_NO_TUNNEL,
  GW_DROP_NO_OUTBOUND_SA,
  GW_DROP_REDIRECT_FAILED,

  /* ESP, inbound */
  GW_DROP_REPLAY,
  GW_DROP_ICV,
  GW_DROP_PAD,
  GW_DROP_NEXT_HEADER,
  GW_DROP_DUMMY,
  GW_DROP_MALFORMED_INNER,
  GW_DROP_ECN,

  /* ESP, both directions */
  GW_DROP_TS_MISMATCH,
  GW_DROP_HARD_EXPIRED,

  /* ESP, outbound */
  GW_DROP_SEQ_EXHAUSTED,
  GW_DROP_IV_EXHAUSTED,
  GW_DROP_NO_HEADROOM,
  GW_DROP_CRYPTO_FAILED,

  /* forwarding and transmission */
  GW_DROP_TOO_BIG,
  GW_DROP_TTL,
  GW_DROP_NO_ROUTE,
  GW_DROP_NOT_FORWARDABLE,
  GW_DROP_NO_NEIGHBOUR,
  GW_DROP_TX_FULL,
  GW_DROP_TUN_FULL,
  GW_DROP_HANDOVER_FULL,
  GW_DROP_NO_FRAME,

  /* routing */
  GW_DROP_RECURSION,
  GW_DROP_SPOOFED_SOURCE,

  /* fragments, multicast */
  GW_DROP_FRAGMENT_OVERLAP,
  GW_DROP_FRAGMENT_TIMEOUT,
  GW_DROP_FRAGMENT_LIMIT,
  GW_DROP_MULTICAST,

  /* sockets of gso ports */
  GW_DROP_NAT_KEEPALIVE,
  GW_DROP_UNREACHABLE,
  GW_DROP_SEND_REFUSED,

  /* IKE on its way between the wire and charon */
  GW_DROP_IKE_AWAY,
  GW_DROP_IKE_QUEUE_FULL,
  GW_DROP_IKE_SEND_FAILED,
  GW_DROP_NOT_IKE,

  /* what the kernel does for gso ports */
  GW_DROP_KERNEL_REASSEMBLY,

  GW_DROP_FRAGMENT_REPEATED,
  GW_DROP_TUN_DOWN,

  /* plain forwarding: circuit, VNet */
  GW_DROP_TRANSIT_CLOSED,
  GW_DROP_HAIRPIN,

  /* two instances */
  GW_DROP_STANDBY,
  GW_DROP_MOVE_FULL,
  GW_DROP_MOVE_LATE,

  /* rate limits */
  GW_DROP_RATE_TUNNEL,
  GW_DROP_RATE_GATEWAY,

  GW_DROP_COUNT
};

#endif
