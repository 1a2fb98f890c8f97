// What the state machine wants done. The controller carries actions out in the order given and reports the results as
// events; it decides nothing. All are safe to repeat. Values; pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "ha/message.hpp"
#include "ha/types.hpp"

namespace gw::ha {

/// Send for the endpoint: fast path first (it sends and receives), then the address (it attracts traffic), IKE, BGP.
/// Answered by OwnDone. Given again with the same epoch after a restart of gwd or gw-fastpath: bring all of it about.
struct Own {
  IpAddress address;
  Epoch epoch = 0;
  Handover how = Handover::kTakeover;
  std::optional<MonoTime> until;  // the lease's end; none: no other than gw-fastpath's own (embedded)
  std::optional<Instance> from;   // the owner before, if known
  friend bool operator==(const Own&, const Own&) = default;
};
/// The lease of an owned endpoint was renewed.
struct Extend {
  IpAddress address;
  Epoch epoch = 0;
  MonoTime until;
  friend bool operator==(const Extend&, const Extend&) = default;
};

enum class ReleaseCause : std::uint8_t {
  kHandOver,    // planned: the positions matter, the other waits
  kSuperseded,  // a higher claim: the other sends already
  kLeaseLost,   // or run out
  kNotOurs,     // at start: make sure that nothing of it is active
  kRemoved,     // not in the document any more
};
std::string_view to_string(ReleaseCause cause);
/// Stop: fast path first, then IKE (no DELETE to the site), BGP, the address. Answered by ReleaseDone once the fast
/// path has said that it has stopped and its last positions are in the sync channel; at once when gw-fastpath is gone
/// (its socket is closed, so all its threads have ended). One that is there and does not answer may still send: no
/// ReleaseDone.
struct Release {
  IpAddress address;
  Epoch epoch = 0;  // the highest known: what the fast path is to hold from now on
  ReleaseCause cause = ReleaseCause::kHandOver;
  friend bool operator==(const Release&, const Release&) = default;
};
/// The owner is about to hand over: see that tunnels, SAs and routes are there. Answered by ReadyDone.
struct GetReady {
  IpAddress address;
  Epoch epoch = 0;
  Instance from{};
  friend bool operator==(const GetReady&, const GetReady&) = default;
};
/// GRACEFUL_SHUTDOWN (RFC 8326) on the endpoint's sessions, so that sites with another tunnel use that. No address: on
/// all sessions of this instance, VNet and circuit too (drain).
struct GracefulShutdown {
  std::optional<IpAddress> address;
  Switch to = Switch::kOn;
  friend bool operator==(const GracefulShutdown&, const GracefulShutdown&) = default;
};

struct Tell {
  Instance to{};
  Message message;
  friend bool operator==(const Tell&, const Tell&) = default;
};
/// Machine::report() has changed: to every peer now, not only with the next heartbeat.
struct TellReports {
  friend bool operator==(const TellReports&, const TellReports&) = default;
};

/// Answered by LeaseGranted or LeaseDenied. The epoch granted is the instance's next one above `above` and above
/// what the service has recorded.
struct AskLease {
  IpAddress address;
  Epoch above = 0;
  std::optional<Epoch> succeeds;  // also if this claim still holds it: its holder handed over (or was ourselves)
  friend bool operator==(const AskLease&, const AskLease&) = default;
};
/// For good: it is not renewed any more, and deleted when the service can be reached. Of no other epoch than this one.
struct DropLease {
  IpAddress address;
  Epoch epoch = 0;
  friend bool operator==(const DropLease&, const DropLease&) = default;
};

enum class AlarmKind : std::uint8_t {
  kPeerDead,      // nothing is heard on any path
  kSyncPathDown,  // its data path lives: sync network cut, or its gwd is away
  kDataPathDown,  // its gwd lives
  kPeerUnfit,     // it could not take over
  kSelfUnfit,     // we could not
  kSplitBrain,    // another instance claims an endpoint of ours
  kNoOwner,       // nobody sends for an endpoint
  kMoveFailed,    // a planned move did not take place
  kActionFailed,
  kLeaseService,
};
std::string_view to_string(AlarmKind kind);
/// Raised and cleared once each; (kind, address, peer) names it.
struct Alarm {
  AlarmKind kind{};
  Switch to = Switch::kOn;
  std::optional<IpAddress> address;
  std::optional<Instance> peer;
  std::string text;
  friend bool operator==(const Alarm&, const Alarm&) = default;
};
/// For the log: what changed, why, and the whole situation in which it did.
struct Transition {
  IpAddress address;
  State from = State::kStandby;
  State to = State::kStandby;
  std::string cause;      // "gw-b is dead: no sync for 151 ms, no data path for 160 ms"
  std::string situation;  // "owner gw-b term 6 | self fit | gw-b sync down data down | lease embedded"
  friend bool operator==(const Transition&, const Transition&) = default;
};

using Action = std::variant<Own, Extend, Release, GetReady, GracefulShutdown, Tell, TellReports, AskLease, DropLease,
                            Alarm, Transition>;

}  // namespace gw::ha
