// Packets that the kernel sends for us, by raw sockets. Worker thread.
//  - finished ESP whose next hop's MAC is not known yet, or that has to go in fragments: always by the wan interface or
//    a VLAN on it, whatever the routes say. A route to a peer that leads into a tunnel must not make that tunnel carry
//    itself.
//  - ICMP errors: the kernel finds the way to the sender and our address towards it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/abi/drop.h"

namespace gw::net {

class RawSender {
 public:
  /// `wan`: the interface by which ESP leaves.
  static Result<RawSender> open(const std::string& wan);
  /// Refuses everything: where no port ever needs the kernel's help.
  static RawSender none() { return {{}, {}, {}}; }
  /// An interface to leave by; 0: the wan interface.
  struct Way {
    int ifindex = 0;
  };
  /// A packet from its IP header on; the IPv4 checksum, and the id if it is 0, are filled in by the kernel. Why the
  /// kernel refused it: GW_DROP_TX_FULL, _TOO_BIG, _UNREACHABLE, _SEND_REFUSED; GW_DROP_NONE: it is sent.
  gw_drop send(std::span<const std::uint8_t> packet, Way way);
  /// `message` begins at the ICMP header; an ICMPv6 checksum is filled in by the kernel.
  bool send_icmp(const IpAddress& to, std::span<const std::uint8_t> message);

 private:
  struct Pair {
    Fd v4;
    Fd v6;
  };
  RawSender(Way wan, Pair headers, Pair icmp) : wan_(wan), headers_(std::move(headers)), icmp_(std::move(icmp)) {}
  static Result<Pair> open_headers();
  static Result<Pair> open_icmp();
  Way wan_;
  Pair headers_;
  Pair icmp_;
};

}  // namespace gw::net
