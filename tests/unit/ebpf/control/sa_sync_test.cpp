// Two instances that share keys, with real stores and the real protocol between them: connections that break, frames
// that come late, processes that die, machines that reboot or go back to a snapshot. Whatever happens, in whatever
// order, and whether or not an instance believes to own anything, no (key, IV) is used twice.
#include "ebpf/control/sa_sync.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <format>
#include <random>

#include "ebpf/esp/grants.hpp"
#include "ebpf/esp/takeover_rules.hpp"

namespace gw::control {
namespace {

using namespace std::chrono_literals;
using esp::Direction;
using esp::KeyOrigin;

constexpr std::uint64_t kLast = esp::last_sequence(esp::SequenceMode::kExtended);
const IpAddress kEndpoint = *IpAddress::parse("192.0.2.1");

/// (key, IV) of every packet ever sent by anybody.
using Wire = std::set<std::pair<int, std::uint64_t>>;

std::array<std::uint8_t, 4> identity(int key) {
  return {1, 2, static_cast<std::uint8_t>(key >> 8), static_cast<std::uint8_t>(key)};
}
SyncKey name_of(int key) { return sync_key(identity(key), Direction::kOutbound); }

/// One instance: its file, its process, the SAs in it.
class Machine final : public SaSync::Host {
 public:
  Machine(std::uint32_t instance, std::string path, const Clock& clock)
      : instance_(instance), path_(std::move(path)), clock_(clock) {
    start();
  }
  ~Machine() override {
    stop();
    std::filesystem::remove(path_);
  }

  // --- the process ---
  void start() {
    store_ = esp::RuntimeStore::open(path_, 64).value();
    sync_ = std::make_unique<SaSync>(*store_, instance_, clock_, *this);
  }
  void stop() {
    sync_.reset();
    store_.reset();
    records.clear();
    sent.clear();
  }
  /// The SAs come back from charon's table.
  void restart() {
    auto keys = records;
    stop();
    start();
    for (const auto& [key, record] : keys) (void)install(key, key % 2 == 0 ? KeyOrigin::kReplayed : KeyOrigin::kSynced);
  }
  void reboot() {
    stop();
    std::filesystem::remove(path_);
    start();
  }
  void save(const std::string& to) const {
    std::filesystem::copy_file(path_, to, std::filesystem::copy_options::overwrite_existing);
  }
  void restore(const std::string& from) {
    auto keys = records;
    stop();
    std::filesystem::copy_file(from, path_, std::filesystem::copy_options::overwrite_existing);
    start();
    for (const auto& [key, record] : keys) (void)install(key, KeyOrigin::kSynced);
  }

  // --- SAs ---
  bool install(int key, KeyOrigin origin) {
    auto record = store_->adopt({0x1000u + static_cast<std::uint32_t>(key), kEndpoint, Direction::kOutbound,
                                 store_->fingerprint(identity(key))},
                                {.origin = origin, .instance = instance_, .now_ns = 1});
    if (!record) return false;
    records[key] = *record;
    sync_->add(name_of(key), {*record, Direction::kOutbound, kEndpoint});
    return true;
  }
  void remove(int key) {
    sync_->remove(name_of(key));
    store_->release(*records.at(key));
    records.erase(key);
  }
  /// False: refused by the rule.
  bool send_packet(int key, Wire& wire) {
    esp::Reservation n{};
    if (esp::reserve(*records.at(key), kLast, n) != esp::ReserveFault::kNone) return false;
    EXPECT_TRUE(wire.emplace(key, n.iv).second)
        << std::format("instance {} repeats IV {:016x} of key {}", instance_, n.iv, key);
    EXPECT_EQ(n.iv >> 60, instance_);
    return true;
  }

  SaSync& sync() { return *sync_; }
  esp::RuntimeStore& store() { return *store_; }

  void send(const fp::SaSync& frame) override { sent.push_back(frame.SerializeAsString()); }
  bool owned(const IpAddress&) const override { return owner; }
  void accept(std::span<const SaSync::Granted> grants) override {
    for (const auto& g : grants) (void)esp::accept_grant(*g.record, g.block);
  }
  void forget(std::span<esp::RuntimeRecord* const> list) override {
    for (auto* r : list) esp::forget_epochs(*r);
  }

  std::map<int, esp::RuntimeRecord*> records;
  std::deque<std::string> sent;  // on its way to the other
  bool owner = false;
  bool unproven = false;  // just restored: gw-fastpath owns nothing before gwd has met the other instance

 private:
  const std::uint32_t instance_;
  const std::string path_;
  const Clock& clock_;
  std::unique_ptr<esp::RuntimeStore> store_;
  std::unique_ptr<SaSync> sync_;
};

class SaSyncTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / std::format("sa-sync-{}", ::getpid());
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override {
    a_.reset();
    b_.reset();
    std::filesystem::remove_all(dir_);
  }
  std::string path(const char* name) const { return (dir_ / name).string(); }
  void make() {
    a_ = std::make_unique<Machine>(0, path("a"), clock_);
    b_ = std::make_unique<Machine>(1, path("b"), clock_);
  }
  void connect() {
    for (Machine* m : {a_.get(), b_.get()}) m->sent.clear();
    for (Machine* m : {a_.get(), b_.get()}) m->sync().connect();
  }
  void disconnect() {
    for (Machine* m : {a_.get(), b_.get()}) {
      m->sync().disconnect();
      m->sent.clear();
    }
  }
  static bool deliver(Machine& from, Machine& to) {
    if (from.sent.empty()) return false;
    const std::string frame = from.sent.front();
    from.sent.pop_front();
    to.sync().receive(frame);
    return true;
  }
  void deliver_all() {
    for (int round = 0; round < 50; ++round) {
      while (deliver(*a_, *b_) || deliver(*b_, *a_)) {
      }
      a_->sync().tick();
      b_->sync().tick();
    }
  }

  std::filesystem::path dir_;
  ManualClock clock_;
  std::unique_ptr<Machine> a_, b_;
  Wire wire_;
};

TEST_F(SaSyncTest, AKeyMayBeSentWithThereOnceItsBlockWasGranted) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  EXPECT_TRUE(a_->send_packet(1, wire_));
  EXPECT_FALSE(b_->send_packet(1, wire_));
  connect();
  deliver_all();
  ASSERT_EQ(a_->sync().state(), SaSync::State::kInSync);
  ASSERT_EQ(b_->sync().state(), SaSync::State::kInSync);
  EXPECT_TRUE(b_->send_packet(1, wire_));
  EXPECT_EQ(esp::block_of(b_->records[1]->iv_epoch), 1U);
  EXPECT_EQ(a_->sync().announced(), 1U);
}

TEST_F(SaSyncTest, EitherHalfMayComeFirst) {
  make();
  connect();
  deliver_all();
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  deliver_all();
  EXPECT_FALSE(b_->send_packet(1, wire_));
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  deliver_all();
  EXPECT_TRUE(b_->send_packet(1, wire_));
  ASSERT_TRUE(a_->install(2, KeyOrigin::kFresh));
  deliver_all();
  ASSERT_TRUE(b_->install(2, KeyOrigin::kSynced));
  deliver_all();
  EXPECT_TRUE(b_->send_packet(2, wire_));
}

TEST_F(SaSyncTest, AReturnAfterARebootNeedsTheOther) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  ASSERT_TRUE(a_->send_packet(1, wire_));
  a_->reboot();
  disconnect();
  ASSERT_FALSE(a_->install(1, KeyOrigin::kReplayed)) << "no record";
  ASSERT_TRUE(a_->install(1, KeyOrigin::kSynced));
  EXPECT_FALSE(a_->send_packet(1, wire_));
  connect();
  deliver_all();
  EXPECT_TRUE(a_->send_packet(1, wire_));
  EXPECT_EQ(a_->records[1]->iv_epoch, esp::first_epoch_of(1)) << "block 0 was its own before";
  b_->reboot();
  disconnect();
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  EXPECT_TRUE(b_->send_packet(1, wire_));
  EXPECT_EQ(b_->records[1]->iv_epoch, esp::first_epoch_of(2));
}

TEST_F(SaSyncTest, WithoutAnyRecordNobodyMaySend) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kSynced));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  EXPECT_FALSE(a_->send_packet(1, wire_));
  EXPECT_FALSE(b_->send_packet(1, wire_));
}

TEST_F(SaSyncTest, PositionsArriveWithinATick) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  a_->owner = true;
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  for (int i = 0; i < 700; ++i) ASSERT_TRUE(a_->send_packet(1, wire_));
  a_->sync().tick();
  clock_.advance(3ms);
  deliver_all();
  EXPECT_EQ(b_->records[1]->synced_position, 701U);
  EXPECT_FALSE(b_->sync().exact(name_of(1)));
  EXPECT_TRUE(b_->sync().awaits_final(kEndpoint));
  EXPECT_EQ(a_->sync().lag().worst, 3ms);
  a_->sync().tell_final(kEndpoint);
  deliver_all();
  EXPECT_TRUE(b_->sync().exact(name_of(1)));
  EXPECT_FALSE(b_->sync().awaits_final(kEndpoint));
}

// A split brain that heals: both own, both send, both report. An owner's record is its own; who gives up begins there
// where the other one is, also when that sends nothing any more.
TEST_F(SaSyncTest, WhatIsToldWhileBothOwnCountsForWhoGivesUp) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  for (Machine* m : {a_.get(), b_.get()}) {
    m->owner = true;
    m->sync().ownership_changed();
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(a_->send_packet(1, wire_));
    if (i < 50) {
      ASSERT_TRUE(b_->send_packet(1, wire_));
    }
    if (i % 10 == 0) deliver_all();
  }
  deliver_all();
  EXPECT_LT(b_->records[1]->synced_position, 101U);
  b_->owner = false;
  b_->sync().ownership_changed();
  EXPECT_EQ(b_->records[1]->synced_position, 101U);
  EXPECT_FALSE(b_->sync().exact(name_of(1)));
  EXPECT_TRUE(b_->sync().awaits_final(kEndpoint));
  a_->sync().tell_final(kEndpoint);
  deliver_all();
  EXPECT_TRUE(b_->sync().exact(name_of(1)));
}

// Nobody answers: it waits, and tells the newest when somebody does.
TEST_F(SaSyncTest, ReportsThatAreNotAnsweredDoNotPileUp) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  a_->owner = true;
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(a_->send_packet(1, wire_));
    a_->sync().tick();
  }
  EXPECT_LE(a_->sent.size(), SaSync::kMaxInFlight);
  deliver_all();
  EXPECT_EQ(b_->records[1]->synced_position, 101U);
}

TEST_F(SaSyncTest, ARestoredSnapshotIsToldAndSendsNothingOld) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  a_->owner = true;
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  a_->save(path("snapshot"));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(a_->send_packet(1, wire_));
  deliver_all();
  a_->restore(path("snapshot"));
  disconnect();
  connect();
  const auto id = a_->store().name().id;
  while (deliver(*a_, *b_) || deliver(*b_, *a_)) {
  }
  EXPECT_NE(a_->store().name().id, id) << "it has a new name";
  deliver_all();
  EXPECT_EQ(a_->sync().state(), SaSync::State::kInSync);
  EXPECT_EQ(esp::block_of(a_->records[1]->iv_epoch), 1U) << "granted by the other";
  EXPECT_TRUE(a_->send_packet(1, wire_));
}

TEST_F(SaSyncTest, OwnNumberOrOwnStoreIsAClone) {
  make();
  Machine clone(0, path("c"), clock_);
  a_->sync().connect();
  clone.sync().connect();
  a_->sync().receive(clone.sent.front());
  EXPECT_EQ(a_->sync().state(), SaSync::State::kRefused);
  EXPECT_NE(a_->sync().why().find("instance 0"), std::string::npos) << a_->sync().why();
  b_->sync().connect();
  b_->save(path("d"));
  Machine copy(2, path("d"), clock_);
  copy.sync().connect();
  b_->sync().receive(copy.sent.front());
  EXPECT_NE(b_->sync().why().find("own store"), std::string::npos) << b_->sync().why();
}

TEST_F(SaSyncTest, NonsenseIsRefusedWithItsReason) {
  fp::SaSync wrong_version, no_id;
  wrong_version.mutable_from()->set_id(std::string(16, 'x'));
  wrong_version.mutable_hello()->set_version(2);
  no_id.mutable_hello()->set_version(1);
  fp::SaSync bad_key, bad_positions, far;
  bad_key.mutable_announcements()->add_sas()->set_key("short");
  bad_positions.mutable_positions()->add_steps(1);
  far.mutable_positions()->add_steps(99999);
  far.mutable_positions()->add_advances(1);
  make();
  for (const std::string& bytes :
       {std::string("\xff\xff\xff"), wrong_version.SerializeAsString(), no_id.SerializeAsString()}) {
    connect();
    deliver_all();
    a_->sync().receive(bytes);
    EXPECT_EQ(a_->sync().state(), SaSync::State::kRefused);
    EXPECT_FALSE(a_->sync().why().empty());
  }
  for (fp::SaSync m : {bad_key, bad_positions, far}) {
    connect();
    deliver_all();
    disconnect();
    connect();
    fp::SaSync theirs, ours;
    ASSERT_TRUE(theirs.ParseFromString(b_->sent.front()) && ours.ParseFromString(a_->sent.front()));
    deliver_all();
    *m.mutable_from() = theirs.from();
    *m.mutable_to() = ours.from();
    a_->sync().receive(m.SerializeAsString());
    EXPECT_EQ(a_->sync().state(), SaSync::State::kRefused) << m.ShortDebugString();
  }
}

// The rule, against everything at once.
class Chaos : public SaSyncTest, public testing::WithParamInterface<int> {
 protected:
  struct Tally {
    int packets[2] = {};
    int restarts = 0, reboots = 0, rollbacks = 0, moved_back = 0;
  };
  struct Snapshot {
    std::uint64_t generation = 0;
    std::array<std::uint8_t, 16> id{};
    unsigned others_life = 0;
    bool taken = false;
  };

  void run(unsigned seed) {
    random_.seed(seed);
    make();
    for (int step = 0; step < 4000; ++step) one_step();
  }
  Machine& machine(unsigned i) { return i == 0 ? *a_ : *b_; }
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }

  void one_step() {
    const unsigned who = pick(2);
    Machine& m = machine(who);
    Machine& other = machine(1 - who);
    if (m.unproven && m.sync().state() == SaSync::State::kInSync) m.unproven = false;
    switch (pick(40)) {
      case 0: birth(m, other); break;
      case 1: connect(); break;
      case 2: disconnect(); break;
      case 3: restart(m); break;
      case 4:
        if (pick(4) == 0) reboot(who);
        break;
      case 5: snapshot(who); break;
      case 6: roll_back(who); break;
      case 7:
        if (!m.records.empty() && pick(3) == 0) m.remove(m.records.begin()->first);
        break;
      case 8: come_back(m, other); break;
      case 9: late_frame(m); break;
      case 10:
        m.owner = pick(2) == 0;
        m.sync().ownership_changed();
        break;
      case 11: clock_.advance(7ms); break;
      case 12:
      case 13:
      case 14: m.sync().tick(); break;
      default:
        if (pick(2) == 0) {
          if (!m.sent.empty() && pick(8) == 0) old_.push_back(m.sent.front());
          (void)deliver(m, other);
        } else {
          send(who);
        }
    }
  }
  void send(unsigned who) {
    Machine& m = machine(who);
    if (m.records.empty() || m.unproven) return;
    auto it = m.records.begin();
    std::advance(it, pick(static_cast<unsigned>(m.records.size())));
    if (m.send_packet(it->first, wire_)) ++tally_.packets[who];
  }
  void birth(Machine& m, Machine& other) {
    if (m.records.size() > 12) return;
    const int key = ++keys_;
    ASSERT_TRUE(m.install(key, KeyOrigin::kFresh));
    if (pick(4) != 0) (void)other.install(key, KeyOrigin::kSynced);
  }
  /// The other's charon tells ours of a key that it has and we lost.
  void come_back(Machine& m, Machine& other) {
    for (const auto& [key, record] : other.records)
      if (!m.records.contains(key)) {
        (void)m.install(key, pick(3) == 0 ? KeyOrigin::kReplayed : KeyOrigin::kSynced);
        return;
      }
  }
  void restart(Machine& m) {
    m.restart();
    disconnect();
    ++tally_.restarts;
  }
  void reboot(unsigned who) {
    if (machine(1 - who).unproven) return;  // it alone knows that the other was restored
    machine(who).reboot();
    machine(who).unproven = false;
    ++lives_[who];
    disconnect();
    ++tally_.reboots;
  }
  void snapshot(unsigned who) {
    Machine& m = machine(who);
    if (m.unproven) return;
    m.save(path(who == 0 ? "sa" : "sb"));
    snapshots_[who] = {m.store().name().generation, m.store().name().id, lives_[1 - who], true};
  }
  /// Only where the other can know of it (ADR 14): it has heard of this store since, and has not rebooted since.
  void roll_back(unsigned who) {
    const Snapshot& s = snapshots_[who];
    if (!s.taken || s.others_life != lives_[1 - who] || machine(1 - who).unproven) return;
    const auto known = machine(1 - who).store().heard_of(s.id);
    if (!known || *known <= s.generation) return;
    machine(who).restore(path(who == 0 ? "sa" : "sb"));
    machine(who).unproven = true;
    disconnect();
    ++tally_.rollbacks;
  }
  void late_frame(Machine& m) {
    if (!old_.empty()) m.sync().receive(old_[pick(static_cast<unsigned>(old_.size()))]);
  }

  std::mt19937 random_;
  int keys_ = 0;
  unsigned lives_[2] = {};
  Snapshot snapshots_[2];
  std::vector<std::string> old_;
  Tally tally_;
};

TEST_P(Chaos, NoIvIsEverUsedTwice) {
  Tally all;
  for (unsigned seed = 0; seed < 25; ++seed) {
    SCOPED_TRACE(std::format("seed {}", GetParam() * 1000 + static_cast<int>(seed)));
    run(static_cast<unsigned>(GetParam()) * 1000 + seed);
    for (int i : {0, 1}) all.packets[i] += tally_.packets[i];
    all.rollbacks += tally_.rollbacks;
    all.reboots += tally_.reboots;
    all.restarts += tally_.restarts;
    tally_ = {};
    wire_.clear();
    old_.clear();
    snapshots_[0] = snapshots_[1] = {};
    a_.reset();
    b_.reset();
    if (HasFailure()) return;
  }
  // It did happen.
  EXPECT_GT(all.packets[0], 1000);
  EXPECT_GT(all.packets[1], 1000);
  EXPECT_GT(all.rollbacks, 10);
  EXPECT_GT(all.reboots, 100);
  EXPECT_GT(all.restarts, 500);
}
INSTANTIATE_TEST_SUITE_P(Seeds, Chaos, testing::Range(0, 4));

}  // namespace
}  // namespace gw::control
