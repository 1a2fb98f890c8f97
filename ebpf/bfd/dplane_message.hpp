// FRR's BFD data-plane protocol (bfdd/bfddp_packet.h of FRR 10.3): bfdd's side is bytes from another process, so
// lengths are checked and what is not understood is named. Pure, one thread.
//
// A message is version 1, 0, type, id, length (all big-endian u16 but the first two), then its content.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/bfd/session.hpp"

namespace gw::bfd {

enum class Hops : std::uint8_t { kSingle, kMulti };

/// What makes a session one: two of these never have the same key.
struct SessionKey {
  IpAddress peer;
  IpAddress local;     // unspecified: whatever routing says
  std::string device;  // single hop: that it is bound to; empty: found by routing
  Hops hops = Hops::kSingle;
  auto operator<=>(const SessionKey&) const = default;
  bool operator==(const SessionKey&) const = default;
};
std::string to_string(const SessionKey& key);

/// bfdd's number of a session.
enum class DplaneId : std::uint32_t {};

struct AddSession {
  DplaneId id{};
  SessionKey key;
  Settings settings;
  std::uint8_t min_ttl = 255;
  /// Asked for and not spoken: "demand mode", "echo mode".
  std::vector<std::string_view> refused;
};
struct DeleteSession {
  DplaneId id{};
};
struct CountersRequest {
  DplaneId id{};
  std::uint16_t request = 0;
};
struct EchoRequest {
  std::uint16_t request = 0;
  std::uint64_t sent = 0;
};
using DplaneMessage = std::variant<AddSession, DeleteSession, CountersRequest, EchoRequest>;

class DplaneReader {
 public:
  void feed(std::span<const std::uint8_t> bytes) { buffer_.insert(buffer_.end(), bytes.begin(), bytes.end()); }
  /// The next whole message that says something to us; nothing if incomplete. kMalformed, kUnsupported: the stream is
  /// beyond repair.
  Result<std::optional<DplaneMessage>> next();

 private:
  std::vector<std::uint8_t> buffer_;
};

struct Counts {
  std::uint64_t in_packets = 0;
  std::uint64_t in_bytes = 0;
  std::uint64_t out_packets = 0;
  std::uint64_t out_bytes = 0;
};

std::vector<std::uint8_t> state_change(DplaneId id, const Session& session);
std::vector<std::uint8_t> counters_reply(const CountersRequest& request, const Counts& counts);
std::vector<std::uint8_t> echo_reply(const EchoRequest& request);

}  // namespace gw::bfd
