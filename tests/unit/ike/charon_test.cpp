// The VICI client, the rendering and the diagnosis against stock charon-systemd:
//
//   this namespace: charon "gateway" 203.0.113.10 --veth-- 198.51.100.1 charon "site": namespace `site`
//
// ESP is kernel-libipsec's on both ends, so the host's kernel needs none. Root; about 10 s.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <format>
#include <memory>

#include "ike/connection.hpp"
#include "ike/diagnosis.hpp"
#include "ike/sas.hpp"
#include "ike/vici_client.hpp"
#include "tests/support/await.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/unit/ike/intent.hpp"

namespace gw::ike {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using gw::test::await;
using gw::test::run_until;
using test::paris;

/// One charon-systemd with its own sockets and log.
class Charon {
 public:
  Charon(std::filesystem::path folder, std::vector<std::string> prefix)
      : folder_(std::move(folder)), prefix_(std::move(prefix)) {
    std::filesystem::create_directories(folder_);
    std::string settings;
    for (const auto& [key, value] : charon_settings()) settings += std::format("  {} = {}\n", key, value);
    gw::test::write_file(folder_ / "strongswan.conf", std::format(R"(charon {{
{}  load = random nonce openssl kdf hmac sha1 sha2 gcm kernel-libipsec kernel-netlink socket-default vici
  retransmit_timeout = 0.2
  filelog {{ f {{ path = {}/charon.log
    default = 1
    flush_line = yes }} }}
  plugins {{ vici {{ socket = unix://{} }} }}
}}
charon-systemd {{ journal {{ default = -1 }} }}
)",
                                                                  settings, folder_.string(), socket()));
    start();
  }
  void start() {
    std::error_code ignored;
    std::filesystem::remove(socket(), ignored);
    std::vector<std::string> argv = prefix_;
    argv.emplace_back("/usr/sbin/charon-systemd");
    process_ = gw::test::Process(
        argv, folder_ / "out", {std::format("STRONGSWAN_CONF={}/strongswan.conf", folder_.string()), "NOTIFY_SOCKET="});
    if (!gw::test::eventually([&] { return std::filesystem::exists(socket()); }, 10s)) {
      throw std::runtime_error("charon does not start: " + gw::test::read_file(folder_ / "out"));
    }
  }
  std::string socket() const { return (folder_ / "vici.sock").string(); }
  std::string log() const { return gw::test::read_file(folder_ / "charon.log"); }
  gw::test::Process& process() { return process_; }

 private:
  std::filesystem::path folder_;
  std::vector<std::string> prefix_;
  gw::test::Process process_;
};

class CharonTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    gw::test::enter_namespaces({"/run/netns"});
    gw::test::run("ip netns add site && ip link add wan type veth peer name wan0 netns site");
    gw::test::run("ip addr add 203.0.113.10/24 dev wan && ip link set wan up && ip route add 198.51.100.0/24 dev wan");
    gw::test::run("ip -n site link set lo up && ip -n site addr add 198.51.100.1/24 dev wan0");
    gw::test::run("ip -n site link set wan0 up && ip -n site route add 203.0.113.0/24 dev wan0");
    scratch_ = std::make_unique<gw::test::Scratch>();
    gateway_ = std::make_unique<Charon>(scratch_->path() / "gateway", std::vector<std::string>{});
    site_ =
        std::make_unique<Charon>(scratch_->path() / "site", std::vector<std::string>{"ip", "netns", "exec", "site"});
  }
  static void TearDownTestSuite() {
    site_.reset();
    gateway_.reset();
    scratch_.reset();
  }

  void SetUp() override {
    client_.on_closed([this](const Error& why) { closed_ = why; });
    client_.on_event([this](std::string_view name, const ViciMessage& message) {
      if (auto event = parse_event(name, message))
        events_.push_back(std::move(*event));
      else
        ADD_FAILURE() << event.error().describe();
    });
    // A charon that just started has bound its socket and does not listen yet.
    ASSERT_TRUE(
        gw::test::eventually([&] { return await(io_, client_.connect(gateway_->socket(), 2s)).has_value(); }, 5s));
    ASSERT_TRUE(gw::test::eventually([&] { return await(io_, peer_.connect(site_->socket(), 2s)).has_value(); }, 5s));
  }
  void TearDown() override {
    if (HasFailure()) std::printf("--- gateway\n%s--- site\n%s", gateway_->log().c_str(), site_->log().c_str());
    for (ViciClient* c : {&client_, &peer_}) {
      if (!c->is_open()) continue;
      ViciMessage all;
      all.add("ike", "paris-ce1/gw-a").add("force", "yes").add("timeout", "1000");
      await(io_, c->request("terminate", std::move(all), 3s));
      await(io_, c->request("clear-creds", {}, 2s));
      ViciMessage name;
      name.add("name", "paris-ce1/gw-a");
      await(io_, c->request("unload-conn", std::move(name), 2s));
    }
  }

  Status command(ViciClient& client, const char* name, ViciMessage message) {
    const auto answer = await(io_, client.command(name, std::move(message), 5s));
    return answer ? Status{} : Status(std::unexpected(answer.error()));
  }
  void load(ViciClient& client, const TunnelIntent& t) {
    const Status secret = command(client, "load-shared", render_secret(t).value());
    ASSERT_TRUE(secret) << secret.error().describe();
    const Status connection = command(client, "load-conn", render_connection(t).value());
    ASSERT_TRUE(connection) << connection.error().describe();
  }
  void follow_all() {
    for (const std::string& event : followed_events()) ASSERT_TRUE(await(io_, client_.subscribe(event, 2s))) << event;
  }
  template <class Event>
  const Event* find_event() {
    for (const ViciEvent& e : events_) {
      if (const auto* found = std::get_if<Event>(&e)) return found;
    }
    return nullptr;
  }
  /// Initiates and returns what the log of the gateway says after the attempt.
  Diagnosis attempt() {
    follow_all();
    EXPECT_TRUE(command(client_, "initiate", render_initiate("paris-ce1/gw-a")));
    return listen();
  }
  Diagnosis listen() {
    RecentLog log;
    std::size_t seen = 0;
    Diagnosis d;
    run_until(
        io_,
        [&] {
          for (; seen < events_.size(); ++seen) {
            if (const auto* line = std::get_if<LogLine>(&events_[seen])) log.add(*line);
          }
          d = log.diagnose({"paris-ce1/gw-a", "203.0.113.10", "198.51.100.1", "ce1.paris.example"});
          return d.fault != Fault::kNoFault && d.fault != Fault::kUnknown;
        },
        8s);
    return d;
  }

  static TunnelIntent gateway_end() {
    TunnelIntent t = paris();
    t.encapsulation = Encapsulation::kForceUdp;
    return t;
  }
  /// The same tunnel as the site sees it.
  static TunnelIntent site_end() {
    TunnelIntent t = gateway_end();
    std::swap(t.local, t.remote);
    t.remote.identity.clear();
    t.esn = Esn::kNever;  // kernel-libipsec has none
    t.esp_proposals = {"aes256gcm16-noesn"};
    return t;
  }

  static std::unique_ptr<gw::test::Scratch> scratch_;
  static std::unique_ptr<Charon> gateway_;
  static std::unique_ptr<Charon> site_;
  asio::io_context io_{1};
  ViciClient client_{io_.get_executor()};
  ViciClient peer_{io_.get_executor()};
  std::optional<Error> closed_;
  std::vector<ViciEvent> events_;
};

std::unique_ptr<gw::test::Scratch> CharonTest::scratch_;
std::unique_ptr<Charon> CharonTest::gateway_;
std::unique_ptr<Charon> CharonTest::site_;

TEST_F(CharonTest, TakesTheRenderedConnection) {
  load(client_, gateway_end());
  const auto conns = await(io_, client_.stream("list-conns", "list-conn", {}, 5s));
  ASSERT_TRUE(conns) << conns.error().describe();
  ASSERT_EQ(conns->size(), 1U);
  const ViciMessage* conn = (*conns)[0].section("paris-ce1/gw-a");
  ASSERT_NE(conn, nullptr) << (*conns)[0].to_string();
  EXPECT_EQ(conn->text("version"), "IKEv2");
  EXPECT_EQ(conn->text("unique"), "UNIQUE_NEVER");
  EXPECT_EQ(conn->text("dpd_delay"), "45");
  const ViciMessage* child = conn->section("children")->section("paris-ce1/gw-a");
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->text("dpd_action"), "none");
  EXPECT_EQ(child->text("close_action"), "none");
  // Loading it again replaces it.
  load(client_, gateway_end());
  EXPECT_EQ(await(io_, client_.stream("list-conns", "list-conn", {}, 5s))->size(), 1U);
}

TEST_F(CharonTest, TakesEveryProposalThatCanBeConfigured) {
  TunnelIntent t = gateway_end();
  t.ike_proposals.clear();
  t.esp_proposals.clear();
  for (const char* e : {"GCMAES256", "GCMAES128", "AES256", "AES192", "AES128"}) {
    for (const char* i : {"SHA384", "SHA256", "SHA1"}) {
      for (const char* d : {"ECP384", "ECP256", "DHGroup14", "DHGroup24", "DHGroup2", "DHGroup2048"}) {
        t.ike_proposals.push_back({e, i, d});
      }
    }
  }
  for (const char* e : {"aes256gcm16", "aes192gcm12", "aes128gcm8", "chacha20poly1305", "aes256-sha512",
                        "aes192-sha384", "aes128-sha256", "aes128-sha1", "3des-sha1"}) {
    for (const char* group : {"", "-ecp384", "-ecp256", "-ecp521", "-modp2048", "-modp3072", "-modp4096",
                              "-modp2048s256", "-modp1024", "-x25519", "-curve25519", "-modp2048-ecp256-ecp384"}) {
      for (const char* esn : {"-noesn", "-esn-noesn"}) t.esp_proposals.push_back(std::string(e) + group + esn);
    }
  }
  load(client_, t);
}

TEST_F(CharonTest, RefusalsComeWithCharonsWords) {
  ViciMessage conn;
  conn.add_list("proposals", {"aes256-nonsense"});
  ViciMessage m;
  m.add_section("paris", std::move(conn));
  const Status bad = command(client_, "load-conn", std::move(m));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Errc::kRefused);
  EXPECT_TRUE(bad.error().message.contains("proposals")) << bad.error().message;
  EXPECT_EQ(command(client_, "load-nonsense", {}).error().code, Errc::kUnsupported);
  EXPECT_EQ(await(io_, client_.subscribe("nonsense", 2s)).error().code, Errc::kUnsupported);
  EXPECT_EQ(await(io_, client_.stream("list-nonsense", "list-sa", {}, 2s)).error().code, Errc::kUnsupported);
  EXPECT_TRUE(await(io_, client_.stream("list-sas", "list-sa", {}, 2s))) << "still usable";
}

TEST_F(CharonTest, ComesUpAndRekeys) {
  load(client_, gateway_end());
  load(peer_, site_end());
  follow_all();
  ASSERT_TRUE(command(client_, "initiate", render_initiate("paris-ce1/gw-a")));
  ASSERT_TRUE(run_until(io_, [&] { return find_event<ChildUpdown>() != nullptr; }, 5s));
  const ChildUpdown& up = *find_event<ChildUpdown>();
  EXPECT_EQ(up.direction, Updown::kUp);
  EXPECT_EQ(up.sa.name, "paris-ce1/gw-a");
  ASSERT_EQ(up.sa.children.size(), 1U);
  ASSERT_NE(find_event<IkeUpdown>(), nullptr);

  auto sas = await(io_, client_.stream("list-sas", "list-sa", {}, 5s));
  ASSERT_TRUE(sas);
  ASSERT_EQ(sas->size(), 1U);
  const IkeSa sa = parse_ike_sa((*sas)[0]).value();
  EXPECT_EQ(sa.state, "ESTABLISHED");
  EXPECT_EQ(sa.remote.identity, "ce1.paris.example");
  EXPECT_EQ(sa.proposal, "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384");
  ASSERT_EQ(sa.children.size(), 1U);
  EXPECT_EQ(sa.children[0].state, "INSTALLED");
  EXPECT_EQ(sa.children[0].encryption, "AES_GCM_16-256");
  EXPECT_EQ(sa.children[0].if_id, 7U);
  EXPECT_TRUE(sa.children[0].udp_encapsulation);
  EXPECT_NE(sa.children[0].spi_in, 0U);
  EXPECT_EQ(sa.children[0].local_selectors, (std::vector<std::string>{"0.0.0.0/0", "::/0"}));

  ViciMessage child;
  child.add("child", "paris-ce1/gw-a");
  ASSERT_TRUE(command(client_, "rekey", std::move(child)));
  ASSERT_TRUE(run_until(io_, [&] { return find_event<ChildRekey>() != nullptr; }, 5s));
  EXPECT_EQ(find_event<ChildRekey>()->before.spi_in, sa.children[0].spi_in);
  EXPECT_NE(find_event<ChildRekey>()->after.spi_in, sa.children[0].spi_in);
  ViciMessage ike;
  ike.add("ike", "paris-ce1/gw-a");
  ASSERT_TRUE(command(client_, "rekey", std::move(ike)));
  ASSERT_TRUE(run_until(io_, [&] { return find_event<IkeRekey>() != nullptr; }, 5s));

  // Until the old IKE_SA is deleted, terminate reports that it could not end them all.
  ASSERT_TRUE(gw::test::eventually(
      [&] { return await(io_, client_.stream("list-sas", "list-sa", {}, 5s)).value().size() == 1; }, 5s));
  events_.clear();
  const Status ended = command(client_, "terminate", render_terminate("paris-ce1/gw-a"));
  ASSERT_TRUE(ended) << ended.error().describe();
  ASSERT_TRUE(run_until(io_, [&] { return find_event<IkeUpdown>() != nullptr; }, 5s));
  EXPECT_EQ(find_event<IkeUpdown>()->direction, Updown::kDown);
}

TEST_F(CharonTest, WrongKeyIsAuthenticationAndNoKeyIsLogged) {
  load(client_, gateway_end());
  TunnelIntent other = site_end();
  other.psk = Secret("battery staple");
  load(peer_, other);
  const Diagnosis d = attempt();
  EXPECT_EQ(to_string(d.fault), "Authentication") << d.evidence;
  EXPECT_TRUE(d.sentence.contains("pre-shared key")) << d.sentence;
  for (const ViciEvent& e : events_) {
    const auto* line = std::get_if<LogLine>(&e);
    EXPECT_FALSE(line != nullptr && line->text.contains("correct horse"));
  }
}

TEST_F(CharonTest, WrongKeyIsSeenAsResponderToo) {
  load(client_, gateway_end());
  TunnelIntent other = site_end();
  other.psk = Secret("battery staple");
  load(peer_, other);
  follow_all();
  ASSERT_TRUE(command(peer_, "initiate", render_initiate("paris-ce1/gw-a")));
  const Diagnosis d = listen();
  EXPECT_EQ(to_string(d.fault), "Authentication") << d.evidence;
  EXPECT_TRUE(d.evidence.contains("MAC mismatched")) << d.evidence;
}

TEST_F(CharonTest, WrongIdentityIsAuthentication) {
  load(client_, gateway_end());
  TunnelIntent other = site_end();
  other.local.identity = "ce2.paris.example";
  load(peer_, other);
  const Diagnosis d = attempt();
  EXPECT_EQ(to_string(d.fault), "Authentication") << d.evidence;
}

TEST_F(CharonTest, IkeProposalsThatDoNotMeet) {
  load(client_, gateway_end());
  TunnelIntent other = site_end();
  other.ike_proposals = {{"AES128", "SHA256", "DHGroup14"}};
  load(peer_, other);
  const Diagnosis d = attempt();
  EXPECT_EQ(to_string(d.fault), "IkePolicyMismatch") << d.evidence;
  EXPECT_TRUE(d.sentence.contains("IKE proposals")) << d.sentence;
}

TEST_F(CharonTest, IpsecProposalsThatDoNotMeet) {
  load(client_, gateway_end());
  TunnelIntent other = site_end();
  other.esp_proposals = {"aes128gcm16-noesn"};
  load(peer_, other);
  const Diagnosis d = attempt();
  EXPECT_EQ(to_string(d.fault), "IkePolicyMismatch") << d.evidence;
  EXPECT_TRUE(d.sentence.contains("IPsec proposals")) << d.sentence;
}

TEST_F(CharonTest, SelectorsThatDoNotMeet) {
  TunnelIntent ours = gateway_end();
  ours.local_selectors = {Prefix::parse("10.0.0.0/16").value()};
  ours.remote_selectors = {Prefix::parse("10.20.0.0/16").value()};
  load(client_, ours);
  TunnelIntent other = site_end();
  other.local_selectors = {Prefix::parse("10.99.0.0/16").value()};
  other.remote_selectors = {Prefix::parse("10.98.0.0/16").value()};
  load(peer_, other);
  const Diagnosis d = attempt();
  EXPECT_EQ(to_string(d.fault), "TrafficSelectorMismatch") << d.evidence;
}

TEST_F(CharonTest, APeerThatIsNotThere) {
  TunnelIntent nobody = gateway_end();
  nobody.remote.address = IpAddress::parse("198.51.100.77").value();
  load(client_, nobody);
  const Diagnosis d = attempt();
  EXPECT_EQ(to_string(d.fault), "PeerReachability") << d.evidence;
}

TEST_F(CharonTest, AStrangerAsResponder) {
  TunnelIntent elsewhere = gateway_end();
  elsewhere.remote.address = IpAddress::parse("198.51.100.77").value();
  load(client_, elsewhere);
  load(peer_, site_end());
  follow_all();
  ASSERT_TRUE(command(peer_, "initiate", render_initiate("paris-ce1/gw-a")));
  const Diagnosis d = listen();
  EXPECT_EQ(to_string(d.fault), "ConnectionNotConfiguredOnGateway") << d.evidence;
}

TEST_F(CharonTest, ALateAnswerIsNotTakenForTheNextOne) {
  gateway_->process().signal(SIGSTOP);
  const auto late = await(io_, client_.request("stats", {}, 200ms));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kTimeout);
  gateway_->process().signal(SIGCONT);
  const auto version = await(io_, client_.request("version", {}, 2s));
  ASSERT_TRUE(version) << version.error().describe();
  EXPECT_EQ(version->text("daemon"), "charon-systemd");
  EXPECT_FALSE(closed_);
}

TEST_F(CharonTest, KilledAndBack) {
  gateway_->process().signal(SIGSTOP);
  std::optional<Error> pending;
  asio::co_spawn(io_, client_.request("stats", {}, 10s), [&](std::exception_ptr, Result<ViciMessage> answer) {
    if (!answer) pending = answer.error();
  });
  io_.restart();
  io_.run_for(50ms);
  gateway_->process().end(SIGKILL);
  ASSERT_TRUE(run_until(io_, [&] { return closed_ && pending; }, 2s));
  EXPECT_EQ(pending->code, Errc::kClosed);
  EXPECT_FALSE(client_.is_open());
  EXPECT_EQ(await(io_, client_.request("version", {}, 1s)).error().code, Errc::kClosed);
  std::filesystem::remove(gateway_->socket());
  EXPECT_EQ(await(io_, client_.connect(gateway_->socket(), 1s)).error().code, Errc::kIo);
  gateway_->start();
  ASSERT_TRUE(run_until(io_, [&] { return await(io_, client_.connect(gateway_->socket(), 1s)).has_value(); }, 5s));
  load(client_, gateway_end());
}

}  // namespace
}  // namespace gw::ike
