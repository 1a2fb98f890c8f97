// Two instances that share keys, in memory but for their stores: each with the real protocol and the real rules, and a
// wire between them that the test cuts, delays and reorders.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <format>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ebpf/control/sa_sync.hpp"
#include "ebpf/esp/grants.hpp"
#include "ebpf/esp/takeover_rules.hpp"

namespace gw::control {

using namespace std::chrono_literals;
using esp::Direction;
using esp::KeyOrigin;

constexpr std::uint64_t kLast = esp::last_sequence(esp::SequenceMode::kExtended);
inline const IpAddress kEndpoint = *IpAddress::parse("192.0.2.1");

/// (key, IV) of every packet ever sent by anybody.
using Wire = std::set<std::pair<int, std::uint64_t>>;

inline std::array<std::uint8_t, 4> identity(int key) {
  return {1, 2, static_cast<std::uint8_t>(key >> 8), static_cast<std::uint8_t>(key)};
}
inline SyncKey name_of(int key) { return sync_key(identity(key), Direction::kOutbound); }

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

}  // namespace gw::control
