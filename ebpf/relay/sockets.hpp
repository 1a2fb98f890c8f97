// IKE's ports: UDP sockets that outlive the process in the FD store, so that a restart of gw-fastpath answers no
// peer with "port unreachable" and loses no datagram. Control thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "ebpf/relay/udp_socket.hpp"
#include "ebpf/tun/fd_store.hpp"

namespace gw::relay {

/// A socket for each port and family: kept ones, else new ones, which are kept from now on. Kept sockets of other
/// ports are closed: somebody else is to have those. A kernel without IPv6 has IPv4 only.
Result<std::vector<UdpSocket>> open_sockets(tun::FdStore& store, std::span<const std::uint16_t> ports);

}  // namespace gw::relay
