// What the control side knows of each SA, and who it belongs to. Pure: no worker, no kernel, time as an
// argument. The orphan rule: an SA of an IKE client that is gone (its epoch is not the current one) goes
// on until the same tunnel has a new inbound SA that received authenticated traffic, plus a few seconds
// for what is on its way, or until its own hard lifetime in seconds ends. Control thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/secret.hpp"
#include "ebpf/esp/runtime_rules.hpp"
#include "ebpf/esp/sa.hpp"
#include "ebpf/worker/shared.hpp"

namespace gw::control {

using worker::SaKey;

struct SaEntry {
  SaKey key;
  esp::Direction direction = esp::Direction::kInbound;
  std::uint32_t tunnel_id = 0;
  worker::TunnelSlot slot = worker::kNoTunnel;
  worker::PathIndex path = 0;  // outbound
  esp::Endpoint src;
  esp::Endpoint dst;
  esp::Encapsulation encapsulation = esp::Encapsulation::kNative;
  esp::SequenceMode sequence_mode = esp::SequenceMode::k32Bit;
  std::uint32_t replay_window = 0;
  std::string algorithm;  // "AES_GCM_16-256"
  std::uint32_t reqid = 0;
  std::chrono::seconds hard_lifetime{0};  // 0: none
  esp::Fingerprint fingerprint{};
  esp::Fingerprint sync_key{};           // of the key, as the other instance calls it (sa_sync.hpp)
  esp::RuntimeRecord* record = nullptr;  // of the RuntimeStore
  std::unique_ptr<esp::OutboundSa> out;  // outbound; used by the tunnel's worker while active
  std::shared_ptr<esp::SaDrops> drops;   // written by the owner of the SA
  Secret request;                        // the client's AddSa, with the key: for a process after this one

  std::uint64_t owner_epoch = 0;  // of the IKE client
  std::uint8_t raised = 0;        // esp::Event bits that were told, if anyone listened
  bool active = false;            // outbound: its tunnel sends with it
  bool seen = true;               // sent again since its client's last Hello
  bool leaving = false;           // to be removed, unless somebody claims it before its turn
  MonoTime installed;
  std::optional<MonoTime> confirmed;  // inbound: when it first received authenticated traffic
};

class SaTable {
 public:
  /// What is on its way when the new SA proves itself: the longest reordering anyone has to expect.
  static constexpr std::chrono::seconds kOrphanGrace{5};

  SaEntry& insert(SaEntry entry);
  SaEntry* find(const SaKey& key);
  struct KeyIdentity {
    std::uint32_t spi = 0;
    esp::Direction direction = esp::Direction::kInbound;
    esp::Fingerprint fingerprint{};
  };
  /// Wherever it goes to.
  SaEntry* find_key(const KeyIdentity& identity);
  void erase(const SaKey& key);
  void move(const SaKey& from, const SaKey& to);
  std::size_t size() const { return entries_.size(); }
  /// Of a tunnel, both directions.
  std::size_t count(std::uint32_t tunnel_id) const;
  const std::map<SaKey, SaEntry>& entries() const { return entries_; }

  /// The tunnel's SA in use for sending; null if there is none.
  SaEntry* active(std::uint32_t tunnel_id);
  /// It is from now on.
  void activate(SaEntry& entry);

  /// An IKE client said hello: it is the current one, and its SAs await being sent again.
  void on_hello(std::uint64_t epoch);
  std::uint64_t epoch() const { return epoch_; }
  bool is_orphan(const SaEntry& entry) const { return entry.owner_epoch != epoch_; }
  /// SAs of this client that it did not send again: to be removed.
  std::vector<SaKey> not_seen(std::uint64_t epoch) const;
  void on_confirmed(const SaKey& key, MonoTime now);
  void on_raised(const SaKey& key, std::uint8_t events);
  /// Orphans whose time has come: to be removed.
  std::vector<SaKey> ended_orphans(MonoTime now) const;

 private:
  std::map<SaKey, SaEntry> entries_;
  std::map<std::uint32_t, SaKey> active_;           // by tunnel
  std::map<std::uint32_t, std::size_t> of_tunnel_;  // how many; none: not in it
  std::uint64_t epoch_ = 0;
};

}  // namespace gw::control
