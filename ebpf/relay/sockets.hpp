// What outlives the process in the FD store, so that a restart of gw-fastpath tells no peer "port unreachable" or
// "protocol unreachable": UDP sockets on IKE's ports, where IKE waits meanwhile, and raw ones for native ESP, which
// is lost without a word. Control thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "ebpf/relay/udp_socket.hpp"
#include "ebpf/tun/fd_store.hpp"

namespace gw::relay {

/// A socket for each port and family: kept ones, else new ones, which are kept from now on. Kept sockets of other
/// ports are closed: somebody else is to have those. A kernel without IPv6 has IPv4 only. On a gso wan port the
/// workers' sockets share 4500, and BPF gives them all that comes; the one here gets what comes while there are none.
Result<std::vector<UdpSocket>> open_sockets(tun::FdStore& store, std::span<const std::uint16_t> ports);

/// How such a socket is called in the store.
std::string store_name(std::uint16_t port, Family family);

/// Raw sockets that receive nothing, one a family: as long as they are open, ESP (protocol 50) has a taker in the
/// kernel's eyes. Kept likewise.
Result<std::vector<Fd>> open_esp_takers(tun::FdStore& store);

}  // namespace gw::relay
