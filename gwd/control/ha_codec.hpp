// What HA state machines say to each other, as bytes (proto/gw/ha/v1/machine.proto). What comes from the other
// instance is checked: addresses, numbers of enumerations. A value that this release does not know is refused, not
// guessed. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "ha/message.hpp"

namespace gw::gwd {

std::string encode(const ha::Report& report);
Result<ha::Report> decode_report(std::string_view bytes);

/// What both fast paths authenticate their heartbeats with.
struct HeartbeatKey {
  static constexpr std::size_t kBytes = 32;
  SharedSecret key;
};
/// The sender's fast path forwards for an endpoint that it took, by its claim `epoch`.
struct Forwards {
  IpAddress address;
  ha::Epoch epoch = 0;
  friend bool operator==(const Forwards&, const Forwards&) = default;
};
using HaControl = std::variant<ha::Message, HeartbeatKey, Forwards>;

std::string encode(const ha::Message& message);
std::string encode(const Forwards& forwards);
/// Holds a key: wipe it when it is sent.
std::string encode(const HeartbeatKey& key);
Result<HaControl> decode_control(std::string_view bytes);

}  // namespace gw::gwd
