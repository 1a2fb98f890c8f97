// Leases in a real etcd: exclusive, handed over, renewed, lost, and what happens while etcd is away.
#include "gwd/sync/etcd_lease.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <optional>

#include "gwd/sync/etcd_client.hpp"
#include "tests/support/sandbox.hpp"

namespace gw::gwd::sync {
namespace {

using std::chrono::milliseconds;

constexpr ha::Instance kA{0};
constexpr ha::Instance kB{1};
const IpAddress kE = IpAddress::from_v4(0xcb00710a);
constexpr std::chrono::seconds kTtl{3};

/// An instance's leases and what they said.
struct Instance {
  Instance(boost::asio::io_context& io, const Clock& clock, ha::Instance id)
      : self(id), lease(io, clock, [this](const ha::Event& e) { events.push_back(e); }) {}
  Status start() {
    return lease.start({.gateway = "hub",
                        .self = self,
                        .endpoints = {kE},
                        .etcd = {.endpoints = {"http://127.0.0.1:2379"}, .ttl = kTtl}});
  }
  template <class T>
  std::optional<T> last() const {
    for (auto e = events.rbegin(); e != events.rend(); ++e)
      if (const T* found = std::get_if<T>(&*e)) return *found;
    return std::nullopt;
  }
  std::optional<ha::Instance> holder() const {
    const auto told = last<ha::LeaseHolder>();
    return told ? told->holder : std::nullopt;
  }
  bool knows() const { return last<ha::LeaseHolder>().has_value(); }

  ha::Instance self;
  std::vector<ha::Event> events;
  EtcdLease lease;
};

class EtcdLeaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: a network namespace";
    if (access("/usr/bin/etcd", X_OK) != 0) GTEST_SKIP() << "needs etcd (package etcd-server)";
    static const bool once = (test::enter_namespaces({}), true);
    ASSERT_TRUE(once);
    start_etcd();
    ASSERT_TRUE(a_.start());
    ASSERT_TRUE(b_.start());
    ASSERT_TRUE(until([&] { return a_.knows() && b_.knows(); }, milliseconds(20'000))) << "etcd did not start";
  }
  void start_etcd() {
    etcd_ = test::Process({"/usr/bin/etcd", "--data-dir", data_.path() / "etcd", "--listen-client-urls",
                           "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"},
                          data_.path() / "etcd.log");
  }
  bool until(const std::function<bool()>& condition, milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      io_.restart();
      io_.run_for(milliseconds(10));
    }
    return condition();
  }
  ha::Epoch take(Instance& who, std::optional<ha::Epoch> succeeds = std::nullopt) {
    who.events.clear();
    who.lease.ask({kE, 0, succeeds});
    EXPECT_TRUE(until([&] { return who.last<ha::LeaseGranted>() || who.last<ha::LeaseDenied>(); }, milliseconds(8000)));
    const auto granted = who.last<ha::LeaseGranted>();
    return granted ? granted->epoch : 0;
  }

  test::Scratch data_;
  test::Process etcd_;
  SystemClock clock_;
  boost::asio::io_context io_;
  Instance a_{io_, clock_, kA};
  Instance b_{io_, clock_, kB};
};

TEST_F(EtcdLeaseTest, OneHoldsItAndTheOtherIsToldWho) {
  EXPECT_FALSE(a_.holder());
  const MonoTime before = clock_.now();
  const ha::Epoch epoch = take(a_);
  ASSERT_EQ(epoch, ha::next_epoch(0, kA));
  EXPECT_LE(a_.last<ha::LeaseGranted>()->until, clock_.now() + milliseconds(2700));
  EXPECT_GE(a_.last<ha::LeaseGranted>()->until, before + milliseconds(2700));
  EXPECT_EQ(take(b_), 0U);
  EXPECT_EQ(b_.last<ha::LeaseDenied>()->holder, kA);
  EXPECT_EQ(b_.last<ha::LeaseDenied>()->epoch, epoch);
  EXPECT_TRUE(until([&] { return a_.holder() == kA; }, milliseconds(2000)));
}

TEST_F(EtcdLeaseTest, BothAtOnceAndOneGetsIt) {
  for (int round = 0; round < 10; ++round) {
    a_.events.clear();
    b_.events.clear();
    a_.lease.ask({kE, 0, std::nullopt});
    b_.lease.ask({kE, 0, std::nullopt});
    const auto answered = [](const Instance& i) { return i.last<ha::LeaseGranted>() || i.last<ha::LeaseDenied>(); };
    ASSERT_TRUE(until([&] { return answered(a_) && answered(b_); }, milliseconds(8000)));
    const auto first = a_.last<ha::LeaseGranted>();
    const auto second = b_.last<ha::LeaseGranted>();
    ASSERT_TRUE(first.has_value() != second.has_value());
    Instance& winner = first ? a_ : b_;
    winner.lease.drop({kE, first ? first->epoch : second->epoch});
    ASSERT_TRUE(until([&] { return a_.knows() && !a_.holder() && b_.knows() && !b_.holder(); }, milliseconds(4000)));
  }
}

TEST_F(EtcdLeaseTest, HandedOverWithoutBeingFreeBetween) {
  const ha::Epoch first = take(a_);
  const ha::Epoch second = take(b_, first);
  EXPECT_EQ(second, ha::next_epoch(first, kB));
  a_.lease.drop({kE, first});  // late: it is attached to the other's lease
  (void)until([] { return false; }, milliseconds(600));
  EXPECT_EQ(b_.holder(), kB);
  EXPECT_EQ(take(a_, first), 0U) << "an old claim succeeds nothing";
}

TEST_F(EtcdLeaseTest, RenewedWhileHeldAndFreeSoonAfterItsHolderIsGone) {
  (void)take(a_);
  const MonoTime first = a_.last<ha::LeaseGranted>()->until;
  ASSERT_TRUE(until([&] { return a_.last<ha::LeaseRenewed>() && a_.last<ha::LeaseRenewed>()->until > first + kTtl; },
                    milliseconds(9000)));
  const MonoTime believed = a_.last<ha::LeaseRenewed>()->until;
  ASSERT_TRUE(until([&] { return b_.holder() == kA; }, milliseconds(1000)));
  a_.lease.stop();
  ASSERT_TRUE(until([&] { return !b_.holder(); }, milliseconds(9000)));
  EXPECT_GT(clock_.now(), believed) << "free while its holder may still believe in it";
  EXPECT_GT(take(b_), ha::next_epoch(0, kA));
}

TEST_F(EtcdLeaseTest, EtcdAwayIsSaidAndItsReturnTellsEverythingAgain) {
  (void)take(a_);
  etcd_.end(SIGKILL);
  ASSERT_TRUE(until([&] { return b_.last<ha::LeaseService>()->link == ha::Link::kDown; }, milliseconds(4000)));
  EXPECT_NE(b_.last<ha::LeaseService>()->words.find("127.0.0.1:2379: connect"), std::string::npos)
      << b_.last<ha::LeaseService>()->words;
  EXPECT_EQ(take(b_), 0U);
  EXPECT_FALSE(b_.last<ha::LeaseDenied>()->holder);
  b_.events.clear();
  start_etcd();
  ASSERT_TRUE(until([&] { return b_.knows(); }, milliseconds(15'000)));
  EXPECT_EQ(b_.last<ha::LeaseService>()->link, ha::Link::kUp);
}

TEST_F(EtcdLeaseTest, AForeignValueIsAFaultWithItsKey) {
  (void)take(a_);
  test::run("curl -sf http://127.0.0.1:2379/v3/kv/put -d '{\"key\":\"" + to_base64("/gw/hub/lease/203.0.113.10") +
            "\",\"value\":\"" + to_base64("hello") + "\"}'");
  ASSERT_TRUE(until([&] { return b_.last<ha::LeaseService>()->link == ha::Link::kDown; }, milliseconds(4000)));
  EXPECT_EQ(b_.last<ha::LeaseService>()->words, "etcd's key /gw/hub/lease/203.0.113.10: is not a lease");
}

/// etcd with certificates of an authority of its own, on another port.
class EtcdTlsTest : public EtcdLeaseTest {
 protected:
  void start_tls(const std::string& client_options) {
    const std::string dir = data_.path();
    test::run(
        "cd " + dir +
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt "
        "-subj /CN=ca 2>&1 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-CA ca.crt -CAkey ca.key -keyout etcd.key -out etcd.crt -subj /CN=etcd "
        "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:false 2>&1");
    tls_ = test::Process(
        {"/bin/sh", "-c",
         "exec /usr/bin/etcd --name tls --data-dir " + dir +
             "/tls --listen-peer-urls http://127.0.0.1:3380 "
             "--initial-advertise-peer-urls http://127.0.0.1:3380 --initial-cluster tls=http://127.0.0.1:3380 "
             "--listen-client-urls https://127.0.0.1:3379 --advertise-client-urls https://127.0.0.1:3379 "
             "--cert-file " +
             dir + "/etcd.crt --key-file " + dir + "/etcd.key " + client_options},
        data_.path() / "tls.log");
  }
  Status connect(const std::string& ca, const std::string& certificate, const std::string& url) {
    a_.events.clear();
    return a_.lease.start(
        {.gateway = "hub",
         .self = kA,
         .endpoints = {kE},
         .etcd = {.endpoints = {url},
                  .ca_file = data_.path() / ca,
                  .cert_file = certificate.empty() ? "" : (data_.path() / (certificate + ".crt")).string(),
                  .key_file = certificate.empty() ? "" : (data_.path() / (certificate + ".key")).string(),
                  .ttl = kTtl}});
  }
  std::string words() const {
    const auto service = a_.last<ha::LeaseService>();
    return service ? service->words : "";
  }

  test::Process tls_;
};

TEST_F(EtcdTlsTest, ThatOfItsAuthorityAndNoOther) {
  start_tls("");
  ASSERT_TRUE(connect("ca.crt", "", "https://127.0.0.1:3379"));
  ASSERT_TRUE(until([&] { return a_.knows(); }, milliseconds(15'000))) << words();
  EXPECT_NE(take(a_), 0U);
  test::run("cd " + data_.path().string() +
            " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
            "-days 2 -keyout other.key -out other.crt -subj /CN=other 2>&1");
  ASSERT_TRUE(connect("other.crt", "", "https://127.0.0.1:3379"));
  ASSERT_TRUE(until([&] { return !words().empty(); }, milliseconds(4000)));
  EXPECT_NE(words().find("127.0.0.1:3379: TLS: certificate verify failed"), std::string::npos) << words();
  ASSERT_TRUE(connect("ca.crt", "", "https://localhost:3379")) << "not a name of its certificate";
  ASSERT_TRUE(until([&] { return !words().empty(); }, milliseconds(4000)));
  EXPECT_FALSE(a_.knows());
}

TEST_F(EtcdTlsTest, OurCertificateIsShown) {
  start_tls("--client-cert-auth --trusted-ca-file " + data_.path().string() + "/ca.crt");
  ASSERT_TRUE(connect("ca.crt", "etcd", "https://127.0.0.1:3379"));
  ASSERT_TRUE(until([&] { return a_.knows(); }, milliseconds(15'000))) << words();
  ASSERT_TRUE(connect("ca.crt", "", "https://127.0.0.1:3379"));
  ASSERT_TRUE(until([&] { return !words().empty(); }, milliseconds(4000)));
  EXPECT_FALSE(a_.knows());
}

TEST(EtcdLeaseSettings, AMissingFileIsNamed) {
  boost::asio::io_context io;
  const SystemClock clock;
  EtcdLease lease(io, clock, [](const ha::Event&) {});
  const auto status = lease.start(
      {.gateway = "hub", .etcd = {.endpoints = {"https://127.0.0.1:2379"}, .ca_file = "/nowhere/ca.crt", .ttl = kTtl}});
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().describe().find("/nowhere/ca.crt: "), std::string::npos);
}

}  // namespace
}  // namespace gw::gwd::sync
