// What machines tell each other over the sync channel: a Report with every heartbeat, and the steps of a planned move.
// The channel keeps messages of one connection in order and loses none; what was on its way when it is reset is lost.
//
//   owner                    target
//     Prepare  -------------->         "get ready"; the owner tells sites to go elsewhere meanwhile
//              <-------------- Ready   or Refuse
//     HandOver -------------->         "I have stopped": after the fast path's last position, in the same order
//              <-------------- Taken   or Refuse: the owner takes it back
//
// Request asks the owner to do this for the sender. An instance that does not own the endpoint (and will not) answers
// with HandOver at once: so an endpoint that nobody has finds its owner. A value; pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "ha/types.hpp"

namespace gw::ha {

/// The state of one instance, as it says itself.
struct Report {
  std::uint64_t incarnation = 0;     // of its gwd process: another number is another process
  Reason unfit = Reason::kStarting;  // why it cannot own endpoints
  Link in_sync = Link::kDown;        // up: it holds all that the receiver has told it about SAs and routes
  Link hears_data = Link::kDown;     // whether it hears the receiver's data path
  std::vector<Claim> claims;         // every endpoint of its document
  friend bool operator==(const Report&, const Report&) = default;
};

/// Whether an endpoint stays with the target until it is moved again, or may go back to where it is preferred.
enum class Stay : std::uint8_t { kUntilPreferred, kUntilMoved };

struct Prepare {
  IpAddress address;
  Epoch epoch = 0;  // of the owner's claim, here and below
  friend bool operator==(const Prepare&, const Prepare&) = default;
};
struct Ready {
  IpAddress address;
  Epoch epoch = 0;
  friend bool operator==(const Ready&, const Ready&) = default;
};
struct HandOver {
  IpAddress address;
  Epoch epoch = 0;
  Handover how = Handover::kPlanned;  // kTakeover: the sender had it, but cannot say where its fast path stopped
  Stay stay = Stay::kUntilPreferred;
  friend bool operator==(const HandOver&, const HandOver&) = default;
};
struct Taken {
  IpAddress address;
  Epoch epoch = 0;  // of the target's own claim
  friend bool operator==(const Taken&, const Taken&) = default;
};
/// Of the owner: the move does not take place.
struct Cancel {
  IpAddress address;
  Epoch epoch = 0;
  friend bool operator==(const Cancel&, const Cancel&) = default;
};
/// Of the target or of who was asked: no, and why.
struct Refuse {
  IpAddress address;
  Epoch epoch = 0;
  Reason reason = Reason::kNone;
  friend bool operator==(const Refuse&, const Refuse&) = default;
};
struct Request {
  IpAddress address;
  Epoch epoch = 0;  // the highest that the sender knows
  Stay stay = Stay::kUntilPreferred;
  friend bool operator==(const Request&, const Request&) = default;
};

using Message = std::variant<Prepare, Ready, HandOver, Taken, Cancel, Refuse, Request>;
const IpAddress& address_of(const Message& message);
/// "HandOver 203.0.113.10 term 7", for logs.
std::string describe(const Message& message);

}  // namespace gw::ha
