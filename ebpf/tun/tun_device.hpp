// A tunnel's TUN device: raw IP packets (IFF_NO_PI), one queue, persistent. The control thread makes and
// configures it; the worker reads and writes its descriptor. Closing the descriptor leaves the device;
// destroy() removes it.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace gw::tun {

enum class Carrier : std::uint8_t { kDown, kUp };

class TunDevice {
 public:
  /// Makes the device, or takes it over if it is there and nobody has it. kAlreadyExists: somebody has, or
  /// the name belongs to another kind of interface.
  static Result<TunDevice> open(const std::string& name);
  /// From a descriptor that outlived its process. kNotFound: it is no TUN device any more.
  static Result<TunDevice> adopt(Fd fd);

  const std::string& name() const { return name_; }
  int fd() const { return fd_.get(); }
  /// False: somebody deleted the interface; this descriptor will never see a packet again.
  bool exists() const;

  /// Bytes; the device is brought up as well.
  Status bring_up(std::uint32_t mtu);
  Status set_carrier(Carrier carrier);
  /// The device goes with its last descriptor.
  static void destroy(TunDevice device);

 private:
  TunDevice(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  Fd fd_;
  std::string name_;
};

}  // namespace gw::tun
