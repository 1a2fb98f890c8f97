// SPDX-License-Identifier: GPL-2.0-or-later
/* charon's socket: IKE datagrams to and from gw-fastpath, which owns UDP 500 and 4500 (ebpf/abi/ike_relay.h).
 * While gw-fastpath is away nothing blocks: what charon sends is lost, as on a network, and sent again by IKE's
 * retransmission; the connection comes back by itself. */
#ifndef GW_SOCKET_GW_H
#define GW_SOCKET_GW_H

#include <network/socket.h>

/* charon.plugins.kernel-gw.ike_socket: a path, or "none" to leave IKE's ports to another socket plugin. */
bool gw_socket_wanted(void);

/* A socket_constructor_t. NULL (logged): the path is too long. */
socket_t* gw_socket_create(void);

#endif
