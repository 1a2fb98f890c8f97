// Storage of the Rib: what is small enough that a full table from four sources fits, and stays where it is while it
// grows. Details of rib.cpp, used by nobody else. Owned by a Rib, its thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "routes/decide.hpp"
#include "routes/import.hpp"

namespace gw::routes {

inline constexpr std::uint32_t kNoId = 0xffffffff;

using Tick = std::chrono::duration<std::uint64_t, std::deci>;  // of a Slot's age

inline std::uint32_t fold_hash(std::uint64_t h) { return static_cast<std::uint32_t>(h ^ h >> 32); }

inline std::uint32_t fast_hash(const Prefix& p) {
  std::uint64_t words[2] = {};
  const auto bytes = p.address().bytes();
  std::memcpy(words, bytes.data(), bytes.size());
  std::uint64_t h = (words[0] ^ p.length() * 0xff51afd7ed558ccdU) * 0x9e3779b97f4a7c15U;
  h = (h ^ h >> 32 ^ words[1]) * 0xd6e8feb86659fd93U;
  return fold_hash(h ^ h >> 29);
}

/// Numbers by hash: open addressing with linear probing; whoever asks compares what the numbers stand for.
class IdIndex {
 public:
  template <class Equal>
  std::uint32_t find(std::uint32_t hash, Equal equal) const {
    if (cells_.empty()) return kNoId;
    for (std::size_t i = hash & mask();; i = (i + 1) & mask()) {
      const Cell& c = cells_[i];
      if (c.id == kNoId) return kNoId;
      if (c.hash == hash && equal(c.id)) return c.id;
    }
  }
  void prefetch(std::uint32_t hash) const {
    if (!cells_.empty()) __builtin_prefetch(&cells_[hash & mask()]);
  }
  /// A number whose hash is this, most often the one that find() will return; kNoId if there is none.
  std::uint32_t guess(std::uint32_t hash) const {
    return find(hash, [](std::uint32_t) { return true; });
  }
  void insert(std::uint32_t hash, std::uint32_t id) {
    if ((size_ + 1) * 4 > cells_.size() * 3) grow();
    place({hash, id});
    ++size_;
  }
  /// The pair must be there.
  void erase(std::uint32_t hash, std::uint32_t id) {
    std::size_t hole = hash & mask();
    while (cells_[hole].id != id) hole = (hole + 1) & mask();
    // Later cells of the same run move up, so that no search ends early.
    for (std::size_t i = (hole + 1) & mask(); cells_[i].id != kNoId; i = (i + 1) & mask()) {
      const std::size_t home = cells_[i].hash & mask();
      if (((i - home) & mask()) < ((i - hole) & mask())) continue;
      cells_[hole] = cells_[i];
      hole = i;
    }
    cells_[hole] = {};
    --size_;
  }
  std::size_t size() const { return size_; }

 private:
  struct Cell {
    std::uint32_t hash = 0;
    std::uint32_t id = kNoId;
  };
  std::size_t mask() const { return cells_.size() - 1; }
  void place(Cell cell) {
    std::size_t i = cell.hash & mask();
    while (cells_[i].id != kNoId) i = (i + 1) & mask();
    cells_[i] = cell;
  }
  void grow() {
    std::vector<Cell> old(std::max<std::size_t>(64, cells_.size() * 2));
    old.swap(cells_);
    for (const Cell& c : old) {
      if (c.id != kNoId) place(c);
    }
  }
  std::vector<Cell> cells_;
  std::size_t size_ = 0;
};

/// A vector whose elements never move: growing copies nothing and wastes less than a chunk.
template <class T>
class ChunkedVector {
 public:
  T& operator[](std::size_t i) { return (*chunks_[i / kChunk])[i % kChunk]; }
  const T& operator[](std::size_t i) const { return (*chunks_[i / kChunk])[i % kChunk]; }
  std::size_t size() const { return size_; }
  T& push() {
    if (size_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<std::array<T, kChunk>>());
    return (*this)[size_++];
  }

 private:
  static constexpr std::size_t kChunk = 4096;
  std::vector<std::unique_ptr<std::array<T, kChunk>>> chunks_;
  std::size_t size_ = 0;
};

/// One source's route to one prefix: 32 bytes.
struct Slot {
  std::uint64_t high = 0;
  std::uint64_t low_and_flags = 0;
  std::uint32_t raw = kNoId;   // attributes as received
  std::uint32_t since = 0;     // 100 ms
  std::uint32_t position = 0;  // in the list of its source
  std::uint16_t source = 0;
  LineId line = kLineAccept;  // of the import policy

  // The Merit leaves the last 29 bits of `low` free.
  static constexpr std::uint64_t kStale = 1;
  static constexpr std::uint64_t kRefused = 2;
  static constexpr std::uint64_t kHeldBack = 4;  // refused until it is announced again, see Rib::set_policy
  static constexpr std::uint64_t kFlags = kStale | kRefused | kHeldBack;
  bool stale() const { return (low_and_flags & kStale) != 0; }
  bool refused() const { return (low_and_flags & kRefused) != 0; }
  bool held_back() const { return (low_and_flags & kHeldBack) != 0; }
  Merit merit() const { return {high, low_and_flags & ~kFlags}; }
  void set_merit(const Merit& m) {
    high = m.high;
    low_and_flags = m.low | (low_and_flags & kFlags);
  }
  void set_flag(std::uint64_t flag) { low_and_flags |= flag; }
  void clear_flag(std::uint64_t flag) { low_and_flags &= ~flag; }
};
static_assert(sizeof(Slot) == 32);

/// A prefix and its routes: 32 bytes; the slots are an array of exactly capacity_for(count).
struct RibEntry {
  Slot* slots = nullptr;
  std::uint32_t published = 0;  // PathSetId
  std::uint16_t count : 15 = 0;
  std::uint16_t dirty : 1 = 0;
  Prefix prefix;

  std::span<Slot> all() { return {slots, count}; }
  std::span<const Slot> all() const { return {slots, count}; }
  Slot* find(std::uint16_t source) {
    for (Slot& s : all()) {
      if (s.source == source) return &s;
    }
    return nullptr;
  }

  /// 1, 2, 3, 4, 6, 8, 12, 16, 24, ...
  static std::size_t capacity_for(std::size_t count) {
    if (count <= 4) return count;
    const std::size_t power = std::bit_ceil(count);
    return count <= power / 4 * 3 ? power / 4 * 3 : power;
  }
  Slot& add() {
    if (capacity_for(count) != capacity_for(count + 1U)) resize(capacity_for(count + 1U));
    slots[count] = {};
    const std::size_t at = count;
    count = static_cast<std::uint16_t>((at + 1) & 0x7fff);
    return slots[at];
  }
  void remove(Slot* slot) {
    const std::size_t last = count - 1U;
    *slot = slots[last];
    const bool shrink = capacity_for(count) != capacity_for(last);
    count = static_cast<std::uint16_t>(last & 0x7fff);
    if (shrink) resize(capacity_for(last));
  }
  void free_slots() {
    delete[] slots;
    slots = nullptr;
  }

 private:
  void resize(std::size_t capacity) {
    Slot* fresh = capacity == 0 ? nullptr : new Slot[capacity];
    std::copy_n(slots, std::min<std::size_t>(count, capacity), fresh);
    delete[] slots;
    slots = fresh;
  }
};
static_assert(sizeof(RibEntry) == 32);
inline constexpr std::size_t kMaxSources = 0x7ffe;

/// What policy makes of attributes, kept until policy or source changes.
struct PathVerdict {
  Merit merit;
  LineId line = kLineAccept;
  Action action = Action::kAccept;
};

/// Attributes as received, each set once, counted.
class AttributeStore {
 public:
  struct Item {
    AttributesPtr attributes;
    std::uint32_t users = 0;
    std::uint32_t hash = 0;
    IpAddress next_hop;
    // Of one source under one policy; most attributes have one source only.
    std::uint16_t source = 0;
    std::uint32_t generation = 0;  // 0: nothing is kept
    PathVerdict verdict;
  };
  static std::uint32_t hash_of(const Attributes& attributes) { return fold_hash(hash_value(attributes)); }
  void prefetch(std::uint32_t hash) const { index_.prefetch(hash); }
  /// The number of equal attributes, one user more.
  std::uint32_t acquire(const AttributesPtr& attributes, std::uint32_t hash);
  void release(std::uint32_t id);
  Item& operator[](std::uint32_t id) { return items_[id]; }
  const Item& operator[](std::uint32_t id) const { return items_[id]; }
  std::size_t size() const { return index_.size(); }
  /// Numbers given out so far, used ones and free ones.
  std::size_t capacity() const { return items_.size(); }

 private:
  ChunkedVector<Item> items_;
  std::vector<std::uint32_t> free_;
  IdIndex index_;
};

}  // namespace gw::routes
