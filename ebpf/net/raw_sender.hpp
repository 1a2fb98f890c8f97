// Packets that the kernel sends for us, by raw sockets. Worker thread.
//  - finished ESP whose next hop's MAC is not known yet, or that has to go in fragments: always by the wan interface,
//    whatever the routes say. A route to a peer that leads into a tunnel must not make that tunnel carry itself.
//  - packets for this machine that only we could put together.
//  - ICMP errors: the kernel finds the way to the sender and our address towards it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::net {

class RawSender {
 public:
  /// `wan`: the interface by which ESP leaves.
  static Result<RawSender> open(const std::string& wan);
  /// Refuses everything: where no port ever needs the kernel's help.
  static RawSender none() { return {{}, {}, {}}; }
  /// A packet from its IP header on; the IPv4 checksum, and the id if it is 0, are filled in by the kernel. False:
  /// the kernel refused it (no route, too big, queue full); the caller counts the drop.
  bool send(std::span<const std::uint8_t> packet);
  /// A packet from elsewhere to one of our addresses.
  bool deliver(std::span<const std::uint8_t> packet);
  /// `message` begins at the ICMP header; an ICMPv6 checksum is filled in by the kernel.
  bool send_icmp(const IpAddress& to, std::span<const std::uint8_t> message);

 private:
  struct Pair {
    Fd v4;
    Fd v6;
  };
  RawSender(Pair wan, Pair local, Pair icmp) : wan_(std::move(wan)), local_(std::move(local)), icmp_(std::move(icmp)) {}
  static Result<Pair> open_headers(const std::string& device);
  static Result<Pair> open_icmp();
  static bool send_by(const Pair& sockets, std::span<const std::uint8_t> packet);
  Pair wan_;
  Pair local_;
  Pair icmp_;
};

}  // namespace gw::net
