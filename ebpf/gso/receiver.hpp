// Datagrams from a UDP or raw socket, many a system call, each possibly a train that UDP_GRO made (udp(7)). Owns
// the memory that they are in; one worker.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::gso {

/// One message: one datagram or several of `segment_bytes` from the same sender, the last possibly shorter.
struct Train {
  std::span<std::uint8_t> bytes;
  std::uint32_t segment_bytes = 0;  // not 0
  IpAddress local;
  const std::uint8_t* source = nullptr;  // network order, of local's family
  std::uint16_t source_port = 0;         // host order; 0: raw
  std::uint32_t scope_id = 0;            // interface of a link-local source
  std::uint8_t traffic_class = 0;
};

class Receiver {
 public:
  enum class Kind : std::uint8_t { kUdp, kRaw4, kRaw6 };
  static constexpr std::size_t kMessages = 64;

  static Result<std::unique_ptr<Receiver>> make();
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  /// What waits, as long as it stays in the cache; how many. What was received before is gone.
  std::size_t receive(int fd);
  /// Whether the last receive() got all that there was.
  bool drained() const { return received_ < asked_; }
  /// The message's bytes and where it comes from. A raw IPv4 packet is cut to what follows its header. Nothing: it
  /// was longer than any packet, or is no such packet.
  bool read(std::size_t i, Kind kind, Train& train);

 private:
  // The largest datagram; not a power of two, or the heads of all would share a few sets of the cache.
  static constexpr std::size_t kStride = 65536 + 65 * 64;
  static constexpr std::size_t kControlBytes = 128;

  explicit Receiver(std::span<std::uint8_t> memory);
  void reset(std::size_t i);

  std::span<std::uint8_t> memory_;
  struct alignas(16) Control {
    std::uint8_t bytes[kControlBytes];
  };
  std::vector<mmsghdr> messages_;
  std::vector<iovec> parts_;
  std::vector<sockaddr_storage> names_;
  std::vector<Control> controls_;
  std::size_t wanted_ = 4;
  std::size_t asked_ = 0;
  std::size_t received_ = 0;
};

}  // namespace gw::gso
