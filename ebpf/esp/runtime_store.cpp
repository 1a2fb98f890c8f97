#include "ebpf/esp/runtime_store.hpp"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <format>

namespace gw::esp {
namespace {

enum SlotState : std::uint32_t { kFree = 0, kInUse = 1 };

void publish() { std::atomic_thread_fence(std::memory_order_release); }

Result<Fd> open_locked(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno(std::format("cannot open {}", path));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail(Errc::kLimit, std::format("{} is in use by another process", path));
    return fail_errno(std::format("cannot lock {}", path));
  }
  return fd;
}

Result<std::array<std::uint8_t, 16>> random_id() {
  std::array<std::uint8_t, 16> id{};
  if (RAND_bytes(id.data(), static_cast<int>(id.size())) != 1)
    return fail(Errc::kIo, "the system gives no random numbers");
  return id;
}

Result<std::size_t> size_of(const Fd& fd, const std::string& path) {
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return fail_errno(std::format("cannot stat {}", path));
  if (!S_ISREG(st.st_mode)) return fail(Errc::kIo, std::format("{} is not a regular file", path));
  return static_cast<std::size_t>(st.st_size);
}

}  // namespace

Result<std::unique_ptr<RuntimeStore>> RuntimeStore::open(const std::string& path, std::uint32_t capacity) {
  if (capacity == 0) return fail_field("capacity", "a store needs at least one slot");
  std::unique_ptr<RuntimeStore> store(new RuntimeStore);
  store->path_ = path;
  GW_TRY_ASSIGN(store->fd_, open_locked(path));
  GW_TRY_ASSIGN(const std::size_t bytes, size_of(store->fd_, path));
  if (bytes == 0) {
    GW_TRY(store->replace_file(capacity, {}));
    return store;
  }
  StoreHeader found{};
  const bool whole = ::pread(store->fd_.get(), &found, sizeof found, 0) == static_cast<ssize_t>(sizeof found);
  const Status usable = whole ? check_header(found, bytes, capacity) : fail(Errc::kMalformed, "it is too short");
  if (!usable) {
    GW_TRY(store->replace_file(capacity, usable.error().message));
    return store;
  }
  GW_TRY(store->allocate(capacity));
  GW_TRY(store->map(capacity));
  if (const Status loaded = store->load(); !loaded) GW_TRY(store->replace_file(capacity, loaded.error().message));
  return store;
}

Result<std::unique_ptr<RuntimeStore>> RuntimeStore::share(Fd fd, std::uint32_t capacity) {
  if (capacity == 0) return fail_field("capacity", "a store needs at least one slot");
  std::unique_ptr<RuntimeStore> store(new RuntimeStore);
  store->use_ = Use::kShared;
  store->path_ = "the running process's records";
  store->fd_ = std::move(fd);
  GW_TRY_ASSIGN(const std::size_t bytes, size_of(store->fd_, store->path_));
  StoreHeader found{};
  if (::pread(store->fd_.get(), &found, sizeof found, 0) != static_cast<ssize_t>(sizeof found))
    return fail(Errc::kMalformed, "the running process's records are too short");
  GW_TRY(check_header(found, bytes, capacity));
  GW_TRY(store->map(capacity));
  GW_TRY(store->load());
  return store;
}

/// What the file has now; records that are in use here are still there.
Status RuntimeStore::refresh() {
  std::map<Key, Origin> attached;
  for (const auto& [key, entry] : index_)
    if (entry.attached) attached.emplace(key, entry.origin);
  index_.clear();
  free_.clear();
  by_slot_.assign(capacity_, index_.end());
  GW_TRY(load());
  for (const auto& [key, origin] : attached) {
    const auto it = index_.find(key);
    if (it == index_.end()) return fail(Errc::kMalformed, "a record that is in use was released");
    it->second.attached = true;
    it->second.origin = origin;
  }
  return {};
}

Result<RuntimeRecord*> RuntimeStore::find_shared(const RecordId& id) {
  const Key key{id.direction, id.fingerprint};
  if (!index_.contains(key)) GW_TRY(refresh());
  const auto it = index_.find(key);
  if (it == index_.end()) return fail(Errc::kNeedsRekey, "the running process has no record of the key");
  RuntimeRecord& r = slot(it->second.slot);
  if (it->second.attached)
    return fail(Errc::kAlreadyExists, std::format("the key is in use by the SA with SPI {:#010x}", r.spi));
  it->second.attached = true;
  it->second.origin = Origin::kResumed;
  return &r;
}

Result<std::vector<RuntimeRecord*>> RuntimeStore::own(std::uint32_t instance) {
  GW_TRY(refresh());
  use_ = Use::kOwn;
  std::vector<RuntimeRecord*> ended;
  for (const auto& [key, entry] : index_) {
    if (key.first != Direction::kOutbound || !entry.attached) continue;
    RuntimeRecord& r = slot(entry.slot);
    // The other one has stored its positions before it used them, and stopped: they are exact.
    if (resume_outbound(r, instance, 0)) continue;
    esp::forget_epochs(r);
    ended.push_back(&r);
  }
  return ended;
}

RuntimeStore::~RuntimeStore() {
  if (memory_ != nullptr) ::munmap(memory_, bytes_);
}

// Empties the file in place (the lock is on it). A process killed in between leaves a file without a valid
// header, which the next one replaces again.
Status RuntimeStore::replace_file(std::uint32_t capacity, std::string why) {
  if (memory_ != nullptr) ::munmap(memory_, bytes_);
  memory_ = nullptr;
  index_.clear();
  free_.clear();
  replaced_ = std::move(why);
  StoreSalt salt;
  if (RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1)
    return fail(Errc::kIo, "the system gives no random numbers");
  if (::ftruncate(fd_.get(), 0) != 0) return fail_errno(std::format("cannot empty {}", path_));
  GW_TRY(allocate(capacity));
  if (::fchmod(fd_.get(), 0600) != 0) return fail_errno(std::format("cannot protect {}", path_));
  GW_TRY(map(capacity));
  StoreHeader h = make_header(capacity, salt);
  GW_TRY_ASSIGN(h.id, random_id());
  std::memcpy(memory_, &h, sizeof h);
  return {};
}

// Memory behind every page from the start: touching a page that a full file system cannot give is SIGBUS.
Status RuntimeStore::allocate(std::uint32_t capacity) {
  const std::size_t bytes = store_bytes(capacity);
  const int error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(bytes));
  if (error == 0) return {};
  return fail_errno(std::format("cannot allocate {} KiB for {}", bytes / 1024, path_), error);
}

Status RuntimeStore::map(std::uint32_t capacity) {
  bytes_ = store_bytes(capacity);
  void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (p == MAP_FAILED) return fail_errno(std::format("cannot map {}", path_));
  memory_ = p;
  capacity_ = capacity;
  by_slot_.assign(capacity, index_.end());
  return {};
}

Status RuntimeStore::load() {
  for (std::uint32_t i = 0; i < header().high_water; ++i) {
    const RuntimeRecord& r = slot(i);
    if (r.state == kFree) {
      free_.push_back(i);
      continue;
    }
    GW_TRY_ASSIGN(const RecordId id, read_identity(r));
    const auto [it, first] = index_.emplace(Key{id.direction, id.fingerprint}, Entry{i, false, Origin::kResumed});
    if (r.state != kInUse || !first) return fail(Errc::kMalformed, "two records are of one key");
    by_slot_[i] = it;
  }
  return {};
}

StoreHeader& RuntimeStore::header() const { return *static_cast<StoreHeader*>(memory_); }

RuntimeRecord& RuntimeStore::slot(std::uint32_t i) const {
  return reinterpret_cast<RuntimeRecord*>(static_cast<std::uint8_t*>(memory_) + kStoreHeaderBytes)[i];
}

std::uint32_t RuntimeStore::slot_of(const RuntimeRecord& record) const {
  return static_cast<std::uint32_t>(&record - &slot(0));
}

Fingerprint RuntimeStore::fingerprint(std::span<const std::uint8_t> key_identity) const {
  return fingerprint_of(key_identity, header().salt);
}

Result<std::uint32_t> RuntimeStore::take_slot() {
  if (!free_.empty()) {
    const std::uint32_t i = free_.back();
    free_.pop_back();
    return i;
  }
  if (header().high_water == capacity_)
    return fail(Errc::kLimit, std::format("all {} SA records are in use", capacity_));
  return header().high_water++;
}

Result<RuntimeRecord*> RuntimeStore::adopt(const RecordId& id, const AdoptOptions& options) {
  if (use_ == Use::kShared) return find_shared(id);
  const Key key{id.direction, id.fingerprint};
  if (const auto it = index_.find(key); it != index_.end()) {
    RuntimeRecord& r = slot(it->second.slot);
    if (it->second.attached)
      return fail(Errc::kAlreadyExists, std::format("the key is in use by the SA with SPI {:#010x}", r.spi));
    GW_TRY(resume_record(r, id.direction, options));
    write_identity(r, id);
    publish();
    it->second.attached = true;
    it->second.origin = Origin::kResumed;
    return &r;
  }
  // A synced key gets another block of epochs, if any.
  if (options.origin != KeyOrigin::kSynced && id.direction == Direction::kOutbound && spent_.contains(id.fingerprint))
    return fail(Errc::kNeedsRekey, "this process has sent with the key in an SA that was deleted");
  RuntimeRecord trial{};
  GW_TRY(begin_record(trial, id.direction, options));  // refuse before a slot is taken
  GW_TRY_ASSIGN(const std::uint32_t i, take_slot());
  RuntimeRecord& r = slot(i);
  std::memcpy(&r, &trial, sizeof r);
  write_identity(r, id);
  publish();
  store_field(r.state, std::uint32_t{kInUse});  // last: a process killed before this leaves a free slot
  publish();
  by_slot_[i] = index_.emplace(key, Entry{i, true, Origin::kBegun}).first;
  return &r;
}

void RuntimeStore::rebind(RuntimeRecord& record, const IpAddress& dst) {
  if (use_ == Use::kShared) return;  // it is
  std::memset(record.dst, 0, sizeof record.dst);
  std::memcpy(record.dst, dst.bytes().data(), dst.bytes().size());
  record.dst_family = dst.is_v4() ? 4 : 6;
}

void RuntimeStore::detach(RuntimeRecord& record) {
  if (const auto it = entry_of(record); it != index_.end()) it->second.attached = false;
}

void RuntimeStore::abandon(RuntimeRecord& record) {
  const auto it = entry_of(record);
  if (it == index_.end()) return;
  if (use_ == Use::kOwn && it->second.origin == Origin::kBegun)
    free_slot(it->second.slot);
  else
    it->second.attached = false;
}

void RuntimeStore::release(RuntimeRecord& record) {
  if (use_ == Use::kShared) return detach(record);
  const auto it = entry_of(record);
  if (it != index_.end() && it->first.first == Direction::kOutbound && spent_.insert(it->first.second).second)
    spent_order_.push_back(it->first.second);
  if (spent_order_.size() > kSpentKeys) {
    spent_.erase(spent_order_.front());
    spent_order_.pop_front();
  }
  free_slot(slot_of(record));
}

void RuntimeStore::free_slot(std::uint32_t i) {
  RuntimeRecord& record = slot(i);
  if (const auto it = std::exchange(by_slot_[i], index_.end()); it != index_.end()) index_.erase(it);
  store_field(record.state, std::uint32_t{kFree});  // first: a half-wiped record is never found again
  publish();
  std::memset(&record, 0, sizeof record);
  free_.push_back(i);
}

StoreName RuntimeStore::next_generation() {
  ++header().generation;
  publish();
  return name();
}

std::optional<std::uint64_t> RuntimeStore::heard_of(const std::array<std::uint8_t, 16>& id) const {
  const auto it = std::ranges::find(header().peers, id, &PeerStore::id);
  if (it == header().peers.end()) return std::nullopt;
  return it->generation;
}

StoreName RuntimeStore::next_connection() const {
  StoreName name = this->name();
  std::array<std::uint8_t, sizeof name.connection> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) std::abort();  // see random_id()
  std::memcpy(&name.connection, random.data(), sizeof name.connection);
  return name;
}

PeerStanding RuntimeStore::note_peer(std::uint32_t instance, const StoreName& name) {
  const PeerStanding standing = esp::note_peer(header(), instance, name);
  publish();
  if (standing != PeerStanding::kOtherInstance) return standing;
  // What this one has used is not known.
  for (const auto& [key, entry] : index_) store_field(slot(entry.slot).peer_blocks_end, std::uint32_t{0});
  publish();
  return standing;
}

void RuntimeStore::forget_epochs(const std::function<void(std::span<RuntimeRecord* const>)>& forget) {
  header().rolled_back = 1;  // a process that dies meanwhile leaves a file that the next one does not use
  publish();
  std::vector<RuntimeRecord*> used;
  for (const auto& [key, entry] : index_) {
    if (key.first != Direction::kOutbound) continue;
    if (entry.attached)
      used.push_back(&slot(entry.slot));
    else
      esp::forget_epochs(slot(entry.slot));
  }
  forget(used);
  auto id = random_id();
  if (!id) std::abort();  // a known name would be believed
  header().id = *id;
  header().generation = 0;
  publish();
  header().rolled_back = 0;
}

std::vector<RuntimeRecord*> RuntimeStore::unattached() const {
  std::vector<RuntimeRecord*> left;
  if (use_ == Use::kShared) return left;
  for (const auto& [key, entry] : index_)
    if (!entry.attached) left.push_back(&slot(entry.slot));
  return left;
}

}  // namespace gw::esp
