// The few things gwd sets in the kernel itself: addresses of tunnel devices and circuits, routes of static sites and
// the VNet, by rtnetlink. Each call is one request and its acknowledgement (microseconds). Thread: control.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::gwd {

/// `ip addr add LOCAL peer PEER/LENGTH dev DEVICE` of a tunnel device, `ip addr add LOCAL/LENGTH dev DEVICE` of a link
/// with neighbours: peer is local then.
struct DeviceAddress {
  std::string device;
  IpAddress local;
  IpAddress peer;
  std::uint8_t length = 0;
  static DeviceAddress point_to_point(std::string device, const IpAddress& local, const IpAddress& peer);
  static DeviceAddress on_link(std::string device, const InterfaceAddress& address);
  friend bool operator==(const DeviceAddress&, const DeviceAddress&) = default;
};

struct DeviceRoute {
  Prefix prefix;
  std::string device;
  std::optional<IpAddress> gateway{};  // on the device's link; none: all of the prefix is
  friend auto operator<=>(const DeviceRoute&, const DeviceRoute&) = default;
};

class KernelNet {
 public:
  static Result<KernelNet> open();

  static bool has_interface(const std::string& name);
  /// Of the link, bits a second; 0: its driver does not say.
  static std::uint64_t speed_bps(const std::string& name);
  /// Up, and its link too; no when there is no such interface.
  static bool has_carrier(const std::string& name);
  /// On any interface; yes when the kernel cannot be asked.
  static bool has_address(const IpAddress& address);

  /// The interface that has it; none: there is no such address.
  static std::optional<std::string> interface_of(const IpAddress& address);
  /// The next hop of the route to `remote` that leaves by `device`; none: there is no such route, or it is on link.
  static std::optional<IpAddress> gateway_towards(const IpAddress& remote, const std::string& device);

  /// fe80::/10 of a device, as they can be removed.
  static std::vector<DeviceAddress> link_local_addresses(const std::string& device);

  /// Adds or replaces; the device must exist (kNotFound if not).
  Status add_address(const DeviceAddress& address);
  /// An absent address is no error.
  Status remove_address(const DeviceAddress& address);
  Status add_route(const DeviceRoute& route);
  Status remove_route(const DeviceRoute& route);

 private:
  explicit KernelNet(Fd socket) : socket_(std::move(socket)) {}
  Status transact(void* message, std::uint32_t bytes, std::string_view what);

  Fd socket_;
  std::uint32_t sequence_ = 0;
};

}  // namespace gw::gwd
