// Security associations. SaParameters is what the control side knows (cold); OutboundSa and InboundSa are
// what a worker needs per packet, cache-aligned, pointing at the RuntimeRecord that outlives the process.
// An SA belongs to one worker; create it on any thread with that worker's backend and hand it over.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "ebpf/esp/crypto.hpp"
#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/outer_policy.hpp"
#include "ebpf/esp/replay.hpp"
#include "ebpf/esp/runtime_record.hpp"
#include "ebpf/esp/sa_drops.hpp"
#include "ebpf/esp/selector.hpp"

namespace gw::esp {

inline constexpr std::uint32_t kSequenceBytes = 4;
inline constexpr std::uint32_t kTrailerBytes = 2;  // pad length, next header

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;  // with UDP encapsulation only
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

enum class Encapsulation : std::uint8_t {
  kNative,  // IP protocol 50
  kUdp,     // RFC 3948
};

struct Lifetime {  // 0: no limit
  std::uint64_t soft_bytes = 0;
  std::uint64_t hard_bytes = 0;
  std::uint64_t soft_packets = 0;
  std::uint64_t hard_packets = 0;
};

struct SaParameters {
  std::uint32_t spi = 0;  // 256 and up (RFC 4303 2.1)
  Endpoint src;           // of the packets of this SA
  Endpoint dst;
  Encapsulation encapsulation = Encapsulation::kNative;
  SequenceMode sequence_mode = SequenceMode::kExtended;
  std::uint32_t replay_window = 1024;  // inbound
  const Transform* transform = &default_transform();
  Secret key;                    // of the cipher, then salt, as IKE derives them (RFC 4106 8.1)
  Secret integrity_key;          // with a separate integrity algorithm
  std::vector<Selector> local;   // this side
  std::vector<Selector> remote;  // the peer's
  Lifetime lifetime;
  std::uint64_t sequence_jump = 0;  // J: how far a record may lag (architecture: 0 for local ones)
  OuterPolicy outer;                // outbound
  /// Outbound: smaller packets are padded to this many bytes (TFC, RFC 4303 2.7); 0: none. It must fit the buffers.
  std::uint16_t pad_to = 0;

  /// What makes it the same SA when it is sent again, and what a nonce belongs to: the keys without the nonce salt.
  /// One AES key under two salts must not look like two keys.
  Secret key_identity() const;
};

/// What happened on an SA during a burst; bits of take_events() and BurstResult::events.
enum Event : std::uint8_t {
  kSoftBytes = 1,
  kHardBytes = 2,
  kSoftPackets = 4,
  kHardPackets = 8,
  kSoftSequence = 16,  // fewer than kExhaustionMargin sequence numbers or IVs are left
  kHardSequence = 32,  // none is left
  kMapping = 64,       // SA in UDP: an authenticated packet came from elsewhere: InboundSa::seen_source()
};

/// What both directions share: limits, counters and the events that they raise. Each event is raised once.
class SaCommon {
 public:
  std::uint32_t spi() const { return spi_; }
  RuntimeRecord& record() const { return *record_; }
  const SelectorSet& selectors() const { return selectors_; }
  KeySchedule* key() const { return key_.get(); }
  const Transform& transform() const { return *transform_; }
  SequenceMode sequence_mode() const { return mode_; }

  /// May be kept longer than the SA; written on its owner's thread.
  std::shared_ptr<SaDrops> drops() const { return drops_; }
  /// Events raised since the last call. Owner only.
  std::uint8_t take_events() { return std::exchange(pending_, std::uint8_t{0}); }
  /// These could not be told: they are raised again while they hold. Owner only.
  void not_told(std::uint8_t events) { raised_ &= static_cast<std::uint8_t>(~events); }

  // For the codec:
  void count_drop(gw_drop reason) { drops_->add(reason); }
  bool hard_expired() const {
    return load_field(record_->packets) >= hard_packets_ || load_field(record_->bytes) >= hard_bytes_;
  }
  void count(std::uint32_t bytes, std::uint64_t now_ms) {
    store_field(record_->packets, record_->packets + 1);
    store_field(record_->bytes, record_->bytes + bytes);
    store_field(record_->last_used_ms, now_ms);
  }
  /// Raises what the counters have reached; returns the newly raised ones.
  std::uint8_t check_limits();
  std::uint8_t raise(std::uint8_t events);

 protected:
  SaCommon() = default;
  ~SaCommon() = default;
  Status init(const SaParameters& p, CryptoBackend& backend, RuntimeRecord& record);

  RuntimeRecord* record_ = nullptr;
  std::unique_ptr<KeySchedule> key_;
  const Transform* transform_ = nullptr;
  std::uint32_t spi_ = 0;
  SequenceMode mode_ = SequenceMode::kExtended;
  std::uint8_t raised_ = 0;
  std::uint8_t pending_ = 0;
  std::uint64_t soft_bytes_ = UINT64_MAX;
  std::uint64_t hard_bytes_ = UINT64_MAX;
  std::uint64_t soft_packets_ = UINT64_MAX;
  std::uint64_t hard_packets_ = UINT64_MAX;
  SelectorSet selectors_;
  std::shared_ptr<SaDrops> drops_ = std::make_shared<SaDrops>();
};

class alignas(64) OutboundSa : public SaCommon {
 public:
  /// `record` was begun or resumed (nonce.hpp) for this key and outlives the SA. Faults name the field of
  /// SaParameters.
  static Result<std::unique_ptr<OutboundSa>> create(const SaParameters& p, CryptoBackend& backend,
                                                    RuntimeRecord& record);

  /// MOBIKE, NAT rebinding: from the next packet on. Same rules as create().
  Status set_endpoints(const Endpoint& src, const Endpoint& dst, Encapsulation encapsulation);

  /// From the next packet on.
  void set_outer_policy(const OuterPolicy& policy) { marks_ = OuterMarks(policy); }

  Family outer_family() const { return outer_family_; }
  const OuterMarks& marks() const { return marks_; }
  /// TFC padding never makes packets larger than this, whatever SaParameters::pad_to says: what a path has room for is
  /// known later. From the next packet on. Owner only.
  void limit_padding(std::uint32_t inner_bytes) {
    pad_to_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(asked_pad_to_, inner_bytes));
  }
  std::uint32_t pad_to() const { return pad_to_; }
  bool pads() const { return asked_pad_to_ != 0; }
  /// Outer IP, UDP and the SPI, as every packet starts; lengths, checksum, id, DF and
  /// traffic class are filled in later.
  std::span<const std::uint8_t> header() const { return {header_.data(), header_length_}; }
  bool udp() const { return udp_; }
  /// Unfolded checksum sum of the IPv4 header in header().
  std::uint64_t ipv4_sum() const { return ipv4_sum_; }
  std::uint64_t last_sequence() const { return last_sequence_; }
  std::uint64_t sequence_jump() const { return jump_; }
  /// The largest inner packet whose outer packet fits `outer_mtu`; 0 if none. Smaller ones fit, too, unless
  /// pad_to() is beyond it.
  std::uint32_t inner_mtu(std::uint32_t outer_mtu) const;

 private:
  OutboundSa() = default;
  alignas(64) std::array<std::uint8_t, 52> header_{};
  std::uint8_t header_length_ = 0;
  Family outer_family_ = Family::kV4;
  bool udp_ = false;
  OuterMarks marks_;
  std::uint16_t pad_to_ = 0;
  std::uint16_t asked_pad_to_ = 0;
  std::uint64_t ipv4_sum_ = 0;
  std::uint64_t last_sequence_ = 0;
  std::uint64_t jump_ = 0;
};

class alignas(64) InboundSa : public SaCommon {
 public:
  /// `record` survives the SA; its replay window goes on from what is in it.
  static Result<std::unique_ptr<InboundSa>> create(const SaParameters& p, CryptoBackend& backend,
                                                   RuntimeRecord& record);
  /// What later packets are compared with for the kMapping event.
  Status set_endpoints(const Endpoint& src, const Endpoint& dst, Encapsulation encapsulation);

  const ReplayWindow& window() const { return window_; }
  Family outer_family() const { return family_; }
  std::span<const std::uint8_t> dst() const { return {dst_.data(), address_bytes(family_)}; }
  bool udp() const { return src_port_ != 0; }
  /// `address`: of outer_family(), network order.
  bool is_source(const std::uint8_t* address, std::uint16_t port) const;
  /// The source of the packet that raised kMapping. Owner only.
  Endpoint seen_source() const { return seen_; }
  std::uint8_t note_source(const std::uint8_t* address, std::uint16_t port);
  /// A packet was authentic, whatever was in it. Owner only.
  bool has_received() const { return has_received_; }
  void note_received() { has_received_ = true; }

 private:
  explicit InboundSa(const SaParameters& p) : window_(p.replay_window, p.sequence_mode) {}
  ReplayWindow window_;
  Family family_ = Family::kV4;
  bool has_received_ = false;
  std::uint16_t src_port_ = 0;
  std::array<std::uint8_t, 16> src_{};
  std::array<std::uint8_t, 16> dst_{};
  Endpoint seen_;
};

}  // namespace gw::esp
