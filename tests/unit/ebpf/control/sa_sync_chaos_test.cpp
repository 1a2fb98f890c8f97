// Connections that break, frames that come late, processes that die, machines that reboot or go back to a snapshot:
// whatever happens, in whatever order, and whether or not an instance believes to own anything, no (key, IV) is used
// twice.
#include <random>

#include "tests/unit/ebpf/control/sa_sync_machines.hpp"

namespace gw::control {
namespace {

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
