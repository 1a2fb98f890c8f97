// Two configuration services with the real loader, validator and store, whose words reach each other.
#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>

#include "gwd/control/config_service.hpp"

namespace gw::gwd {
namespace {

namespace fs = std::filesystem;
namespace asio = boost::asio;
using testing::HasSubstr;

std::string document(int mtu) {
  return std::format(R"(version: 1
gateway:
  name: hub
  instances:
    - name: gw-a
      wan: {{ interface: eth0, endpoints: [ {{ address: 203.0.113.10 }} ] }}
      vnet: {{ interface: eth1, address: 10.0.0.4 }}
      sync: [ 10.255.0.1 ]
    - name: gw-b
      wan: {{ interface: eth0, endpoints: [ {{ address: 203.0.113.11 }} ] }}
      vnet: {{ interface: eth1, address: 10.0.0.5 }}
      sync: [ 10.255.0.2 ]
vnet:
  prefixes: [ 10.0.0.0/16 ]
sites:
  - name: paris
    asn: 65021
    devices: [ {{ name: ce1, address: 198.51.100.1 }} ]
connections:
  - name: paris-ce1
    device: paris/ce1
    secret: {{ psk_file: paris.psk }}
    mtu: {}
)",
                     mtu);
}

class OnBoth : public testing::Test {
 protected:
  OnBoth() {
    std::string name = (fs::temp_directory_path() / "gw-both-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    top_ = name;
    for (const char* instance : {"gw-a", "gw-b"}) {
      fs::create_directories(top_ / instance);
      psk(instance);
      std::ofstream(top_ / instance / "gateway.yaml") << document(1400);
    }
    a_ = open("gw-a");
    b_ = open("gw-b");
    join(*a_, *b_);
    join(*b_, *a_);
  }
  ~OnBoth() override {
    a_->stop();
    b_->stop();
    io_.restart();
    io_.poll();
    fs::remove_all(top_);
  }

  void psk(const std::string& instance) const {
    const fs::path path = top_ / instance / "paris.psk";
    std::ofstream(path) << "swordfish\n";
    ::chmod(path.c_str(), 0600);
  }
  std::string file(const std::string& instance) const { return (top_ / instance / "gateway.yaml").string(); }
  std::unique_ptr<ConfigService> open(const std::string& instance) {
    auto service = std::make_unique<ConfigService>(
        io_, clock_, config::RevisionStore::open((top_ / instance / "gwd.db").string()).value(), instance);
    service->on_activate([this, instance](ModelPtr model) { models_[instance] = std::move(model); });
    EXPECT_TRUE(service->start(file(instance)).has_value());
    return service;
  }
  void join(ConfigService& from, ConfigService& to) {
    from.on_send([this, &to](std::string payload) {
      asio::post(io_, [&to, payload = std::move(payload)] { to.on_peer_message(payload); });
    });
  }
  /// Until nobody has anything to say.
  void settle() {
    io_.restart();
    io_.poll();
  }
  void connect() {
    a_->on_peer_session();
    b_->on_peer_session();
    settle();
  }
  ConfigResult<ConfigOutcome> wait(asio::awaitable<ConfigResult<ConfigOutcome>> command) {
    auto done = asio::co_spawn(io_, std::move(command), asio::use_future);
    io_.restart();
    while (done.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
      io_.run_one_for(std::chrono::seconds(5));
    settle();
    return done.get();
  }
  std::uint32_t mtu(const std::string& instance) { return models_[instance]->tunnels.at(0).mtu; }

  fs::path top_;
  asio::io_context io_;
  SystemClock clock_;
  std::map<std::string, ModelPtr> models_;
  std::unique_ptr<ConfigService> a_;
  std::unique_ptr<ConfigService> b_;
};

TEST_F(OnBoth, ADocumentRunsOnBoth) {
  connect();
  const auto done = wait(a_->apply_on_both({document(1300), file("gw-a")}, {.comment = "smaller"}));
  ASSERT_TRUE(done.has_value()) << done.error().error.message;
  EXPECT_EQ(mtu("gw-a"), 1300U);
  EXPECT_EQ(mtu("gw-b"), 1300U);
  EXPECT_EQ(models_["gw-b"]->instance, "gw-b");
  const auto there = b_->revisions().value().front();
  EXPECT_EQ(there.comment, "smaller (from gw-a)");
  EXPECT_EQ(there.origin, config::Origin::kSync);
  EXPECT_EQ(there.file, file("gw-b"));  // its own folder: secrets are beside it
  const auto back = wait(b_->rollback_on_both(0, {}));
  ASSERT_TRUE(back.has_value()) << back.error().error.message;
  EXPECT_EQ(mtu("gw-a"), 1400U);
  EXPECT_EQ(mtu("gw-b"), 1400U);
}

TEST_F(OnBoth, WhatTheOtherLacksIsNamed) {
  connect();
  fs::remove(top_ / "gw-b" / "paris.psk");
  const auto done = wait(a_->apply_on_both({document(1300), file("gw-a")}, {}));
  ASSERT_FALSE(done.has_value());
  EXPECT_THAT(done.error().error.message, HasSubstr("gw-b cannot run it: 1 error in "));
  ASSERT_FALSE(done.error().findings.empty());
  EXPECT_THAT(done.error().findings.front().describe(),
              testing::AllOf(testing::StartsWith("gw-b:" + file("gw-b") + ":"), HasSubstr("paris.psk does not exist")));
  EXPECT_EQ(mtu("gw-a"), 1400U);
  EXPECT_EQ(a_->revisions().value().size(), 1U);
}

TEST_F(OnBoth, WhoWasAwayTakesItOver) {
  const auto refused = wait(a_->apply_on_both({document(1300), file("gw-a")}, {}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().error.message, HasSubstr("gw-b does not answer"));
  ASSERT_TRUE(wait(a_->apply_on_both({document(1300), file("gw-a")}, {.alone = true})).has_value());
  EXPECT_EQ(mtu("gw-b"), 1400U);
  connect();
  EXPECT_EQ(mtu("gw-b"), 1300U);
}

// A start needs nobody, and what runs already is no question.
TEST_F(OnBoth, NothingNewIsNotAsked) {
  const auto done = wait(a_->apply_on_both({document(1400), file("gw-a")}, {}));
  ASSERT_TRUE(done.has_value()) << done.error().error.message;
  EXPECT_EQ(a_->revisions().value().size(), 1U);
}

TEST_F(OnBoth, UnconfirmedBothGoBack) {
  connect();
  ASSERT_TRUE(
      wait(a_->apply_on_both({document(1300), file("gw-a")}, {.confirm_within = std::chrono::seconds(1)})).has_value());
  EXPECT_EQ(mtu("gw-b"), 1300U);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((mtu("gw-a") != 1400U || mtu("gw-b") != 1400U) && std::chrono::steady_clock::now() < deadline) {
    io_.restart();
    io_.run_one_for(std::chrono::milliseconds(100));
  }
  settle();
  EXPECT_EQ(mtu("gw-a"), 1400U);
  EXPECT_EQ(mtu("gw-b"), 1400U);
  EXPECT_EQ(a_->sync_alarm() + b_->sync_alarm(), "");
}

// The store of an earlier release.
TEST(RevisionStore, OfFormat1IsTakenOver) {
  const std::string path = (fs::temp_directory_path() / std::format("gw-format1-{}.db", ::getpid())).string();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, R"sql(
CREATE TABLE revision (number INTEGER PRIMARY KEY AUTOINCREMENT, applied_ms INTEGER NOT NULL, origin TEXT NOT NULL,
  comment TEXT NOT NULL, file TEXT NOT NULL, document TEXT NOT NULL) STRICT;
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), running INTEGER REFERENCES revision (number),
  pending_previous INTEGER REFERENCES revision (number), pending_deadline_ms INTEGER) STRICT;
INSERT INTO revision VALUES (7, 0, 'apply', '', '/etc/gw/gateway.yaml', 'text');
INSERT INTO state (id, running) VALUES (1, 7);
PRAGMA application_id = 1735877746; PRAGMA user_version = 1)sql",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  for (int round = 0; round < 2; ++round) {
    const auto store = config::RevisionStore::open(path);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    EXPECT_EQ(store->running().value()->number, 7U);
    EXPECT_EQ(store->serial().value(), 0U);
  }
  for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(path + suffix);
}

}  // namespace
}  // namespace gw::gwd
