// Sends finished IP packets through the kernel, which finds the way and resolves the neighbour: the slow
// way out for ESP whose next hop's MAC is not known yet. Always by the wan interface, whatever the routes
// say: a route to a peer that leads into a tunnel must not make that tunnel carry itself. Worker thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace gw::net {

class RawSender {
 public:
  /// `wan`: the interface by which everything leaves.
  static Result<RawSender> open(const std::string& wan);
  /// A packet from its IP header on; the IPv4 checksum and id are filled in by the kernel. False: the
  /// kernel refused it (no route, too big, queue full); the caller counts the drop.
  bool send(std::span<const std::uint8_t> packet);

 private:
  RawSender(Fd v4, Fd v6) : v4_(std::move(v4)), v6_(std::move(v6)) {}
  Fd v4_;
  Fd v6_;
};

}  // namespace gw::net
