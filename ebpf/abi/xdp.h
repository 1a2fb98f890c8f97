// What the XDP and tcx programs share with gw-fastpath: keys and values of their maps, counters, events.
// Written in C for both worlds; fields ending in _be are in network order.
#pragma once

#include <linux/types.h>

// Key of the SPI map: ESP for (SPI, destination) is gw-fastpath's.
struct gw_spi_key {
  __u32 spi_be;
  __u32 family;  // 4 or 6
  __u8 dst[16];  // IPv4 in the first 4 bytes, the rest zero
};
static_assert(sizeof(struct gw_spi_key) == 24, "shared layout");

struct gw_spi_owner {
  __u32 tunnel_id;  // for people
  __u32 worker;     // that owns the SA
};
static_assert(sizeof(struct gw_spi_owner) == 8, "shared layout");

// Tunnel slots are u16, and 0xffff is none.
#define GW_MAX_TUNNEL_SLOTS 65535

// Workers at most, for maps by worker.
#define GW_MAX_WORKERS 64

// Receive queues of an xsk port that can have sockets.
#define GW_XDP_MAX_QUEUES 256

// Key of the set of addresses that are ours.
struct gw_address_key {
  __u32 family;
  __u8 address[16];
};
static_assert(sizeof(struct gw_address_key) == 20, "shared layout");

// What AF_XDP can receive: a frame without the headroom, and Ethernet with two VLAN tags (worker/frame_pool.hpp).
#define GW_XDP_MAX_PACKET (2048 - 256 - 22)

// Where packets come from and go to without encryption: the ports of the VNet and of the circuit. An index into
// gw_settings and the map of ports.
enum gw_side {
  GW_SIDE_VNET = 0,
  GW_SIDE_CIRCUIT = 1,
  GW_SIDES = 2,
  GW_SIDE_TUNNELS = 2,  // decrypted packets; as a source only
};

// What gw-fastpath writes and the programs read at every packet.
struct gw_settings {
  __u32 circuit_transit;       // packets between circuit and tunnels are forwarded
  __u32 xdp_frames[GW_SIDES];  // enum gw_xdp_frames: what the port's driver sends
  __u32 reserved;
};
static_assert(sizeof(struct gw_settings) == 16, "shared layout");

enum gw_xdp_frames {
  GW_XDP_FRAMES_NONE = 0,    // as socket buffers only
  GW_XDP_FRAMES_WHOLE = 1,   // XDP frames of one piece
  GW_XDP_FRAMES_PIECES = 2,  // and of several (jumbo)
};

// Key of the neighbours of both ports.
struct gw_neighbour_key {
  __u32 side;
  __u32 family;      // 4 or 6
  __u8 address[16];  // IPv4 in the first 4 bytes, the rest zero
};
static_assert(sizeof(struct gw_neighbour_key) == 24, "shared layout");

// A host of which the kernel knows nothing has no entry: packets to it are the kernel's.
enum gw_neighbour_state {
  GW_NEIGHBOUR_UNRESOLVED = 1,  // a gateway whose MAC is not known yet: the kernel sends, and asks
  GW_NEIGHBOUR_KNOWN = 2,
  GW_NEIGHBOUR_FAILED = 3,     // does not answer
  GW_NEIGHBOUR_BROADCAST = 4,  // all hosts of a network
};

#define GW_MAX_NEIGHBOURS 16384
#define GW_MAX_LINK_HEADER 22

struct gw_neighbour {
  __u32 ifindex;  // the port, or its sub-interface
  __u32 mtu;      // of that interface
  __u32 use;      // place in the map neighbours_used
  __u8 state;     // enum gw_neighbour_state
  __u8 header_bytes;
  __u8 header[GW_MAX_LINK_HEADER];  // in front of a packet to it: destination first; without the type at its end
};
static_assert(sizeof(struct gw_neighbour) == 36, "shared layout");

// VLANs of a port that take the fast way; further ones are the kernel's. A tag is its type and its id.
#define GW_XDP_MAX_VLANS 64
static inline __u64 gw_vlan_key(__u16 type, __u16 tag) {
  const __u64 high = type;
  return high << 16 | (tag & 0x0fff);
}

// One per-CPU u64 each. The names for people are in ebpf/xdp/maps.cpp.
enum gw_xdp_counter {
  GW_XDP_REDIRECTED = 0,  // handed to gw-fastpath: AF_XDP, the data TUN, its UDP socket
  GW_XDP_PASSED = 1,      // left to the kernel
  GW_XDP_DROP_UNKNOWN_SPI = 2,
  GW_XDP_DROP_ESP_TRUNCATED = 3,
  GW_XDP_DROP_NAT_KEEPALIVE = 4,  // RFC 3948 2.3
  GW_XDP_DROP_NO_SOCKET = 5,      // rx queue without an AF_XDP socket
  GW_XDP_DROP_IKE_FLOOD = 6,
  GW_XDP_FORWARDED_VNET = 7,  // out of the vnet port
  GW_XDP_FORWARDED_CIRCUIT = 8,
  GW_XDP_DROP_TRANSIT_CLOSED = 9,
  GW_XDP_DROP_HAIRPIN = 10,
  GW_XDP_DROP_NO_NEIGHBOUR = 11,
  GW_XDP_DROP_SPOOFED_SOURCE = 12,
  GW_XDP_DROP_MULTICAST = 13,
  GW_XDP_DROP_TX_FULL = 14,  // the driver did not take the frame; it was counted as forwarded before
  GW_XDP_DROP_STANDBY = 15,  // asked for the MAC of an endpoint that another instance owns
  GW_XDP_COUNTERS = 16,
};

// New IKE SAs that one source may ask for (an IPv6 source is a /64): so many at once, and then one every interval. Of
// a source that is no tunnel's peer every IKE message counts.
// Sites ask once in hours, and a rekey is no new IKE SA; behind a NAT with many of them, 100 that lost their power
// together are let in at once, and the others with their retransmissions (RFC 7296 2.1).
#define GW_IKE_BURST 100
#define GW_IKE_INTERVAL_NS 50000000ull
#define GW_IKE_SOURCES 16384  // the least recently seen are forgotten
// What one peer says of IKE SAs that exist: hundreds of sites behind one NAT say less, all at once after a takeover.
// Who forges a peer's address gets no more of charon than this.
#define GW_IKE_PEER_BURST 2000
#define GW_IKE_PEER_INTERVAL_NS 2000000ull
// All sources together that are no tunnel's peer: who forges a new source for each message is limited by this alone.
// charon takes thousands a second, so what peers say finds room beside it.
#define GW_IKE_STRANGERS_BURST 500
#define GW_IKE_STRANGERS_INTERVAL_NS 2000000ull

// Through the ring buffer, at most one every GW_XDP_EVENT_INTERVAL_NS.
#define GW_XDP_EVENT_INTERVAL_NS 100000000ull
// Of one source (an IPv6 source is a /64) at most one every so often.
#define GW_XDP_SOURCE_INTERVAL_NS 5000000000ull
#define GW_SPI_SOURCES 4096
struct gw_unknown_spi_event {
  __u32 spi_be;
  __u32 family;
  __u8 src[16];
  __u8 dst[16];
  __u32 src_port;  // host order; 0: protocol 50
};
static_assert(sizeof(struct gw_unknown_spi_event) == 44, "shared layout");
