// A file of RuntimeRecords, mapped shared: on tmpfs it survives kill -9 of the process, not a reboot, which is
// exactly what the nonce rule wants (an instance without record of a key does not use it). The one piece of
// I/O in this package; the rules are in runtime_rules.hpp. Control thread only; the records themselves are
// written by the worker that owns the SA. The file is locked: a second process is refused.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/esp/runtime_rules.hpp"

namespace gw::esp {

class RuntimeStore {
 public:
  /// Opens or makes `path` (mode 0600, all its pages allocated) with `capacity` slots. A damaged file, another version
  /// or geometry is replaced by an empty one: its keys are then unrecorded, which is safe. Fails with kLimit while
  /// another process has it, kIo otherwise.
  static Result<std::unique_ptr<RuntimeStore>> open(const std::string& path, std::uint32_t capacity);
  /// The store of another process of ours, by its fd(), until that has stopped for good: adopt() then finds the record
  /// that the other one uses, and nothing here writes to the file before own(). Same faults as open(), and kMalformed,
  /// kUnsupported: it is never replaced.
  static Result<std::unique_ptr<RuntimeStore>> share(Fd fd, std::uint32_t capacity);
  /// The other process has stopped: its records are ours, and each outbound key in use here gets its next epoch before
  /// this returns. Those that have none left; they send nothing.
  Result<std::vector<RuntimeRecord*>> own(std::uint32_t instance);
  bool is_shared() const { return use_ == Use::kShared; }
  /// With the lock on it, which lasts as long as any process has it.
  int fd() const { return fd_.get(); }
  ~RuntimeStore();
  RuntimeStore(const RuntimeStore&) = delete;
  RuntimeStore& operator=(const RuntimeStore&) = delete;

  /// Why the file found was replaced; empty if it was used or there was none. For the log.
  const std::string& replaced() const { return replaced_; }

  /// To compare an SA that is sent again with the one installed, without keeping the key. Of
  /// SaParameters::key_identity().
  Fingerprint fingerprint(std::span<const std::uint8_t> key_identity) const;

  /// The record to use for this SA, ready for OutboundSa/InboundSa::create; recorded before this returns.
  /// kNeedsRekey: a replayed key without record, its epochs are used up, or it is an outbound key that was
  /// released before (whatever the client says about it). kAlreadyExists: the key is in
  /// use by an SA of this process (release or detach that first). kLimit: no free slot.
  Result<RuntimeRecord*> adopt(const RecordId& id, const AdoptOptions& options);

  /// A live SA got another destination (MOBIKE): its record is found under it from now on.
  void rebind(RuntimeRecord& record, const IpAddress& dst);
  /// The SA is gone from this process but its key may come back (orphans): the record stays.
  void detach(RuntimeRecord& record);
  /// What adopt() gave was never used, the SA could not be installed: a record just begun goes, one that was
  /// resumed stays as with detach().
  void abandon(RuntimeRecord& record);
  /// The SA was deleted: its key will never be used again, the slot is free. Only after the worker let go.
  void release(RuntimeRecord& record);

  /// Something is about to be told to the other instance: the generation has grown, in the file, when this returns.
  StoreName next_generation();
  /// For a new connection.
  StoreName next_connection() const;
  StoreName name() const { return {header().id, header().generation, 0}; }
  PeerStanding note_peer(std::uint32_t instance, const StoreName& name);
  /// The highest generation of that store of the other instance.
  std::optional<std::uint64_t> heard_of(const std::array<std::uint8_t, 16>& id) const;
  void note_progress(const StoreName& name) { esp::note_progress(header(), name); }
  /// This store was rolled back: all epochs of all records are forgotten, by `forget` for one that an SA uses (on the
  /// thread that owns it); it has another name from now on.
  void forget_epochs(const std::function<void(std::span<RuntimeRecord* const>)>& forget);

  /// Whether endpoints are shared with other instances; remembered for the next process.
  bool shares_endpoints() const { return header().shared_endpoints != 0; }
  enum class Endpoints : std::uint32_t { kAlone, kShared };
  void set_endpoints(Endpoints e) { header().shared_endpoints = static_cast<std::uint32_t>(e); }

  std::uint32_t capacity() const { return capacity_; }
  std::uint32_t used() const { return static_cast<std::uint32_t>(index_.size()); }
  /// Records that no SA of this process uses: left by an earlier process. Release those nobody claims.
  std::vector<RuntimeRecord*> unattached() const;

 private:
  RuntimeStore() = default;
  Status refresh();
  Result<RuntimeRecord*> find_shared(const RecordId& id);
  Status allocate(std::uint32_t capacity);
  Status map(std::uint32_t capacity);
  Status replace_file(std::uint32_t capacity, std::string why);
  Status load();
  Result<std::uint32_t> take_slot();
  void free_slot(std::uint32_t i);
  StoreHeader& header() const;
  RuntimeRecord& slot(std::uint32_t i) const;
  std::uint32_t slot_of(const RuntimeRecord& record) const;

  enum class Origin : std::uint8_t { kBegun, kResumed };
  struct Entry {
    std::uint32_t slot;
    bool attached;
    Origin origin;  // of the last adopt()
  };
  // The epoch belongs to the key, so the key alone finds its record; SPI and destination are attributes.
  using Key = std::pair<Direction, Fingerprint>;
  using Index = std::map<Key, Entry>;
  Index::iterator entry_of(const RuntimeRecord& record) { return by_slot_[slot_of(record)]; }

  Index index_;
  std::vector<Index::iterator> by_slot_;  // index_.end(): free
  std::vector<std::uint32_t> free_;       // slots below high_water that are free
  // Outbound keys that were released: a client that offers one as fresh is wrong. 16 bytes a key.
  static constexpr std::size_t kSpentKeys = 65536;
  std::set<Fingerprint> spent_;
  std::deque<Fingerprint> spent_order_;
  enum class Use : std::uint8_t { kOwn, kShared };
  Use use_ = Use::kOwn;
  std::string path_;
  std::string replaced_;
  Fd fd_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace gw::esp
