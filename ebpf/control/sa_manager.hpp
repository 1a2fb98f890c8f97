// Carries out what the IKE client asks for: an SA is in the runtime store, in the worker and in XDP's map
// when the call returns, or nowhere. Removes orphans when their time has come. Control thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/memory_use.hpp"
#include "base/result.hpp"
#include "ebpf/control/endpoints.hpp"
#include "ebpf/control/paths.hpp"
#include "ebpf/control/sa_sync.hpp"
#include "ebpf/control/sa_table.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/esp/runtime_store.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::control {

/// AddSa, checked and in our own types.
struct SaRequest {
  esp::Direction direction = esp::Direction::kInbound;
  esp::KeyOrigin origin = esp::KeyOrigin::kReplayed;
  std::uint32_t tunnel_id = 0;
  std::uint32_t reqid = 0;
  std::chrono::seconds hard_lifetime{0};
  std::string algorithm;
  esp::SaParameters parameters;
  SaKey key() const { return {parameters.spi, parameters.dst.address}; }
};

struct SaMove {
  SaKey key;
  esp::Endpoint src;
  esp::Endpoint dst;
  esp::Encapsulation encapsulation = esp::Encapsulation::kNative;
};

class SaManager : private SaSync::Host {
 public:
  struct Parts {
    worker::Workers& workers;
    xdp::Maps& maps;
    esp::RuntimeStore& store;
    Tunnels& tunnels;
    Paths& paths;
    Endpoints& endpoints;
    const Clock& clock;
    std::uint32_t instance = 0;
    std::size_t max_sas = 0;
  };
  explicit SaManager(const Parts& parts) : parts_(parts), sync_(parts.store, parts.instance, parts.clock, *this) {}

  /// charon needs half a minute at most to get an answer; then the SA comes, or never.
  static constexpr std::chrono::seconds kReservation{60};
  static constexpr std::size_t kMaxReservations = worker::Shared::kReservations;
  /// Packets for an inbound SPI that is to come are kept for it. Again: for another minute.
  Status reserve(const SaKey& key);

  /// A peer may make as many CHILD_SAs as it likes, and the table is everybody's: without this one site takes all its
  /// places, and no other one can be rekeyed. A tunnel has 2, in a rekeying 4; one of IKEv1 also has the rekeyed
  /// inbound ones until their lifetime ends: at 7 Gbit/s, rekeyed every 100 GB, these are 240.
  static constexpr std::size_t kMaxSasOfTunnel = 256;
  /// The IV epoch (outbound; 0 inbound). An SA that is there with the same key only changes its owner and
  /// endpoints. kAlreadyExists, kLimit, kNeedsRekey, kInvalidArgument with the field.
  Result<std::uint32_t> add(const SaRequest& request, std::uint64_t owner_epoch);
  /// Of the SA that add() has installed; wiped with it.
  void keep_request(const SaKey& key, Secret request);
  const std::map<SaKey, MonoTime>& reserved() const { return reserved_; }
  /// For people.
  std::vector<MemoryUse> memory() const;
  std::uint64_t ike_epoch() const { return table_.epoch(); }

  /// What a process before this one knows of an SA of add() beside its request.
  struct Past {
    MonoTime installed;
    std::optional<MonoTime> confirmed;
    std::uint8_t raised = 0;
  };
  void set_past(const SaKey& key, const Past& past);
  /// That process's claims, and claims of the other instance that had closed gates. No SA changes: what it has taken
  /// over or handed on is in the records.
  struct InheritedEndpoint {
    EndpointClaim claim;
    std::uint64_t lost_to_epoch = 0;
  };
  Status inherit_endpoints(std::span<const InheritedEndpoint> endpoints);
  std::uint64_t lost_to_epoch(const Endpoints::Endpoint& endpoint) const;
  /// The process before has stopped; the workers rest. Every outbound key is under an epoch of this process when this
  /// returns, or cannot be sent with.
  Status own_records();

  Status move(const SaMove& move);
  Status remove(const SaKey& key);
  Status activate(const SaKey& key);
  /// The tunnel's settings changed: its outbound SAs follow.
  void apply_outer_policy(std::uint32_t tunnel_id);
  /// The whole list of endpoints, as gwd claims them. Returns the outbound SAs of endpoints that became owned that
  /// cannot send: only a new key helps.
  struct PutEndpoints {
    std::vector<SaKey> needs_rekey;
    std::vector<IpAddress> awaited;  // EndpointClaim::awaits_positions
  };
  Result<PutEndpoints> put_endpoints(std::span<const EndpointClaim> claims);
  const Endpoints& endpoints() const { return parts_.endpoints; }
  /// Inner packets of that size are the largest that the path of this outbound SA has room for.
  void limit_padding(const SaEntry& entry, std::uint32_t inner_bytes);

  /// Called when a tunnel sends with another SA, or to another place.
  void on_active(std::function<void(std::uint32_t tunnel_id)> callback) { on_active_ = std::move(callback); }

  void on_hello(std::uint64_t epoch) { table_.on_hello(epoch); }
  /// The client of this epoch has sent all it has: the rest of its SAs goes, and records of keys that
  /// nobody has any more.
  void on_sync_done(std::uint64_t epoch);
  /// Many SAs leave a few at a time, so that others are served meanwhile. True: there are more, call again soon.
  bool remove_some();
  /// Called when there is something for remove_some().
  void on_leaving(std::function<void()> callback) { on_leaving_ = std::move(callback); }
  void on_confirmed(const SaKey& key) { table_.on_confirmed(key, parts_.clock.now()); }
  /// The SA raised these; whoever claims it anew is told again.
  void on_raised(const SaKey& key, std::uint8_t events) { table_.on_raised(key, events); }
  /// Every second.
  void remove_ended_orphans();
  void end_old_reservations();

  /// The other instance's gw-fastpath.
  SaSync& sync() { return sync_; }
  const SaSync& sync() const { return sync_; }
  void on_sync_frame(std::function<void(const fp::SaSync&)> callback) { on_sync_frame_ = std::move(callback); }

  /// Its endpoint is ours, or belongs to no one instance.
  bool sends_for(const SaEntry& entry) const { return parts_.endpoints.owned(our_address(entry)); }

  const SaTable& table() const { return table_; }
  SaTable& table() { return table_; }

 private:
  Result<std::uint32_t> claim(SaEntry& entry, const SaRequest& request, std::uint64_t owner_epoch);
  void tell_again(SaEntry& entry);
  Result<SaEntry> prepare(const SaRequest& request, std::uint64_t owner_epoch);
  Status install(SaEntry& entry, const SaRequest& request);
  Result<std::unique_ptr<esp::InboundSa>> make(SaEntry& entry, const SaRequest& request);
  Status install_inbound(const SaEntry& entry, std::unique_ptr<esp::InboundSa> sa);
  Status move_in_worker(const SaEntry& entry, const SaMove& move, worker::PathIndex path);
  Status move_inbound(const SaEntry& entry, const SaKey& to);
  /// The address of ours that it belongs to.
  static const IpAddress& our_address(const SaEntry& entry) {
    return entry.direction == esp::Direction::kInbound ? entry.dst.address : entry.src.address;
  }
  void apply_gates(const IpAddress& address);
  void release_endpoints(std::span<const EndpointClaim> claims, const std::set<IpAddress>& added);
  void stop_sending(std::span<const IpAddress> released);
  std::vector<SaKey> take_endpoint(const IpAddress& address, Handover handover);
  std::vector<SaKey> take(std::span<SaEntry* const> entries, Handover handover);
  void hand_on(SaEntry& entry);
  void settle(SaEntry& entry);
  void follow_all(const IpAddress& address);
  void send(const fp::SaSync& frame) override;
  bool owned(const IpAddress& endpoint) const override { return parts_.endpoints.owned(endpoint); }
  void accept(std::span<const SaSync::Granted> grants) override;
  void forget(std::span<esp::RuntimeRecord* const> records) override;
  void on_owners(std::span<esp::RuntimeRecord* const> records, const std::function<void(std::size_t)>& change);
  void follow_ownership(const SaEntry& entry);
  bool sends(const SaEntry& entry) const { return entry.active && parts_.endpoints.owned(entry.src.address); }
  void withdraw(const SaEntry& entry);
  void forget(const SaKey& key);
  void remove_all(std::span<const SaKey> keys);
  void let_go(std::span<const SaKey> keys);
  bool end_reservation(const SaKey& key);
  void add_peer(const IpAddress& address);
  void forget_peer(const IpAddress& address);

  Parts parts_;
  SaTable table_;
  SaSync sync_;
  std::function<void(const fp::SaSync&)> on_sync_frame_;
  std::map<const esp::RuntimeRecord*, worker::TunnelSlot> slots_;  // of the SAs that have them
  std::function<void(std::uint32_t)> on_active_;
  std::function<void()> on_leaving_;
  std::deque<SaKey> leaving_;
  std::map<SaKey, MonoTime> reserved_;      // until when
  std::map<IpAddress, std::size_t> peers_;  // how many inbound SAs each has
};

}  // namespace gw::control
