// A world for the state machine: two or three instances, each with a gwd (the real Machine and a controller that takes
// its time) and a gw-fastpath (a model of its gates and of the embedded lease), a sync channel and a data path that
// lose, delay, duplicate and are cut, processes that crash and freeze, and an etcd. One seed, one history. Times are
// simulated.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "ha/machine.hpp"

namespace gw::ha::sim {

using ms = std::chrono::milliseconds;
using us = std::chrono::microseconds;

struct Gate {
  bool owned = false;
  Epoch epoch = 0;
  std::optional<MonoTime> until;
};

/// gw-fastpath as far as leases go: DESIGN of the embedded lease, heartbeats with claims.
struct Fastpath {
  bool up = true;
  bool hung = false;  // SIGSTOP of it alone
  unsigned life = 0;
  std::map<IpAddress, Gate> gates;
  MonoTime lease_until{};
  MonoTime last_tick{};
  std::optional<MonoTime> woke;  // and has not made sure since that nobody replaced it
  unsigned ticks = 0;
  struct Heard {
    MonoTime at{};
    MonoTime sent{};  // of the last one heard
    bool alive = false;
    Link control = Link::kUp;
    std::vector<Claim> claims;
  };
  std::map<Instance, Heard> heard;
};

struct Heartbeat {
  Instance from{};
  MonoTime sent;
  MonoTime echo;  // when the last one that it heard of the receiver was sent
  Link control;
  std::vector<Claim> claims;
};

struct Node {
  Instance id{};
  bool gwd_up = false;
  MonoTime gwd_died{};
  bool frozen = false;
  unsigned gwd_life = 0;
  std::unique_ptr<Machine> machine;
  Fastpath fastpath;
  LocalHealth links{Link::kUp, Link::kUp, Link::kUp, Link::kUp};
  std::deque<std::function<void()>> stopped;  // what comes up while it is frozen
  MonoTime controller_free{};                 // its steps are done in order
  MonoTime watch_free{};                      // as is what etcd tells it
  MonoTime tick_at{};
  std::map<IpAddress, Epoch> last_own;
  bool etcd_reachable = true;
  std::map<IpAddress, Epoch> leases;  // that its gwd knows of, and renews
};

struct Faults {
  double loss = 0;  // of data path heartbeats
  double duplicate = 0;
  ms jitter{2};
};

class World {
 public:
  enum class Record : bool { kNo, kYes };
  World(unsigned instances, LeaseKind lease, std::uint64_t seed, Record record = Record::kNo);

  // --- what happens to it
  void start(unsigned node);
  void kill_gwd(unsigned node);
  void kill_fastpath(unsigned node);
  void start_fastpath(unsigned node);
  void kill(unsigned node) {
    kill_gwd(node);
    kill_fastpath(node);
  }
  void freeze(unsigned node);
  void thaw(unsigned node);
  void hang_fastpath(unsigned node, bool hung);
  void links(unsigned node, LocalHealth health);
  void cut_sync(bool cut);
  void cut_data(bool cut);
  void reach_etcd(unsigned node, bool reachable);
  Status command(unsigned node, const Command& command);
  void reconfigure(const std::function<void(Configuration&)>& change);
  Faults faults;

  // --- time
  void run(std::chrono::nanoseconds duration);
  /// Until `condition` holds; how long it took, or nothing.
  std::optional<std::chrono::nanoseconds> run_until(const std::function<bool()>& condition,
                                                    std::chrono::nanoseconds limit);
  MonoTime now() const { return now_; }
  std::uint64_t random(std::uint64_t below) { return rng_() % below; }
  bool chance(double p) { return std::uniform_real_distribution<double>()(rng_) < p; }

  // --- what is seen
  bool may_send(unsigned node, const IpAddress& address) const;
  std::vector<unsigned> senders(const IpAddress& address) const;
  State state(unsigned node, const IpAddress& address);
  Node& node(unsigned i) { return nodes_[i]; }
  std::size_t size() const { return nodes_.size(); }
  const Configuration& config() const { return config_; }
  const std::vector<std::string>& violations() const { return violations_; }
  std::string history() const;
  std::uint64_t moves() const { return moves_; }
  IpAddress endpoint(unsigned i) const { return config_.endpoints[i].address; }
  void note(std::string text);

 private:
  struct Item {
    MonoTime at;
    std::uint64_t order;
    std::function<void()> what;
    bool operator>(const Item& other) const { return std::pair(at, order) > std::pair(other.at, other.order); }
  };
  struct Channel {
    bool up = false;
    unsigned life = 0;
    MonoTime last[2] = {};  // deliveries stay in order, per direction
    std::deque<std::function<void()>> held[2];
  };
  struct Lease {
    std::optional<Instance> holder;
    Epoch epoch = 0;
    MonoTime expires{};
  };

  void at(MonoTime when, std::function<void()> what);
  void after(std::chrono::nanoseconds delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  /// For a process of `n`: waits while it is frozen, is lost when that gwd has ended.
  void gwd_at(Node& n, MonoTime when, std::function<void()> what);
  void fastpath_at(Node& n, MonoTime when, std::function<void()> what);
  ms between(unsigned low, unsigned high) { return ms(low + random(high - low + 1)); }

  void handle(Node& n, const Event& event);
  void carry_out(Node& n, const std::vector<Action>& actions);
  void note_taken(const IpAddress& address);
  void carry_out_one(Node& n, const Action& action);
  MonoTime controller_step(Node& n, unsigned low, unsigned high);
  void arm(Node& n);
  void heartbeat_loop(Node& n, unsigned life);
  void fastpath_loop(Node& n, unsigned life);
  void fastpath_tick(Node& n);
  void send_heartbeats(Node& n);
  void fastpath_hears(Node& n, const Heartbeat& heartbeat);
  void tell_path(Node& n, Instance peer);
  void tell_health(Node& n);
  std::vector<Claim> claims_of(const Fastpath& f) const;

  Channel& channel(Instance a, Instance b);
  void send_sync(Node& from, Instance to, Event event);
  void connect(unsigned a, unsigned b);
  void disconnect(unsigned a, unsigned b);

  void ask_lease(Node& n, const AskLease& ask);
  void drop_lease(Node& n, const DropLease& drop);
  void keepalive(Node& n, unsigned life);
  void renew(Node& n);
  void expire_leases();
  void announce_lease(const IpAddress& address);
  void tell_lease(Node& n, const IpAddress& address);
  void tell_leases(Node& n);

  bool calm() const;
  void check();
  void violate(std::string text);

  Configuration config_;
  std::mt19937_64 rng_;
  MonoTime now_{std::chrono::seconds(1000)};
  std::uint64_t order_ = 0;
  std::priority_queue<Item, std::vector<Item>, std::greater<>> queue_;
  std::deque<Node> nodes_;
  std::map<std::pair<unsigned, unsigned>, Channel> channels_;
  std::map<IpAddress, Lease> leases_;
  Record record_;
  bool sync_cut_ = false;
  bool data_cut_ = false;
  MonoTime forced_{};     // the operator's takeover
  MonoTime disturbed_{};  // last time that anything was not as it should be
  std::map<IpAddress, MonoTime> overlap_since_;
  std::vector<std::string> violations_;
  std::deque<std::string> history_;
  std::map<IpAddress, std::deque<MonoTime>> taken_;  // when, the newest
  std::uint64_t moves_ = 0;
};

inline constexpr ms kTtl{3000};  // of etcd's leases here

}  // namespace gw::ha::sim
