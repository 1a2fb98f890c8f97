// This side of the SA sync between two gw-fastpaths (sa_sync.proto, ADR 14): names of keys, grants of epoch blocks,
// positions. Knows records and their rules; what a worker owns is changed by the Host. Whoever carries the frames keeps
// them in order; what is late, foreign or malformed is refused here all the same. Control thread; no I/O, time by
// Clock.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "ebpf/esp/runtime_store.hpp"
#include "gw/fastpath/v1/sa_sync.pb.h"

namespace gw::control {

namespace fp = ::gw::fastpath::v1;

/// The same on both instances, and one-way: a key has 112 bits at least.
using SyncKey = esp::Fingerprint;
SyncKey sync_key(std::span<const std::uint8_t> key_identity, esp::Direction direction);

/// How late the other instance is, of the newest reports.
struct SyncLag {
  std::chrono::microseconds median{0};
  std::chrono::microseconds p99{0};
  std::chrono::microseconds worst{0};
};

class SaSync {
 public:
  struct Granted {
    esp::RuntimeRecord* record;
    std::uint32_t block;
  };
  class Host {
   public:
    virtual ~Host() = default;
    virtual void send(const fp::SaSync& frame) = 0;
    /// By the last claim.
    virtual bool owned(const IpAddress& endpoint) const = 0;
    /// esp::accept_grant() and esp::forget_epochs() on the threads that own the records.
    virtual void accept(std::span<const Granted> grants) = 0;
    virtual void forget(std::span<esp::RuntimeRecord* const> records) = 0;
  };
  struct Sa {
    esp::RuntimeRecord* record = nullptr;
    esp::Direction direction = esp::Direction::kOutbound;
    IpAddress endpoint;
  };
  enum class State : std::uint8_t {
    kAway,     // no connection
    kMeeting,  // waiting for the other's Hello, or its verdict about ours
    kInSync,
    kRefused,  // why() says why; until the next connection
  };
  struct Counters {
    std::uint64_t stale_frames = 0;  // of a store that is not (any more) the other's
    std::uint64_t refused_grants = 0;
    std::uint64_t granted = 0;
    std::uint64_t reports = 0;  // positions sent
  };

  static constexpr std::chrono::milliseconds kInterval{5};
  /// Not answered yet; then it waits and tells the newest with the next.
  static constexpr std::size_t kMaxInFlight = 2;
  static constexpr std::uint32_t kMaxIndex = 1 << 20;

  SaSync(esp::RuntimeStore& store, std::uint32_t instance, const Clock& clock, Host& host)
      : store_(store), instance_(instance), clock_(clock), host_(host) {}

  // --- the connection ---
  void connect();
  void disconnect();
  void receive(std::string_view bytes);
  /// Every kInterval while in_sync(): what is new, and positions that have moved.
  void tick();
  State state() const { return state_; }
  const std::string& why() const { return why_; }
  bool connected() const { return state_ == State::kMeeting || state_ == State::kInSync; }

  // --- the SAs here ---
  void add(const SyncKey& key, const Sa& sa);
  void remove(const SyncKey& key);
  void move(const SyncKey& key, const IpAddress& endpoint);
  /// Endpoints have come or gone.
  void ownership_changed();
  /// Nothing is sent for it any more: the last positions, exact ones.
  void tell_final(const IpAddress& endpoint);
  /// The last report about it is exact.
  bool exact(const SyncKey& key) const;
  /// The other instance knows keys of it, and has not said yet where it stopped.
  bool awaits_final(const IpAddress& endpoint) const;

  SyncLag lag() const;
  const Counters& counters() const { return counters_; }
  std::size_t announced() const { return remote_by_key_.size(); }

 private:
  struct Local {
    SyncKey key{};
    Sa sa;
    std::uint64_t reported = 0;  // on this connection
    bool used = false;           // the place is
    bool owned = false;
    bool exact = false;
  };
  struct Remote {
    SyncKey key{};
    bool there = false;
    bool wants_grant = false;
    std::uint32_t blocks_end = 0;
    std::uint64_t position = 0;
    MonoTime at{};
    std::uint32_t local = kNowhere;  // of local_, the same key: there are more than a million positions a second
  };
  static constexpr std::uint32_t kNowhere = UINT32_MAX;
  fp::SaSync frame() const;
  void refuse(std::string why);
  void begin_telling();
  void on_hello(const fp::SaSync& m);
  void judge(const esp::StoreName& store, esp::PeerStanding standing);
  void on_verdict(const fp::SyncVerdict& m);
  void on_announcements(const fp::SaAnnouncements& m);
  void on_positions(const fp::SaPositions& m);
  void on_final(const IpAddress& endpoint);
  static void take_note(const Remote& remote, const Local& local);
  void on_grants(const fp::EpochGrants& m);
  void on_ack(std::uint64_t batch);
  void consider(Remote& remote, Local& local);
  void flush_grants();
  void announce();
  void tell_positions(fp::SaPositions& out, const IpAddress* endpoint);
  Local* find(const SyncKey& key);

  esp::RuntimeStore& store_;
  const std::uint32_t instance_;
  const Clock& clock_;
  Host& host_;
  State state_ = State::kAway;
  std::string why_;
  esp::StoreName own_;  // of this connection
  std::optional<esp::StoreName> peer_;
  bool trusted_ = false;  // the other says that our store was not rolled back
  std::vector<Local> local_;
  std::vector<std::uint32_t> free_;
  std::map<SyncKey, std::uint32_t> local_by_key_;
  std::set<std::uint32_t> changed_;  // to be announced
  std::vector<std::uint32_t> gone_;
  std::vector<Remote> remote_;
  std::map<SyncKey, std::uint32_t> remote_by_key_;
  fp::EpochGrants grants_;
  struct Batch {
    std::uint64_t number;
    MonoTime sent;
  };
  std::deque<Batch> in_flight_;
  std::array<std::uint32_t, 1024> lags_us_{};
  std::size_t lags_ = 0;
  Counters counters_;
};

}  // namespace gw::control
