// Reassembly of outer fragments: what a peer's ESP is in when a link on the way is smaller than its sender thought.
// IPv4 RFC 791 3.2 and RFC 815, IPv6 RFC 8200 4.5; overlaps end the whole datagram in both (RFC 5722, RFC 1858);
// ECN as RFC 3168 5.3. Pure: time is an argument. Everything is allocated at construction; one thread.
//
// The rules that keep an attacker from using it up:
//  - datagrams and their size are bounded; so is the number of pieces of one;
//  - a source may have only so many at once: then its own oldest gives way. Sources are told apart by a keyed hash
//    (as stochastic fair queueing does), so that this costs no table an attacker could fill;
//  - addresses without a tunnel share places of their own, and never take those of peers. Where all places of a kind
//    are taken, the source that holds the most gives way, with its oldest.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.hpp"
#include "ebpf/abi/drop.h"
#include "ebpf/ip/fragment.hpp"

namespace gw::ip {

/// Who sends, as the caller knows it.
enum class Standing : std::uint8_t {
  kPeer,      // the address of a live SA's peer
  kStranger,  // anybody
};

struct ReassemblyLimits {
  std::uint32_t peer_datagrams = 512;
  std::uint32_t stranger_datagrams = 64;
  /// Of one source; a stranger gets an eighth. Enough for a peer at 100,000 fragmented packets/s whose fragments
  /// arrive 600 us apart.
  std::uint32_t datagrams_per_source = 64;
  /// Of the reassembled packet with its IP header, options included: packet() is never longer.
  std::uint32_t datagram_bytes = 2048;
  /// A packet of 1500 bytes over the smallest MTU that IPv4 knows (68, RFC 791) makes 32.
  std::uint32_t fragments_per_datagram = 40;
  /// RFC 791's first guess. Deviation from RFC 8200 4.5 (60 s): ESP is worthless when it comes that late, and a
  /// 16-bit id has come round long before (RFC 4963).
  std::chrono::seconds timeout{15};
};

/// Fragments that were refused or thrown away, by reason. A datagram that ends counts each of its fragments.
using FragmentDrops = std::array<std::uint32_t, GW_DROP_COUNT>;

class Reassembler {
 public:
  /// `seed`: random, so that nobody knows who shares a bucket with whom.
  explicit Reassembler(std::uint64_t seed, const ReassemblyLimits& limits = {});

  enum class Outcome : std::uint8_t {
    kHeld,     // waits for the rest
    kWhole,    // packet() is the datagram
    kDropped,  // counted; a repetition of what is there, too, which harms nothing
  };
  /// `bytes` begins at the IP header of a packet that is a fragment; what is kept is copied.
  Outcome add(std::span<const std::uint8_t> bytes, Standing standing, MonoTime now);
  /// After kWhole: the packet, an IP header without a trace of fragmentation in front. Valid until the next add().
  std::span<const std::uint8_t> packet() const { return packet_; }

  /// Ends what has waited too long; every second or so.
  void expire(MonoTime now);
  bool empty() const { return used_ == 0; }

  /// Counts since the last call.
  FragmentDrops take_drops();
  /// Since construction.
  std::uint64_t completed() const { return completed_; }
  std::uint32_t datagrams() const { return used_; }
  std::size_t capacity() const { return datagrams_.size(); }
  /// Of one datagram, whether in use or not.
  std::size_t bytes_of_one() const { return sizeof(Datagram) + stride_ + words_ * sizeof(std::uint64_t); }

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = UINT32_MAX;

  struct Key {
    Family family = Family::kV4;
    std::uint8_t protocol = 0;  // IPv4 only: RFC 791 counts it in, RFC 8200 does not
    std::uint32_t id = 0;
    std::array<std::uint8_t, 16> src{};
    std::array<std::uint8_t, 16> dst{};
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Datagram {
    Key key;
    gw_drop dead = GW_DROP_NONE;  // why what still comes of it is refused until its time is over (RFC 5722)
    bool used = false;
    std::uint8_t ecn_seen = 0;      // bit 1 << codepoint
    std::uint8_t header_bytes = 0;  // 0: the first fragment is still missing
    std::uint8_t next_header = 0;   // IPv6
    std::uint32_t fragments = 0;    // kept ones
    std::uint32_t received = 0;     // bytes of payload
    std::uint32_t total = 0;        // bytes of payload; 0: the last fragment is still missing
    std::uint32_t furthest = 0;     // end of the furthest fragment
    MonoTime began;
    std::uint16_t source = 0;  // its list
    Index older = kNone;       // in that list; free ones: the next free one
    Index newer = kNone;
  };
  /// The datagrams of the sources with one hash.
  struct Source {
    Index oldest = kNone;
    Index newest = kNone;
    std::uint32_t count = 0;
  };
  static constexpr std::size_t kSourcesPerStanding = 256;
  enum class Insertion : std::uint8_t { kNew, kRepeated, kOverlap, kTooMany, kTooBig };

  static Key key_of(const Fragment& f);
  std::uint16_t source_of(const Key& key, Standing standing) const;
  Index find(const Key& key, std::uint16_t source) const;
  Index begin(const Key& key, std::uint16_t source, MonoTime now);
  void make_room(std::uint16_t source);
  static std::uint32_t header_bytes_with(const Datagram& d, const Fragment& f);
  Insertion insert(Index index, const Fragment& f);
  Insertion place(Index index, const Fragment& f);
  Outcome finish(Index index);
  void write_header(const Datagram& d, std::uint8_t* header);
  void drop_fragments(Datagram& d, gw_drop reason);
  void remove(Index index);
  std::uint8_t* payload_of(Index i) { return &memory_[std::size_t{i} * stride_ + kMaxV4Header]; }
  std::span<std::uint64_t> blocks_of(Index i) { return std::span(blocks_).subspan(std::size_t{i} * words_, words_); }

  ReassemblyLimits limits_;
  std::uint64_t seed_;
  std::uint32_t stride_;  // bytes of memory_ for one datagram: room for the header, then the payload
  std::uint32_t words_;   // of blocks_ for one datagram: a bit for 8 bytes
  std::vector<Datagram> datagrams_;
  std::unique_ptr<std::uint8_t[]> memory_;
  std::vector<std::uint64_t> blocks_;
  std::array<Source, 2 * kSourcesPerStanding> sources_{};
  std::array<std::uint32_t, 2> used_by_standing_{};
  std::uint32_t used_ = 0;
  Index free_ = kNone;
  std::uint64_t completed_ = 0;
  FragmentDrops drops_{};
  std::span<const std::uint8_t> packet_;
};

}  // namespace gw::ip
