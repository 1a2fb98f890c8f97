// The store on a real file, and the nonce rule over processes that are killed at random points.
#include "ebpf/esp/runtime_store.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

constexpr std::uint32_t kCapacity = 64;
const IpAddress kDst = IpAddress::from_v4(0xc6336414);
constexpr AdoptOptions kFresh{.origin = KeyOrigin::kFresh, .instance = 3};
constexpr AdoptOptions kReplayed{.origin = KeyOrigin::kReplayed, .instance = 3};

class RuntimeStoreTest : public testing::Test {
 protected:
  RuntimeStoreTest() {
    char name[] = "/tmp/gw-store-XXXXXX";
    dir_ = ::mkdtemp(name);
    path_ = dir_ + "/sa";
  }
  ~RuntimeStoreTest() override { std::filesystem::remove_all(dir_); }

  std::unique_ptr<RuntimeStore> open(std::uint32_t capacity = kCapacity) {
    auto store = RuntimeStore::open(path_, capacity);
    EXPECT_TRUE(store) << store.error().describe();
    return std::move(*store);
  }
  static RecordId id(const RuntimeStore& store, std::uint8_t key, Direction d = Direction::kOutbound,
                     std::uint32_t spi = 0x1000) {
    return {.spi = spi, .dst = kDst, .direction = d, .fingerprint = store.fingerprint(Bytes(36, key))};
  }

  std::string dir_;
  std::string path_;
};

TEST_F(RuntimeStoreTest, ASuccessorChangesNothingBeforeItOwnsTheRecords) {
  auto old = open();
  RuntimeRecord& used = **old->adopt(id(*old, 1), kFresh);
  auto next = RuntimeStore::share(Fd(::dup(old->fd())), kCapacity);
  ASSERT_TRUE(next) << next.error().describe();
  // One that came after the other has mapped the file; and one that it had and gave up again.
  RuntimeRecord& later = **old->adopt(id(*old, 2), kFresh);
  RuntimeRecord* const same = *(*next)->adopt(id(**next, 1), kReplayed);
  RuntimeRecord* const also = *(*next)->adopt(id(**next, 2), kReplayed);
  EXPECT_EQ((*next)->adopt(id(**next, 3), kFresh).error().code, Errc::kNeedsRekey);
  EXPECT_EQ(same->iv_epoch, 1U) << "the other one sends with it";
  Reservation n{};
  std::set<std::uint64_t> ivs;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(reserve(used, last_sequence(SequenceMode::kExtended), n), ReserveFault::kNone);
    EXPECT_TRUE(ivs.insert(n.iv).second);
  }
  (*next)->release(*also);
  EXPECT_EQ(later.state, used.state) << "a shared record is the other one's to release";
  ASSERT_TRUE((*next)->own(3));
  EXPECT_EQ(same->iv_epoch, 2U);
  EXPECT_EQ(also->iv_epoch, 1U) << "nobody uses it here";
  ASSERT_EQ(reserve(*same, last_sequence(SequenceMode::kExtended), n), ReserveFault::kNone);
  EXPECT_EQ(n.sequence, 11U) << "the very next one";
  EXPECT_TRUE(ivs.insert(n.iv).second);
  old.reset();
  EXPECT_EQ(RuntimeStore::open(path_, kCapacity).error().code, Errc::kLimit) << "the lock went over, too";
}

TEST_F(RuntimeStoreTest, ASuccessorWithAnotherGeometryIsRefused) {
  auto old = open();
  EXPECT_FALSE(RuntimeStore::share(Fd(::dup(old->fd())), kCapacity * 2));
  EXPECT_FALSE(RuntimeStore::share(Fd(::open("/dev/null", O_RDWR)), kCapacity));
}

TEST_F(RuntimeStoreTest, ARecordSurvivesAndItsEpochGrows) {
  for (std::uint32_t life = 1; life <= 5; ++life) {
    auto store = open();
    EXPECT_EQ(store->replaced(), "");
    const auto r = store->adopt(id(*store, 1), life == 1 ? kFresh : kReplayed);
    ASSERT_TRUE(r) << r.error().describe();
    EXPECT_EQ((*r)->iv_epoch, life);
    EXPECT_EQ((*r)->next_counter, 0U);
    EXPECT_EQ((*r)->next_sequence, 1 + (life - 1) * 10U);
    for (int i = 0; i < 10; ++i) {
      Reservation n{};
      ASSERT_EQ(reserve(**r, last_sequence(SequenceMode::kExtended), n), ReserveFault::kNone);
    }
    EXPECT_EQ(store->used(), 1U);
  }
}

// As after an IKE daemon that does not come back: all of its keys at once. Going through all records for each of
// them took 6.75 ms a key at 60,000, minutes altogether.
TEST_F(RuntimeStoreTest, ManyRecordsAreReleasedInNoTime) {
  constexpr std::uint32_t kMany = 20000;
  auto store = open(kMany);
  std::vector<RuntimeRecord*> records;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    RecordId many = id(*store, 0, Direction::kOutbound, 0x1000 + i);
    std::memcpy(many.fingerprint.data(), &i, sizeof i);
    records.push_back(store->adopt(many, kFresh).value());
  }
  const auto began = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < records.size(); ++i)
    i % 2 == 0 ? store->release(*records[i]) : store->detach(*records[i]);
  EXPECT_EQ(store->used(), kMany / 2);
  for (RuntimeRecord* left : store->unattached()) store->release(*left);
  EXPECT_EQ(store->used(), 0U);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

TEST_F(RuntimeStoreTest, TheSameKeyAddedAgainGetsANewEpochEvenIfCalledFresh) {
  auto store = open();
  RuntimeRecord* r = store->adopt(id(*store, 1), kFresh).value();
  EXPECT_EQ(store->adopt(id(*store, 1), kFresh).error().code, Errc::kAlreadyExists);
  EXPECT_EQ(store->adopt(id(*store, 1, Direction::kOutbound, 0x2000), kFresh).error().code, Errc::kAlreadyExists)
      << "one key under two SPIs has one nonce space";
  store->detach(*r);
  r = store->adopt(id(*store, 1, Direction::kOutbound, 0x2000), kFresh).value();
  EXPECT_EQ(r->iv_epoch, 2U);
  EXPECT_EQ(r->spi, 0x2000U);
}

TEST_F(RuntimeStoreTest, ADeletedFileMeansRekey) {
  {
    auto store = open();
    ASSERT_TRUE(store->adopt(id(*store, 1), kFresh));
  }
  std::filesystem::remove(path_);
  auto store = open();
  for (const Direction d : {Direction::kOutbound, Direction::kInbound}) {
    const auto r = store->adopt(id(*store, 1, d), kReplayed);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, Errc::kNeedsRekey);
  }
  EXPECT_EQ(store->used(), 0U) << "a refusal takes no slot";
}

TEST_F(RuntimeStoreTest, InboundWindowSurvives) {
  const ReplayWindow window(128, SequenceMode::kExtended);
  {
    auto store = open();
    RuntimeRecord* r = store->adopt(id(*store, 1, Direction::kInbound), kFresh).value();
    for (const std::uint64_t s : {5U, 9U, 7U, 300U, 250U}) ASSERT_TRUE(window.accept(*r, s));
  }
  auto store = open();
  RuntimeRecord* r = store->adopt(id(*store, 1, Direction::kInbound), kReplayed).value();
  for (const std::uint64_t s : {5U, 9U, 7U, 300U, 250U}) EXPECT_FALSE(window.acceptable(*r, s)) << s;
  EXPECT_TRUE(window.acceptable(*r, 251));
}

TEST_F(RuntimeStoreTest, DirectionsAndKeysAreApart) {
  auto store = open();
  RuntimeRecord* out = store->adopt(id(*store, 1), kFresh).value();
  RuntimeRecord* in = store->adopt(id(*store, 1, Direction::kInbound), kFresh).value();
  RuntimeRecord* other = store->adopt(id(*store, 2), kFresh).value();
  EXPECT_EQ((std::set{out, in, other}.size()), 3U);
}

TEST_F(RuntimeStoreTest, FingerprintIgnoresTheNonceSaltAndDiffersPerStore) {
  auto store = open();
  const Bytes a(36, 7);
  const auto fingerprint = [&](std::string_view transform, std::size_t changed) {
    SaParameters p = parameters({.transform = transform});
    Bytes key(p.key.bytes().begin(), p.key.bytes().end());
    Bytes integrity(p.integrity_key.bytes().begin(), p.integrity_key.bytes().end());
    if (changed < key.size())
      key[changed] ^= 1;
    else if (changed < key.size() + integrity.size())
      integrity[changed - key.size()] ^= 1;
    p.key = Secret(key);
    p.integrity_key = Secret(integrity);
    return store->fingerprint(p.key_identity().bytes());
  };
  constexpr std::size_t kNothing = 1000;
  for (const Transform& t : transforms()) {
    const Fingerprint unchanged = fingerprint(t.name, kNothing);
    for (std::size_t i = 0; i < std::size_t{t.key_bytes} + t.salt_bytes + t.integrity_key_bytes; ++i) {
      const bool in_salt = i >= t.key_bytes && i < std::size_t{t.key_bytes} + t.salt_bytes;
      EXPECT_EQ(fingerprint(t.name, i) == unchanged, in_salt) << t.name << " byte " << i;
    }
  }
  const Fingerprint before = store->fingerprint(a);
  store.reset();
  std::filesystem::remove(path_);
  EXPECT_NE(open()->fingerprint(a), before);
}

TEST_F(RuntimeStoreTest, FullIsALimitAndReleaseFreesTheSlot) {
  auto store = open(4);
  std::vector<RuntimeRecord*> records;
  for (std::uint8_t k = 0; k < 4; ++k) records.push_back(store->adopt(id(*store, k), kFresh).value());
  const auto full = store->adopt(id(*store, 9), kFresh);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::kLimit);
  EXPECT_NE(full.error().message.find('4'), std::string::npos);
  records[2]->replay_bitmap[5] = 77;
  store->release(*records[2]);
  RuntimeRecord* again = store->adopt(id(*store, 9), kFresh).value();
  EXPECT_EQ(again, records[2]);
  EXPECT_EQ(again->replay_bitmap[5], 0U) << "nothing of the old SA is left";
  EXPECT_EQ(again->iv_epoch, 1U);
  // A released key is unknown from then on.
  EXPECT_EQ(store->adopt(id(*store, 2), kReplayed).error().code, Errc::kNeedsRekey);
}

TEST_F(RuntimeStoreTest, UnattachedAreThoseOfAnEarlierProcess) {
  {
    auto store = open();
    for (std::uint8_t k = 0; k < 3; ++k) ASSERT_TRUE(store->adopt(id(*store, k), kFresh));
    EXPECT_TRUE(store->unattached().empty());
  }
  auto store = open();
  EXPECT_EQ(store->unattached().size(), 3U);
  ASSERT_TRUE(store->adopt(id(*store, 1), kReplayed));
  const auto left = store->unattached();
  ASSERT_EQ(left.size(), 2U);
  for (RuntimeRecord* r : left) store->release(*r);
  EXPECT_EQ(store->used(), 1U);
}

TEST_F(RuntimeStoreTest, EveryPageIsThereFromTheStart) {
  const auto allocated = [&] {
    struct stat st{};
    EXPECT_EQ(::stat(path_.c_str(), &st), 0);
    return static_cast<std::size_t>(st.st_blocks) * 512;
  };
  open(1000).reset();
  EXPECT_GE(allocated(), store_bytes(1000));
  // One that an earlier version left sparse.
  Fd file(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  constexpr off_t kHole = 64 * 4096;
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kHole, kHole), 0);
  ASSERT_LT(allocated(), store_bytes(1000));
  EXPECT_EQ(open(1000)->replaced(), "");
  EXPECT_GE(allocated(), store_bytes(1000));
}

TEST_F(RuntimeStoreTest, AReleasedOutboundKeyIsNeverFreshAgain) {
  auto store = open();
  store->release(*store->adopt(id(*store, 1), kFresh).value());
  EXPECT_EQ(store->adopt(id(*store, 1), kFresh).error().code, Errc::kNeedsRekey);
  store->release(*store->adopt(id(*store, 1, Direction::kInbound), kFresh).value());
  EXPECT_TRUE(store->adopt(id(*store, 1, Direction::kInbound), kFresh)) << "receiving makes no nonces";
  EXPECT_TRUE(store->adopt(id(*store, 2), kFresh));
}

TEST_F(RuntimeStoreTest, AbandonTakesOnlyWhatWasJustBegun) {
  auto store = open(4);
  for (int i = 0; i < 20; ++i) store->abandon(*store->adopt(id(*store, 1), kFresh).value());
  EXPECT_EQ(store->used(), 0U);
  EXPECT_EQ(store->adopt(id(*store, 1), kReplayed).error().code, Errc::kNeedsRekey);

  store->detach(*store->adopt(id(*store, 2), kFresh).value());
  store->abandon(*store->adopt(id(*store, 2), kReplayed).value());
  EXPECT_EQ(store->used(), 1U) << "an earlier SA may have sent with it";
  EXPECT_EQ(store->adopt(id(*store, 2), kReplayed).value()->iv_epoch, 3U);
}

TEST_F(RuntimeStoreTest, RebindFollowsMobike) {
  {
    auto store = open();
    RuntimeRecord* r = store->adopt(id(*store, 1), kFresh).value();
    store->rebind(*r, ip("2001:db8::7"));
  }
  auto store = open();
  const auto left = store->unattached();
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(read_identity(*left[0]).value().dst, ip("2001:db8::7"));
}

TEST_F(RuntimeStoreTest, FileIsPrivateWholeAndLocked) {
  auto store = open(60'000);
  struct stat st{};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600U);
  EXPECT_EQ(static_cast<std::size_t>(st.st_size), store_bytes(60'000));
  EXPECT_GE(static_cast<std::size_t>(st.st_blocks) * 512, store_bytes(60'000)) << "no page is missing later";
  const auto second = RuntimeStore::open(path_, 60'000);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kLimit);
}

TEST_F(RuntimeStoreTest, ASymbolicLinkIsNotFollowed) {
  std::filesystem::create_symlink("/etc/hostname", path_);
  EXPECT_FALSE(RuntimeStore::open(path_, kCapacity));
}

// Whatever is wrong with the file, it is replaced: then every key is unrecorded, which is safe.
TEST_F(RuntimeStoreTest, DamagedFilesAreReplaced) {
  const std::pair<const char*, std::function<void(std::fstream&)>> damages[] = {
      {"magic", [](std::fstream& f) { f.seekp(0).put('x'); }},
      {"header version", [](std::fstream& f) { f.seekp(8).put(9); }},
      {"record version", [](std::fstream& f) { f.seekp(12).put(9); }},
      {"record size", [](std::fstream& f) { f.seekp(16).put(9); }},
      {"salt", [](std::fstream& f) { f.seekp(30).put(static_cast<char>(f.peek() ^ 1)); }},
      {"checksum", [](std::fstream& f) { f.seekp(56).put(9); }},
      {"high water", [](std::fstream& f) { f.seekp(67).put(9); }},
      {"slot state", [](std::fstream& f) { f.seekp(kStoreHeaderBytes).put(7); }},
      {"slot family", [](std::fstream& f) { f.seekp(kStoreHeaderBytes + 24).put(5); }},
      {"slot direction", [](std::fstream& f) { f.seekp(kStoreHeaderBytes + 25).put(0); }},
  };
  for (const auto& [what, damage] : damages) {
    SCOPED_TRACE(what);
    std::filesystem::remove(path_);
    {
      auto store = open();
      ASSERT_TRUE(store->adopt(id(*store, 1), kFresh));
    }
    {
      std::fstream f(path_, std::ios::in | std::ios::out | std::ios::binary);
      damage(f);
    }
    auto store = open();
    EXPECT_NE(store->replaced(), "");
    EXPECT_EQ(store->used(), 0U);
    EXPECT_EQ(store->adopt(id(*store, 1), kReplayed).error().code, Errc::kNeedsRekey);
    ASSERT_TRUE(store->adopt(id(*store, 1), kFresh));
  }
}

TEST_F(RuntimeStoreTest, OtherCapacityOrLengthIsReplaced) {
  {
    auto store = open();
    ASSERT_TRUE(store->adopt(id(*store, 1), kFresh));
  }
  EXPECT_NE(open(kCapacity * 2)->replaced(), "");
  EXPECT_EQ(open(kCapacity * 2)->replaced(), "");
  ASSERT_EQ(::truncate(path_.c_str(), 5000), 0);
  EXPECT_NE(open(kCapacity * 2)->replaced(), "");
  ASSERT_EQ(::truncate(path_.c_str(), 10), 0);
  EXPECT_NE(open(kCapacity * 2)->replaced(), "");
}

TEST_F(RuntimeStoreTest, AFileThatCannotBeOpenedIsAnErrorWithItsName) {
  const auto r = RuntimeStore::open(dir_ + "/no/such/dir", kCapacity);
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message.find("/no/such/dir"), std::string::npos);
}

// --- kill -9 --------------------------------------------------------------------------------------

// What a child has "transmitted", in memory that outlives it.
struct Wire {
  static constexpr std::size_t kMax = 1 << 16;
  std::atomic<std::size_t> count;
  std::atomic<std::size_t> limit;  // the child pauses there: a parent that is slow to kill does not fill the array
  std::uint64_t iv[kMax];
  std::uint64_t sequence[kMax];
};

[[noreturn]] void child_sends_until_killed(const std::string& path, const AdoptOptions& options, Wire& wire) {
  auto store = RuntimeStore::open(path, kCapacity);
  if (!store) _exit(10);
  const SaParameters p = parameters({});
  const auto record = (*store)->adopt({.spi = p.spi,
                                       .dst = p.dst.address,
                                       .direction = Direction::kOutbound,
                                       .fingerprint = (*store)->fingerprint(p.key_identity().bytes())},
                                      options);
  if (!record) _exit(11);
  const auto crypto = make_backend(BackendChoice::kAuto).value();
  const auto sa = OutboundSa::create(p, *crypto, **record).value();
  Codec codec(*crypto);
  constexpr std::size_t kBurst = 7;
  std::vector<Buffer> buffers;
  for (std::size_t i = 0; i < kBurst; ++i) buffers.emplace_back(inner_packet({}));
  for (;;) {
    std::vector<Packet> packets;
    for (Buffer& b : buffers) {
      std::ranges::copy(inner_packet({}), b.packet.data());
      packets.push_back(b.packet);
      packets.back().out = sa.get();
    }
    codec.encapsulate(packets, 1);
    for (const Packet& sent : packets) {
      const std::size_t n = wire.count.load();
      while (n >= wire.limit.load()) ::sched_yield();
      wire.sequence[n] = load_be<std::uint32_t>(sent.data() + 24);
      wire.iv[n] = load_be<std::uint64_t>(sent.data() + 28);
      wire.count.store(n + 1);
    }
  }
}

TEST_F(RuntimeStoreTest, KilledAtAnyPointNoIvAndNoSequenceIsSentTwice) {
  void* memory = ::mmap(nullptr, sizeof(Wire), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Wire& wire = *new (memory) Wire;
  std::mt19937 random(42);
  constexpr int kLives = 25;
  for (int life = 0; life < kLives; ++life) {
    const std::size_t until = wire.count.load() + 1 + random() % 400;
    wire.limit.store(until + 1000);
    ASSERT_LT(wire.limit.load(), Wire::kMax);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) child_sends_until_killed(path_, life == 0 ? kFresh : kReplayed, wire);
    int status = 0;
    bool ended = false;
    while (!ended && wire.count.load() < until) {
      ended = ::waitpid(child, &status, WNOHANG) == child;
      ::sched_yield();
    }
    ASSERT_FALSE(ended) << "the child gave up with status " << WEXITSTATUS(status);
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  const std::size_t n = wire.count.load();
  EXPECT_EQ((std::set(wire.iv, wire.iv + n).size()), n) << "an IV was used twice";
  EXPECT_EQ((std::set(wire.sequence, wire.sequence + n).size()), n) << "a sequence number was sent twice";
  auto store = open();
  const auto left = store->unattached();
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left[0]->iv_epoch, static_cast<std::uint32_t>(kLives));
  ::munmap(memory, sizeof(Wire));
}

}  // namespace
}  // namespace gw::esp::test
