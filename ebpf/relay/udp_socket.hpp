// A UDP socket on one of IKE's ports, all our addresses of one family: tells and sets the local address and
// the traffic class of every datagram. Non-blocking. Control thread.
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
  enum class Use : std::uint8_t {
    kBoth,
    kSendOnly,  // somebody else receives: a duplicate of a worker's socket
  };

  /// kAlreadyExists: another program has the port; the message says what to do.
  static Result<UdpSocket> open(std::uint16_t port, Family family);
  /// A descriptor that outlived its process, or a duplicate of a worker's socket. Knows its port and family.
  static Result<UdpSocket> adopt(Fd fd, Use use);

  int fd() const { return fd_.get(); }
  std::uint16_t port() const { return port_; }
  Family family() const { return family_; }
  Use use() const { return use_; }

  struct Received {
    IkeFlow flow;
    std::size_t length = 0;
  };
  /// Into `buffer`; none: nothing waits.
  std::optional<Received> receive(std::span<std::uint8_t> buffer) const;
  /// kIo with the kernel's words: no route, a full queue.
  Status send(const IkeFlow& flow, std::span<const std::uint8_t> payload) const;

 private:
  UdpSocket(Fd fd, std::uint16_t port, Family family, Use use)
      : fd_(std::move(fd)), port_(port), family_(family), use_(use) {}

  Fd fd_;
  std::uint16_t port_ = 0;
  Family family_ = Family::kV4;
  Use use_ = Use::kBoth;
};

}  // namespace gw::relay
