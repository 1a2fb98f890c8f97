// Raw sockets for the ICMP messages that path MTU discovery lives on: "fragmentation needed" (RFC 1191) and "packet
// too big" (RFC 8201), whatever port they come in by. Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::net {

struct IcmpMessage {
  Family family = Family::kV4;
  IpAddress from;
  std::span<const std::uint8_t> bytes;  // from the ICMP header on
};

class IcmpListener {
 public:
  static Result<IcmpListener> open();
  /// Readable when messages wait.
  std::array<int, 2> fds() const { return {v4_.get(), v6_.get()}; }
  /// At most so many that a flood does not keep the caller from its other work; the rest waits.
  void read(const std::function<void(const IcmpMessage&)>& handler) const;

 private:
  IcmpListener(Fd v4, Fd v6) : v4_(std::move(v4)), v6_(std::move(v6)) {}
  Fd v4_;
  Fd v6_;
};

}  // namespace gw::net
