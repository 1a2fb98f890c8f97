// A hash table with one writer (the control thread) and any number of reading workers, without locks: chains of
// nodes in one contiguous, preallocated array. It never rehashes and a change touches one chain, so neither
// packets nor the writer ever wait for its size. A node that was erased stays readable until reclaim(), which
// the writer calls after a grace period (Workers::quiesce): a reader keeps what it found for at most a burst.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace gw::worker {

template <class Key, class Value>
class SharedTable {
 public:
  struct alignas(64) Node {  // a cache line, not parts of two
    Key key{};
    std::atomic<std::uint32_t> next{kEnd};
    Value value{};
  };

  explicit SharedTable(std::size_t capacity)
      : capacity_(capacity),
        mask_(std::bit_ceil(capacity * 2) - 1),
        heads_(std::make_unique<std::atomic<std::uint32_t>[]>(mask_ + 1)),
        nodes_(std::make_unique<Node[]>(capacity)) {
    for (std::size_t i = 0; i <= mask_; ++i) heads_[i].store(kEnd, std::memory_order_relaxed);
    free_.reserve(capacity);
    for (std::size_t i = capacity; i-- > 0;) free_.push_back(static_cast<std::uint32_t>(i));
  }

  /// With its share of the buckets.
  static constexpr std::size_t kBytesOfOne = sizeof(Node) + 2 * sizeof(std::atomic<std::uint32_t>);

  // --- any thread ---
  // A burst asks in three steps, each for all of its packets: the bucket of the hash, then its first node, then
  // find(). Each step finds in the cache what the one before has asked memory for.
  std::size_t bucket(const Key& key) const { return spread(hash_value(key)) & mask_; }
  void prefetch_bucket(std::size_t bucket) const { __builtin_prefetch(&heads_[bucket]); }
  void prefetch_node(std::size_t bucket) const {
    const std::uint32_t i = heads_[bucket].load(std::memory_order_acquire);
    if (i != kEnd) __builtin_prefetch(&nodes_[i]);
  }
  Value* find(const Key& key) const { return find_in(bucket(key), key); }
  Value* find_in(std::size_t bucket, const Key& key) const {
    for (std::uint32_t i = heads_[bucket].load(std::memory_order_acquire); i != kEnd;
         i = nodes_[i].next.load(std::memory_order_acquire))
      if (nodes_[i].key == key) return &nodes_[i].value;
    return nullptr;
  }

  // --- the writer ---
  /// Null when full: `value` is the caller's as it was. Hides an older value of the same key, which the caller may
  /// erase then.
  Value* insert(const Key& key, Value&& value) {
    if (free_.empty()) return nullptr;
    const std::uint32_t i = free_.back();
    free_.pop_back();
    Node& node = nodes_[i];
    node.key = key;
    node.value = std::move(value);
    std::atomic<std::uint32_t>& head = heads_[bucket(key)];
    node.next.store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
    head.store(i, std::memory_order_release);
    return &node.value;
  }
  /// Takes out the oldest value of the key. Readers may still be at it until reclaim(). False: none.
  bool erase(const Key& key) {
    std::atomic<std::uint32_t>* last = nullptr;
    for (std::atomic<std::uint32_t>* at = &heads_[bucket(key)]; at->load(std::memory_order_relaxed) != kEnd;
         at = &nodes_[at->load(std::memory_order_relaxed)].next)
      if (nodes_[at->load(std::memory_order_relaxed)].key == key) last = at;
    if (!last) return false;
    const std::uint32_t i = last->load(std::memory_order_relaxed);
    last->store(nodes_[i].next.load(std::memory_order_relaxed), std::memory_order_release);
    retired_.push_back(i);
    return true;
  }
  std::size_t retired() const { return retired_.size(); }
  /// No reader is at an erased node any more: their values go, their places may be used again.
  void reclaim() {
    for (const std::uint32_t i : retired_) {
      nodes_[i].value = Value{};
      free_.push_back(i);
    }
    retired_.clear();
  }
  bool full() const { return free_.empty(); }
  std::size_t capacity() const { return capacity_; }
  /// Those that were erased and are not reclaimed yet, too.
  std::size_t size() const { return capacity_ - free_.size(); }

 private:
  static constexpr std::uint32_t kEnd = ~std::uint32_t{0};
  static std::size_t spread(std::size_t hash) { return (hash * 0x9e3779b97f4a7c15ull) >> 32; }

  const std::size_t capacity_;
  const std::size_t mask_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> heads_;
  std::unique_ptr<Node[]> nodes_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> retired_;
};

}  // namespace gw::worker
