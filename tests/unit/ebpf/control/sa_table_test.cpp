// The orphan rule and mark-and-sweep, with time by hand.
#include "ebpf/control/sa_table.hpp"

#include <gtest/gtest.h>

namespace gw::control {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kOldCharon = 11;
constexpr std::uint64_t kNewCharon = 22;

class SaTableTest : public testing::Test {
 protected:
  SaTableTest() { table_.on_hello(kOldCharon); }

  SaKey add(std::uint32_t spi, esp::Direction direction, std::uint64_t owner, std::uint32_t tunnel = 1) {
    SaEntry e;
    e.key = {spi, IpAddress::parse(direction == esp::Direction::kInbound ? "192.0.2.1" : "192.0.2.2").value()};
    e.direction = direction;
    e.owner_epoch = owner;
    e.tunnel_id = tunnel;
    e.installed = clock_.now();
    return table_.insert(std::move(e)).key;
  }
  std::vector<SaKey> ended() { return table_.ended_orphans(clock_.now()); }

  ManualClock clock_;
  SaTable table_;
};

TEST_F(SaTableTest, NothingEndsWhileItsDaemonLives) {
  const SaKey in = add(1000, esp::Direction::kInbound, kOldCharon);
  table_.find(in)->hard_lifetime = 10s;  // kernel-gw's business as long as charon is there
  table_.on_confirmed(in, clock_.now());
  clock_.advance(24h);
  EXPECT_TRUE(ended().empty());
}

TEST_F(SaTableTest, AnSaIsFoundByItsKeyWhereverItGoesTo) {
  const SaKey in = add(1000, esp::Direction::kInbound, kOldCharon);
  const SaKey out = add(1000, esp::Direction::kOutbound, kOldCharon);
  add(1001, esp::Direction::kOutbound, kOldCharon);
  table_.find(out)->fingerprint = {7};
  EXPECT_EQ(table_.find_key({1000, esp::Direction::kInbound, {}})->key, in);
  EXPECT_EQ(table_.find_key({1000, esp::Direction::kOutbound, {7}})->key, out);
  table_.move(out, {1000, IpAddress::parse("2001:db8::9").value()});
  EXPECT_EQ(table_.find_key({1000, esp::Direction::kOutbound, {7}})->key.dst, IpAddress::parse("2001:db8::9").value());
  EXPECT_EQ(table_.find_key({1000, esp::Direction::kOutbound, {8}}), nullptr) << "another key";
  EXPECT_EQ(table_.find_key({1001, esp::Direction::kInbound, {}}), nullptr) << "another direction";
  EXPECT_EQ(table_.find_key({999, esp::Direction::kInbound, {}}), nullptr);
}

TEST_F(SaTableTest, CountsTheSasOfATunnel) {
  const SaKey in = add(1000, esp::Direction::kInbound, kOldCharon);
  const SaKey out = add(1001, esp::Direction::kOutbound, kOldCharon);
  add(1002, esp::Direction::kInbound, kOldCharon, 2);
  table_.move(out, {1001, IpAddress::parse("2001:db8::9").value()});
  EXPECT_EQ(table_.count(1), 2U);
  EXPECT_EQ(table_.count(2), 1U);
  EXPECT_EQ(table_.count(3), 0U);
  table_.erase(in);
  table_.erase(in);
  table_.erase({1001, IpAddress::parse("2001:db8::9").value()});
  EXPECT_EQ(table_.count(1), 0U);
  EXPECT_EQ(table_.count(2), 1U);
}

TEST_F(SaTableTest, OrphansGoOnUntilTheNewSaHasReceivedTraffic) {
  const SaKey old_in = add(1000, esp::Direction::kInbound, kOldCharon);
  const SaKey old_out = add(1001, esp::Direction::kOutbound, kOldCharon);
  table_.on_hello(kNewCharon);
  EXPECT_TRUE(table_.is_orphan(*table_.find(old_in)));
  clock_.advance(1h);
  EXPECT_TRUE(ended().empty());

  const SaKey new_in = add(2000, esp::Direction::kInbound, kNewCharon);
  add(2001, esp::Direction::kOutbound, kNewCharon);
  clock_.advance(1h);
  EXPECT_TRUE(ended().empty()) << "installed is not proved";

  table_.on_confirmed(new_in, clock_.now());
  clock_.advance(SaTable::kOrphanGrace - 1ms);
  EXPECT_TRUE(ended().empty()) << "what is on its way still arrives";
  clock_.advance(1ms);
  EXPECT_EQ(ended(), (std::vector{old_in, old_out}));
}

TEST_F(SaTableTest, AnotherTunnelsTrafficProvesNothing) {
  add(1000, esp::Direction::kInbound, kOldCharon, 1);
  table_.on_hello(kNewCharon);
  table_.on_confirmed(add(2000, esp::Direction::kInbound, kNewCharon, 2), clock_.now());
  clock_.advance(1h);
  EXPECT_TRUE(ended().empty());
}

TEST_F(SaTableTest, TrafficOnTheOrphanItselfProvesNothing) {
  const SaKey old_in = add(1000, esp::Direction::kInbound, kOldCharon);
  table_.on_hello(kNewCharon);
  add(2000, esp::Direction::kInbound, kNewCharon);
  table_.on_confirmed(old_in, clock_.now());
  clock_.advance(1h);
  EXPECT_TRUE(ended().empty());
}

TEST_F(SaTableTest, AnOrphanEndsAtItsHardLifetime) {
  const SaKey in = add(1000, esp::Direction::kInbound, kOldCharon);
  add(1001, esp::Direction::kInbound, kOldCharon);  // without limit
  table_.find(in)->hard_lifetime = 3600s;
  table_.on_hello(kNewCharon);
  clock_.advance(3599s);
  EXPECT_TRUE(ended().empty());
  clock_.advance(1s);
  EXPECT_EQ(ended(), std::vector{in});
}

TEST_F(SaTableTest, TheSameDaemonReconnectingMakesNoOrphans) {
  const SaKey in = add(1000, esp::Direction::kInbound, kOldCharon);
  table_.on_hello(kOldCharon);
  EXPECT_FALSE(table_.is_orphan(*table_.find(in)));
}

TEST_F(SaTableTest, SweepTakesWhatItsClientDidNotSendAgain) {
  const SaKey kept = add(1000, esp::Direction::kInbound, kOldCharon);
  const SaKey gone = add(1001, esp::Direction::kInbound, kOldCharon);
  table_.on_hello(kOldCharon);
  table_.find(kept)->seen = true;
  EXPECT_EQ(table_.not_seen(kOldCharon), std::vector{gone});
}

TEST_F(SaTableTest, SweepNeverTakesAnotherDaemonsSas) {
  add(1000, esp::Direction::kInbound, kOldCharon);
  table_.on_hello(kNewCharon);
  EXPECT_TRUE(table_.not_seen(kNewCharon).empty());
}

TEST_F(SaTableTest, ActiveIsPerTunnel) {
  const SaKey a = add(1000, esp::Direction::kOutbound, kOldCharon, 1);
  add(1001, esp::Direction::kOutbound, kOldCharon, 2);
  EXPECT_EQ(table_.active(1), nullptr);
  table_.activate(*table_.find(a));
  ASSERT_NE(table_.active(1), nullptr);
  EXPECT_EQ(table_.active(1)->key, a);
  EXPECT_EQ(table_.active(2), nullptr);
}

TEST_F(SaTableTest, ActiveFollowsRekeyMoveAndRemoval) {
  const SaKey a = add(1000, esp::Direction::kOutbound, kOldCharon, 1);
  const SaKey b = add(1001, esp::Direction::kOutbound, kOldCharon, 1);
  table_.activate(*table_.find(a));
  table_.activate(*table_.find(b));
  EXPECT_FALSE(table_.find(a)->active) << "one at a time";
  table_.erase(a);
  ASSERT_NE(table_.active(1), nullptr) << "an old SA goes, the tunnel goes on sending";
  const SaKey moved{1001, IpAddress::parse("198.51.100.1").value()};
  table_.move(b, moved);
  ASSERT_NE(table_.active(1), nullptr);
  EXPECT_EQ(table_.active(1)->key, moved);
  table_.erase(moved);
  EXPECT_EQ(table_.active(1), nullptr);
}

TEST_F(SaTableTest, MoveKeepsTheEntry) {
  const SaKey from = add(1000, esp::Direction::kInbound, kOldCharon, 7);
  const SaKey to{1000, IpAddress::parse("198.51.100.1").value()};
  table_.move(from, to);
  EXPECT_EQ(table_.find(from), nullptr);
  ASSERT_NE(table_.find(to), nullptr);
  EXPECT_EQ(table_.find(to)->key, to);
  EXPECT_EQ(table_.find(to)->tunnel_id, 7u);
}

}  // namespace
}  // namespace gw::control
