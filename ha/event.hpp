// What the state machine hears. Everything that is a state of the world (paths, health, sync) may be told again at any
// time: only differences count. Values; pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ha/message.hpp"
#include "ha/types.hpp"

namespace gw::ha {

/// Time has passed. Due at Machine::next_deadline() at the latest, and at least every `Timing::frozen` / 2: a longer
/// pause between two events is taken for a frozen machine.
struct Tick {};

// --- the other instances -----------------------------------------------------------------------

/// The sync channel to `peer`. Up: a new connection, nothing of an earlier one can still arrive. Down: closed, reset,
/// or everything was lost; a resumed connection that lost nothing is no event.
struct SyncChannel {
  Instance peer{};
  Link link = Link::kDown;
};
/// A heartbeat on the sync channel.
struct ReportHeard {
  Instance peer{};
  Report report;
};
struct MessageHeard {
  Instance peer{};
  Message message;
};
/// gw-fastpath's PeerState: the heartbeat in the data path.
struct DataPath {
  Instance peer{};
  Link link = Link::kDown;
  Link forwarding = Link::kDown;  // its workers advance
  Link control = Link::kUp;       // its gwd is there
  MonoTime last_heard{};          // zero: never
  std::vector<Claim> claims;      // as its fast path holds them
};
/// gw-fastpath's EndpointLost: it has stopped sending because of a higher claim.
struct EndpointLost {
  IpAddress address;
  Epoch epoch = 0;  // of the other's claim
};

// --- this instance -----------------------------------------------------------------------------

/// `fastpath` is down when gw-fastpath's socket is closed or a question of gwd's is not answered within 100 ms: a
/// stopped process keeps its sockets open. A port is down without carrier, and when nothing is heard on it and its next
/// hops do not answer.
struct LocalHealth {
  Link fastpath = Link::kDown;
  Link forwarding = Link::kDown;
  Link wan = Link::kDown;
  Link vnet = Link::kDown;
  /// Packets came on both ports within one heartbeat. Down for a moment only says that nobody had anything to send; but
  /// who hears nothing does not know that the other instance is dead.
  Link hearing = Link::kUp;
  /// Down when charon has not answered for some seconds. Such an instance forwards, and takes what nobody else can; but
  /// what it has goes to one that can negotiate.
  Link ike = Link::kUp;
  friend bool operator==(const LocalHealth&, const LocalHealth&) = default;
};
/// What gw-fastpath already held when gwd connected to it: gwd was restarted, and its endpoints are not given away for
/// that. Comes before the first LocalHealth with a fast path.
struct Adopted {
  std::vector<Claim> claims;
};
/// Up: we hold all SAs and routes that `peer` has told us about. Down: a full sync is under way, or none was ever.
struct SyncProgress {
  Instance peer{};
  Link complete = Link::kDown;
};

// --- actions that were carried out ---------------------------------------------------------------

/// Own is done: the fast path sends, the address is announced, IKE is active.
struct OwnDone {
  IpAddress address;
  Epoch epoch = 0;
};
/// Release is done: the fast path has stopped, and its last positions are in the sync channel (or are lost with it).
struct ReleaseDone {
  IpAddress address;
  Epoch epoch = 0;
};
/// GetReady is done, or cannot be.
struct ReadyDone {
  IpAddress address;
  Epoch epoch = 0;
  Reason refused = Reason::kNone;
};
/// After GracefulShutdown: the sites have moved what can move. Without this, `drain_wait` ends it.
struct SitesMoved {
  IpAddress address;
};
/// Part of an action did not work; the controller goes on trying. Only an alarm to the machine.
struct ActionFailed {
  IpAddress address;
  std::string what;  // "moving the address: hook /etc/gw/move.sh: not done within 10 s"; empty: it has worked since
};

// --- leases that others give (etcd) ----------------------------------------------------------------

struct LeaseGranted {
  IpAddress address;
  Epoch epoch = 0;
  MonoTime until;  // counted from before the question was sent
};
struct LeaseDenied {
  IpAddress address;
  std::optional<Instance> holder;  // none: the service said no, or nothing
  Epoch epoch = 0;
};
struct LeaseRenewed {
  IpAddress address;
  Epoch epoch = 0;
  MonoTime until;  // as above
};
/// Ours no longer, whatever the reason.
struct LeaseLost {
  IpAddress address;
  Epoch epoch = 0;
};
/// Who has it now, ourselves included, when it changes and for all endpoints after LeaseService came up; nobody: it is
/// free. `epoch` is of the last holder.
struct LeaseHolder {
  IpAddress address;
  std::optional<Instance> holder;
  Epoch epoch = 0;
};
struct LeaseService {
  Link link = Link::kDown;
  std::string words;  // why it is down
};

using Event = std::variant<Tick, SyncChannel, ReportHeard, MessageHeard, DataPath, EndpointLost, LocalHealth, Adopted,
                           SyncProgress, OwnDone, ReleaseDone, ReadyDone, SitesMoved, ActionFailed, LeaseGranted,
                           LeaseDenied, LeaseRenewed, LeaseLost, LeaseHolder, LeaseService>;

// --- the operator's words ----------------------------------------------------------------------------

/// All endpoints to the others, then nothing is taken any more until Undrain.
struct Drain {};
struct Undrain {};
struct Move {
  IpAddress address;
  Instance to{};
};
/// Now, without asking whoever has them; no address: all of them. They stay until they are moved.
struct Takeover {
  std::optional<IpAddress> address;
};
using Command = std::variant<Drain, Undrain, Move, Takeover>;

}  // namespace gw::ha
