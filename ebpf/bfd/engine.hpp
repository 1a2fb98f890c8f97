// All BFD sessions of this instance: which one a packet is for (RFC 5880 6.8.6), when each is due, what bfdd was told
// of it. bfdd configures sessions and learns their state; it does not run them. A session goes on when bfdd is gone,
// and a bfdd that comes back finds it as it is, with its discriminators. The other instance's sessions are kept by
// what it said of them, until they are ours (adopt()). No sockets and no clock: packets leave by a Link. One thread.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "ebpf/bfd/dplane_message.hpp"
#include "ebpf/bfd/session.hpp"

namespace gw::bfd {

/// The way of one session's packets.
class Link {
 public:
  virtual ~Link() = default;
  /// False: it did not leave, and this link will not do any more: another one is opened for the next packet.
  virtual bool send(std::span<const std::uint8_t> packet) = 0;
  /// Of the session's device; 0: packets may come by any.
  virtual int ifindex() const = 0;
};
/// An error is tried again with the next packet: an address or device may come.
using LinkFactory = std::function<Result<std::unique_ptr<Link>>(const SessionKey&)>;

struct Received {
  IpAddress source;
  IpAddress local;
  int ifindex = 0;
  std::uint8_t ttl = 0;
  Hops hops = Hops::kSingle;  // by the port that it came to
  std::span<const std::uint8_t> bytes;
};

enum class Origin : std::uint8_t {
  kConfigured,  // by bfdd
  kAdopted,     // from the other instance
};

/// As the other instance has it.
struct SharedSession {
  SessionKey key;
  Settings settings;
  std::uint8_t min_ttl = 255;
  Snapshot snapshot;
  friend bool operator==(const SharedSession&, const SharedSession&) = default;
};

class Engine {
 public:
  struct Entry {
    Entry(const SessionKey& k, const Session& s) : key(k), session(s) {}
    SessionKey key;
    Session session;
    /// Its numbers at bfdd; none: bfdd does not know it (any more). Two: what bgpd asked bfdd for names no device.
    std::vector<DplaneId> bfdd;
    std::uint8_t min_ttl = 255;
    Origin origin = Origin::kConfigured;
    Counts counts;
    std::unique_ptr<Link> link;
    MonoTime since;                     // in this state
    std::optional<MonoTime> ends;       // when it is forgotten, unless bfdd wants it again
    std::optional<MonoTime> leaves;     // when the peer is told of the end: bfdd has deleted it
    MonoTime queued = MonoTime::max();  // the earliest place in the queue
    State told_state = State::kDown;    // of what bfdd and others were told last
    Remote told_remote;
  };
  /// Without bfdd's interest a session lasts this long: bfdd is restarted and gwd configures it again.
  static constexpr std::chrono::minutes kOrphan{5};
  /// What bfdd deletes it may add again at once, with another number: bgpd's and gwd's wishes meet in it.
  static constexpr std::chrono::seconds kReturn{1};
  /// A peer that is told of the end has this long, at most, to hear it (RFC 5880 6.8.16).
  static constexpr std::chrono::seconds kFarewell{3};
  /// What comes in one call is small work: of many due sessions the rest waits for the next.
  static constexpr std::size_t kMaxSessions = 16384;

  explicit Engine(LinkFactory links) : links_(std::move(links)) {}

  // --- bfdd ---
  /// New, other settings, or one that is there already: bfdd is new. kLimit.
  Status add(const AddSession& wanted, MonoTime now);
  void remove(DplaneId id, MonoTime now);
  /// bfdd has gone.
  void detach_all(MonoTime now);
  const Entry* find(DplaneId id) const;

  // --- packets and time ---
  void receive(const Received& packet, MonoTime now);
  /// Sends what is due, ends what is over. Twice does nothing.
  void run(MonoTime now);
  MonoTime due() const { return queue_.empty() ? MonoTime::max() : queue_.top().at; }

  // --- the other instance ---
  /// What it said of a session; replaces what it said before.
  void put_shared(SharedSession session);
  void forget_shared(const SessionKey& key) { shared_.erase(key); }
  void forget_all_shared() { shared_.clear(); }
  std::size_t shared() const { return shared_.size(); }
  /// Sessions on the device are ours from now on: those that were up go on.
  void adopt(const std::string& device, MonoTime now);
  /// Of all devices: they were a process's before this one.
  void adopt_all(MonoTime now);

  /// Called by add(), remove(), receive(), run() and adopt() when the state, or what the peer said of itself, changed.
  using Changed = std::function<void(const Entry&)>;
  void on_change(Changed callback) { changed_ = std::move(callback); }
  /// It is no more: forgotten, or given up.
  void on_end(Changed callback) { ended_ = std::move(callback); }

  const std::map<SessionKey, std::unique_ptr<Entry>>& all() const { return sessions_; }
  std::uint64_t refused(Refusal reason) const { return refused_[static_cast<std::size_t>(reason)]; }

 private:
  struct Due {
    MonoTime at;
    std::uint32_t discriminator;
    friend bool operator>(const Due& a, const Due& b) { return a.at > b.at; }
  };

  Entry& make(const SessionKey& key, Session session, MonoTime now);
  Entry& make_from(const SharedSession& shared, const Settings& settings, MonoTime now);
  std::uint32_t free_discriminator(std::uint32_t wanted);
  Entry* find_running(const AddSession& wanted);
  void attach(Entry& entry, DplaneId id);
  void detach(Entry& entry, DplaneId id, MonoTime now);
  void leave(Entry& entry, MonoTime now);
  std::expected<Entry*, Refusal> match(const Packet& packet, const Received& received);
  bool is_its_place(Entry& entry, const Received& received);
  void open_link(Entry& entry);
  void service(Entry& entry, MonoTime now);
  void send(Entry& entry, const Packet& packet);
  void tell(Entry& entry, MonoTime now);
  void enqueue(Entry& entry);
  void refuse(Refusal reason) { ++refused_[static_cast<std::size_t>(reason)]; }

  LinkFactory links_;
  Changed changed_;
  Changed ended_;
  std::map<SessionKey, std::unique_ptr<Entry>> sessions_;
  std::map<std::uint32_t, Entry*> by_discriminator_;
  std::map<DplaneId, Entry*> by_bfdd_;
  std::map<SessionKey, SharedSession> shared_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> queue_;
  std::array<std::uint64_t, kRefusals> refused_{};
  std::random_device random_;
};

}  // namespace gw::bfd
