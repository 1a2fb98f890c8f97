// The tunnels of a document, one per (connection, instance), before anything is resolved. Validation and
// model share it, so that both speak of the same tunnels. Pure; pointers are into the Config.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "gw/config/v1/config.pb.h"
#include "gwd/config/allocate.hpp"

namespace gw::config {

struct DeviceRef {
  const v1::Site* site = nullptr;
  const v1::Device* device = nullptr;
};

/// "paris/ce1"; nothing if there is no such site or device.
std::optional<DeviceRef> find_device(const v1::Config& config, std::string_view reference);

/// The instance's endpoint for a device: the one the connection asks for, if this instance has it, else the
/// first of the device's family. Null when it has none of that family.
const v1::EndpointAddress* choose_endpoint(const v1::Instance& instance, const IpAddress& device,
                                           const std::string& wanted);

struct TunnelSlot {
  std::string name;  // "paris-ce1/gw-a"
  int connection_index = 0;
  int instance_index = 0;
  const v1::Connection* connection = nullptr;
  const v1::Instance* instance = nullptr;
  const v1::EndpointAddress* endpoint = nullptr;
  DeviceRef remote;
};

/// In the document's order, by connection. Connections with a broken reference or address are left out.
std::vector<TunnelSlot> tunnel_slots(const v1::Config& config);

/// The BGP addresses of every slot whose site has an ASN, by the slot's name: the document's where it gives
/// them, else allocated. Slots whose addresses do not parse, or for which none are left, are absent.
std::map<std::string, InnerPair> inner_pairs(const v1::Config& config, const std::vector<TunnelSlot>& slots);

}  // namespace gw::config
