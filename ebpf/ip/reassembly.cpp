#include "ebpf/ip/reassembly.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/ecn.hpp"

namespace gw::ip {
namespace {

constexpr std::uint32_t kUnit = 8;
constexpr std::uint32_t kUnitsPerWord = 64;
constexpr std::uint32_t kStrangerShare = 8;
constexpr std::uint32_t kLeastV4Header = 20;

std::uint64_t mix(std::uint64_t h, std::uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15;
  h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
  h = (h ^ h >> 27) * 0x94d049bb133111eb;
  return h ^ h >> 31;
}

}  // namespace

Reassembler::Reassembler(std::uint64_t seed, const ReassemblyLimits& limits)
    : limits_(limits),
      seed_(seed),
      stride_((kMaxV4Header + limits.datagram_bytes + 63) & ~63u),
      words_((limits.datagram_bytes + kUnit * kUnitsPerWord - 1) / (kUnit * kUnitsPerWord)),
      datagrams_(limits.peer_datagrams + limits.stranger_datagrams),
      memory_(std::make_unique_for_overwrite<std::uint8_t[]>(datagrams_.size() * stride_)),
      blocks_(datagrams_.size() * words_) {
  for (Index i = 0; i < datagrams_.size(); ++i) {
    datagrams_[i].older = free_;
    free_ = i;
  }
}

Reassembler::Key Reassembler::key_of(const Fragment& f) {
  Key key{.family = f.family, .protocol = f.family == Family::kV4 ? f.protocol : std::uint8_t{0}, .id = f.id};
  std::ranges::copy(f.src, key.src.begin());
  std::ranges::copy(f.dst, key.dst.begin());
  return key;
}

/// Index into sources_: peers first, then strangers.
std::uint16_t Reassembler::source_of(const Key& key, Standing standing) const {
  const std::uint64_t h =
      mix(mix(seed_, load_be<std::uint64_t>(key.src.data())), load_be<std::uint64_t>(key.src.data() + 8));
  return static_cast<std::uint16_t>(h % kSourcesPerStanding + (standing == Standing::kPeer ? 0 : kSourcesPerStanding));
}

/// From the newest on: that is nearly always the one.
Reassembler::Index Reassembler::find(const Key& key, std::uint16_t source) const {
  Index i = sources_[source].newest;
  while (i != kNone && !(datagrams_[i].key == key)) i = datagrams_[i].older;
  return i;
}

// --- places ------------------------------------------------------------------------------------------

void Reassembler::drop_fragments(Datagram& d, gw_drop reason) {
  drops_[reason] += d.fragments;
  d.fragments = 0;
}

void Reassembler::remove(Index index) {
  Datagram& d = datagrams_[index];
  Source& s = sources_[d.source];
  (d.older == kNone ? s.oldest : datagrams_[d.older].newer) = d.newer;
  (d.newer == kNone ? s.newest : datagrams_[d.newer].older) = d.older;
  --s.count;
  --used_by_standing_[d.source / kSourcesPerStanding];
  --used_;
  d.used = false;
  d.older = free_;
  free_ = index;
}

/// At most one gives way.
void Reassembler::make_room(std::uint16_t source) {
  const bool peer = source < kSourcesPerStanding;
  const std::uint32_t share =
      peer ? limits_.datagrams_per_source : std::max(limits_.datagrams_per_source / kStrangerShare, std::uint32_t{1});
  Index victim = kNone;
  if (sources_[source].count >= share) {
    victim = sources_[source].oldest;
  } else if (used_by_standing_[peer ? 0 : 1] >= (peer ? limits_.peer_datagrams : limits_.stranger_datagrams)) {
    const auto all = std::span(sources_).subspan(peer ? 0 : kSourcesPerStanding, kSourcesPerStanding);
    victim = std::ranges::max_element(all, {}, &Source::count)->oldest;
  }
  if (victim == kNone) return;
  drop_fragments(datagrams_[victim], GW_DROP_FRAGMENT_LIMIT);
  remove(victim);
}

Reassembler::Index Reassembler::begin(const Key& key, std::uint16_t source, MonoTime now) {
  make_room(source);
  const Index index = free_;
  Datagram& d = datagrams_[index];
  free_ = d.older;
  Source& s = sources_[source];
  d = {.key = key, .used = true, .began = now, .source = source, .older = s.newest};
  (s.newest == kNone ? s.oldest : datagrams_[s.newest].newer) = index;
  s.newest = index;
  ++s.count;
  ++used_by_standing_[source / kSourcesPerStanding];
  ++used_;
  std::ranges::fill(blocks_of(index), 0);
  return index;
}

void Reassembler::expire(MonoTime now) {
  for (Index i = 0; i < datagrams_.size() && used_ > 0; ++i) {
    Datagram& d = datagrams_[i];
    if (!d.used || now - d.began < limits_.timeout) continue;
    drop_fragments(d, GW_DROP_FRAGMENT_TIMEOUT);
    remove(i);
  }
}

FragmentDrops Reassembler::take_drops() { return std::exchange(drops_, {}); }

// --- fragments ---------------------------------------------------------------------------------------

/// Of the whole packet's IP header, as far as it is known: the first fragment's, whose options may be more than the
/// later ones have.
std::uint32_t Reassembler::header_bytes_with(const Datagram& d, const Fragment& f) {
  if (d.header_bytes != 0) return d.header_bytes;
  if (f.offset == 0) return static_cast<std::uint32_t>(f.header.size());
  return f.family == Family::kV4 ? kLeastV4Header : kV6Header;
}

/// The payload into its place. Every 8 bytes have a bit; the last fragment's last bit may stand for fewer.
Reassembler::Insertion Reassembler::place(Index index, const Fragment& f) {
  const auto blocks = blocks_of(index);
  const std::uint32_t first = f.offset / kUnit;
  const std::uint32_t end = (f.end() + kUnit - 1) / kUnit;
  std::uint32_t there = 0;
  for (std::uint32_t b = first; b < end; ++b) {
    if (blocks[b / kUnitsPerWord] >> (b % kUnitsPerWord) & 1) ++there;
  }
  std::uint8_t* to = payload_of(index) + f.offset;
  if (there > 0) {
    // RFC 8200 4.5: exact duplicates, as networks make them, need not end the datagram.
    const bool same = there == end - first && std::memcmp(to, f.payload.data(), f.payload.size()) == 0;
    return same ? Insertion::kRepeated : Insertion::kOverlap;
  }
  for (std::uint32_t b = first; b < end; ++b) blocks[b / kUnitsPerWord] |= std::uint64_t{1} << (b % kUnitsPerWord);
  std::memcpy(to, f.payload.data(), f.payload.size());
  return Insertion::kNew;
}

Reassembler::Insertion Reassembler::insert(Index index, const Fragment& f) {
  Datagram& d = datagrams_[index];
  const bool last = f.place == Fragment::Place::kLast;
  // Two ends, or something behind the end: an overlap in spirit, from a sender that has something in mind.
  if (last && ((d.total != 0 && d.total != f.end()) || d.furthest > f.end())) return Insertion::kOverlap;
  if (!last && d.total != 0 && f.end() >= d.total) return Insertion::kOverlap;
  // Asked again when the first fragment brings its options: what is whole is never larger.
  if (header_bytes_with(d, f) + std::max(d.furthest, f.end()) > limits_.datagram_bytes) return Insertion::kTooBig;
  const Insertion done = place(index, f);
  if (done != Insertion::kNew) return done;
  if (++d.fragments > limits_.fragments_per_datagram) return Insertion::kTooMany;
  if (last) d.total = f.end();
  d.furthest = std::max(d.furthest, f.end());
  d.received += static_cast<std::uint32_t>(f.payload.size());
  d.ecn_seen |= static_cast<std::uint8_t>(1u << f.ecn);
  if (f.offset == 0) {
    d.header_bytes = static_cast<std::uint8_t>(f.header.size());
    d.next_header = f.protocol;
    std::memcpy(payload_of(index) - f.header.size(), f.header.data(), f.header.size());
  }
  return Insertion::kNew;
}

Reassembler::Outcome Reassembler::add(std::span<const std::uint8_t> bytes, Standing standing, MonoTime now) {
  Fragment f;
  if (parse_fragment(bytes, f) != FragmentFault::kNone) {
    ++drops_[GW_DROP_MALFORMED_OUTER];
    return Outcome::kDropped;
  }
  const Key key = key_of(f);
  const std::uint16_t source = source_of(key, standing);
  // RFC 6946 4: an atomic fragment is whole by itself, whatever else has its id.
  const bool atomic = f.offset == 0 && f.place == Fragment::Place::kLast;
  Index index = atomic ? kNone : find(key, source);
  if (index == kNone) index = begin(key, source, now);
  Datagram& d = datagrams_[index];
  // It waited too long, and nobody has looked since: this is another datagram with the same id.
  if (now - d.began >= limits_.timeout) {
    drop_fragments(d, GW_DROP_FRAGMENT_TIMEOUT);
    remove(index);
    index = begin(key, source, now);
  }
  Datagram& current = datagrams_[index];
  if (current.dead != GW_DROP_NONE) {
    ++drops_[current.dead];
    return Outcome::kDropped;
  }
  gw_drop reason = GW_DROP_NONE;
  switch (insert(index, f)) {
    case Insertion::kNew:
      return current.header_bytes != 0 && current.received == current.total ? finish(index) : Outcome::kHeld;
    case Insertion::kRepeated: ++drops_[GW_DROP_FRAGMENT_REPEATED]; return Outcome::kDropped;
    case Insertion::kOverlap: reason = GW_DROP_FRAGMENT_OVERLAP; break;
    case Insertion::kTooBig: reason = GW_DROP_TOO_BIG; break;
    case Insertion::kTooMany:
      reason = GW_DROP_FRAGMENT_LIMIT;
      --current.fragments;  // counted below, as this one
      break;
  }
  ++drops_[reason];
  drop_fragments(current, reason);
  current.dead = reason;
  return Outcome::kDropped;
}

// --- the whole ---------------------------------------------------------------------------------------

void Reassembler::write_header(const Datagram& d, std::uint8_t* h) {
  // RFC 3168 5.3: congestion seen by one piece was seen by the packet.
  const bool marked = d.ecn_seen & (1u << esp::kCe);
  if (d.key.family == Family::kV4) {
    if (marked) h[1] |= esp::kCe;
    store_be(h + 2, static_cast<std::uint16_t>(d.header_bytes + d.total));
    store_be(h + 6, std::uint16_t{0});
    store_be(h + 10, std::uint16_t{0});
    store_be(h + 10, static_cast<std::uint16_t>(~esp::fold16(esp::sum16(h, d.header_bytes))));
    return;
  }
  if (marked) h[1] |= esp::kCe << 4;
  store_be(h + 4, static_cast<std::uint16_t>(d.total));
  h[6] = d.next_header;
}

Reassembler::Outcome Reassembler::finish(Index index) {
  Datagram& d = datagrams_[index];
  constexpr unsigned kImpossible = (1u << esp::kCe) | (1u << esp::kNotEct);
  if ((d.ecn_seen & kImpossible) == kImpossible) {  // RFC 3168 5.3: marked, and its sender does not understand it
    drop_fragments(d, GW_DROP_ECN);
    remove(index);
    return Outcome::kDropped;
  }
  std::uint8_t* header = payload_of(index) - d.header_bytes;
  write_header(d, header);
  packet_ = {header, d.header_bytes + d.total};
  ++completed_;
  remove(index);
  return Outcome::kWhole;
}

}  // namespace gw::ip
