// Who is at the other end of a TCP connection on 127.0.0.1: daemons that can connect by TCP only (FRR's) are told from
// whoever else logs in on this machine by the user of their socket. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace gw {

/// The user whose socket is at `local` of a TCP connection on 127.0.0.1 to `remote`, from the text of /proc/net/tcp;
/// nothing if there is none. Both in host byte order.
std::optional<std::uint32_t> owner_of_connection(std::string_view proc_net_tcp, std::uint16_t local_port,
                                                 std::uint16_t remote_port);
/// The same, as the kernel has it now, in this network namespace.
std::optional<std::uint32_t> owner_of_connection(std::uint16_t local_port, std::uint16_t remote_port);

/// Users that may speak for FRR: root, this program's, FRR's own.
std::vector<std::uint32_t> frr_users();

}  // namespace gw
