// What an interface is and says of itself. Control thread.
#pragma once

#include <cstdint>
#include <string>

namespace gw::net {

/// "virtio_net"; empty where the driver does not say.
std::string driver_name(const std::string& interface);
/// Bytes; 0: there is no such interface.
std::uint32_t interface_mtu(const std::string& interface);
/// 0: there is no such interface.
int interface_index(const std::string& interface);

}  // namespace gw::net
