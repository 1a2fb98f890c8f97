// A UDP socket on one of IKE's ports, all our addresses of one family: tells and sets the local address and
// the traffic class of every datagram. What is larger than the path leaves in fragments: IKE without RFC 7383 needs
// it. Non-blocking. Control thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/relay/ike_datagram.hpp"

namespace gw::relay {

class UdpSocket {
 public:
  /// kAlreadyExists: another program has the port; the message says what to do.
  static Result<UdpSocket> open(std::uint16_t port, Family family);
  /// A descriptor that outlived its process. Knows its port and family.
  static Result<UdpSocket> adopt(Fd fd);

  int fd() const { return fd_.get(); }
  std::uint16_t port() const { return port_; }
  Family family() const { return family_; }
  /// Others may have the port as well: the workers of a gso wan port, 4500.
  bool shares_port() const;

  struct Received {
    IkeFlow flow;
    std::size_t length = 0;
  };
  /// Into `buffer`; none: nothing waits.
  std::optional<Received> receive(std::span<std::uint8_t> buffer) const;
  /// By this interface, whatever the best route says; 0: by the best route. kIo with the kernel's words: no route, a
  /// full queue.
  Status send(const IkeFlow& flow, std::span<const std::uint8_t> payload, int ifindex = 0) const;

 private:
  UdpSocket(Fd fd, std::uint16_t port, Family family) : fd_(std::move(fd)), port_(port), family_(family) {}

  Fd fd_;
  std::uint16_t port_ = 0;
  Family family_ = Family::kV4;
};

}  // namespace gw::relay
