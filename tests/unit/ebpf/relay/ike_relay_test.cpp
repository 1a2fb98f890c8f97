// The relay between real sockets in a network namespace of its own: a peer's UDP socket on one side, charon's
// end of the Unix socket on the other. Needs root; without, only the message format is tested.
#include "ebpf/relay/ike_relay.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <optional>

namespace gw::relay {
namespace {

using Bytes = std::vector<std::uint8_t>;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Bytes message(const IkeFlow& flow, const Bytes& payload) {
  const gw_ike_datagram header = ike_header(flow);
  Bytes out(sizeof header);
  std::memcpy(out.data(), &header, sizeof header);
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

const IkeFlow kFlow4{.local = {ip("192.0.2.1"), 4500}, .peer = {ip("198.51.100.7"), 1027}, .traffic_class = 0xb8};
const IkeFlow kFlow6{.local = {ip("2001:db8::1"), 500}, .peer = {ip("fe80::7"), 500}, .scope_id = 3};

TEST(IkeMessage, RoundTrip) {
  for (const IkeFlow& flow : {kFlow4, kFlow6}) {
    const Bytes bytes = message(flow, {1, 2, 3});
    const auto parsed = parse_ike_message(bytes);
    ASSERT_TRUE(parsed) << parsed.error().describe();
    EXPECT_EQ(parsed->flow, flow);
    EXPECT_EQ(Bytes(parsed->payload.begin(), parsed->payload.end()), (Bytes{1, 2, 3}));
  }
}

TEST(IkeMessage, RefusesWhatItDoesNotKnow) {
  const Bytes good = message(kFlow4, {});
  ASSERT_TRUE(parse_ike_message(good));
  for (std::size_t length = 0; length < good.size(); ++length)
    EXPECT_FALSE(parse_ike_message(std::span(good).first(length))) << length;
  const auto with = [&](std::size_t at, std::uint8_t value) {
    Bytes changed = good;
    changed[at] = value;
    return parse_ike_message(changed);
  };
  EXPECT_FALSE(with(offsetof(gw_ike_datagram, version), 2));
  EXPECT_FALSE(with(offsetof(gw_ike_datagram, family), 5));
  EXPECT_FALSE(with(offsetof(gw_ike_datagram, local_port_be), 0)) << "only IKE's ports";
}

std::unique_ptr<IkeInbox> make_inbox(std::size_t workers) {
  auto inbox = IkeInbox::make(workers);
  EXPECT_TRUE(inbox) << inbox.error().describe();
  return std::move(*inbox);
}

struct Popped {
  IkeFlow flow;
  Bytes payload;
  friend bool operator==(const Popped&, const Popped&) = default;
};
std::optional<Popped> pop(IkeInbox& inbox) {
  Bytes buffer(GW_IKE_RELAY_MAX_PAYLOAD);
  const auto message = inbox.pop(buffer);
  if (!message) return std::nullopt;
  return Popped{message->flow, {message->payload.begin(), message->payload.end()}};
}

TEST(IkeInbox, FullIsCounted) {
  const auto inbox = make_inbox(1);
  const Bytes payload(1000, 7);
  std::uint64_t pushed = 0;
  for (; inbox->dropped() < 3; ++pushed) inbox->door(0).push(kFlow4, payload);
  for (std::uint64_t i = 0; i < pushed - 3; ++i) ASSERT_EQ(pop(*inbox), (Popped{kFlow4, payload})) << i;
  EXPECT_FALSE(pop(*inbox));
  EXPECT_GT(pushed, 900u);
}

TEST(IkeInbox, LengthsOfAllKindsAcrossTheEndOfTheRing) {
  const auto inbox = make_inbox(1);
  for (std::size_t i = 0; i < 500; ++i) {
    const Bytes payload(i * 9973 % (GW_IKE_RELAY_MAX_PAYLOAD + 1), static_cast<std::uint8_t>(i));
    inbox->door(0).push(kFlow6, payload);
    ASSERT_EQ(pop(*inbox), (Popped{kFlow6, payload})) << i;
  }
  inbox->door(0).push(kFlow6, Bytes(GW_IKE_RELAY_MAX_PAYLOAD + 1));
  EXPECT_EQ(inbox->dropped(), 1u) << "longer than any datagram";
}

TEST(IkeInbox, DoorsTakeTurns) {
  const auto inbox = make_inbox(3);
  for (const std::uint8_t door : Bytes{0, 0, 0, 2, 1}) inbox->door(door).push(kFlow4, Bytes{door});
  Bytes order;
  while (const auto message = pop(*inbox)) order.push_back(message->payload[0]);
  EXPECT_EQ(order, (Bytes{0, 1, 2, 0, 0}));
}

TEST(IkeInbox, OneWakeUpForABurst) {
  const auto inbox = make_inbox(2);
  const auto rung = [&] {
    std::uint64_t times = 0;
    return ::read(inbox->fd(), &times, sizeof times) == sizeof times ? times : 0;
  };
  inbox->door(1).ring();
  EXPECT_EQ(rung(), 0u) << "nothing was pushed";
  for (int i = 0; i < 5; ++i) inbox->door(1).push(kFlow4, Bytes{1});
  EXPECT_EQ(rung(), 0u);
  inbox->door(1).ring();
  inbox->door(1).ring();
  EXPECT_EQ(rung(), 1u);
}

/// A namespace with a loopback that is up, for the rest of the process.
bool enter_namespace() {
  static const bool entered = [] {
    if (::unshare(CLONE_NEWNET) != 0) return false;
    Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq r{};
    std::strcpy(r.ifr_name, "lo");
    r.ifr_flags = IFF_UP;
    return ::ioctl(fd.get(), SIOCSIFFLAGS, &r) == 0;
  }();
  return entered;
}

class IkeRelayTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "needs root";
    path_ = std::format("/tmp/gw-ike-relay-test-{}.sock", ::getpid());
  }

  void start(IkeInbox* inbox = nullptr) {
    IkeRelay::Parts parts{.sockets = {}, .inbox = inbox, .clock = clock_};
    for (const std::uint16_t port : {kIkePort, kNatTPort})
      for (const Family family : {Family::kV4, Family::kV6}) {
        auto socket = UdpSocket::open(port, family);
        ASSERT_TRUE(socket) << socket.error().describe();
        parts.sockets.push_back(std::move(*socket));
      }
    relay_ = std::make_unique<IkeRelay>(io_, std::move(parts));
    const auto listening = relay_->listen(path_);
    ASSERT_TRUE(listening) << listening.error().describe();
  }

  Fd connect() {
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path_.copy(a.sun_path, sizeof a.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    turn();
    return fd;
  }

  /// What is ready is done.
  void turn() {
    io_.restart();
    io_.run_for(std::chrono::milliseconds(50));
  }

  static Bytes read(const Fd& fd) {
    Bytes b(70000);
    const ssize_t n = ::recv(fd.get(), b.data(), b.size(), MSG_DONTWAIT);
    b.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return b;
  }

  std::string path_;
  boost::asio::io_context io_;
  ManualClock clock_;
  std::unique_ptr<IkeRelay> relay_;
};

/// A peer on the loopback.
struct Peer {
  explicit Peer(Family family)
      : local(family == Family::kV4 ? ip("127.0.0.1") : ip("::1")),
        fd(::socket(family == Family::kV4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    if (family == Family::kV4) {
      sockaddr_in a{.sin_family = AF_INET};
      a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      bind(a);
    } else {
      sockaddr_in6 a{.sin6_family = AF_INET6};
      a.sin6_addr = in6addr_loopback;
      bind(a);
    }
  }
  template <class Address>
  void bind(Address& a) {
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    socklen_t length = sizeof a;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &length);
    if constexpr (requires { a.sin_port; })
      port = ntohs(a.sin_port);
    else
      port = ntohs(a.sin6_port);
  }
  void send(std::uint16_t to, const Bytes& payload) const {
    ssize_t sent = 0;
    if (local.is_v4()) {
      sockaddr_in a{.sin_family = AF_INET, .sin_port = htons(to)};
      a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      const int tos = 0xb8;
      ::setsockopt(fd.get(), IPPROTO_IP, IP_TOS, &tos, sizeof tos);
      sent = ::sendto(fd.get(), payload.data(), payload.size(), 0, reinterpret_cast<sockaddr*>(&a), sizeof a);
    } else {
      sockaddr_in6 a{.sin6_family = AF_INET6, .sin6_port = htons(to)};
      a.sin6_addr = in6addr_loopback;
      const int tos = 0xb8;
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos);
      sent = ::sendto(fd.get(), payload.data(), payload.size(), 0, reinterpret_cast<sockaddr*>(&a), sizeof a);
    }
    EXPECT_EQ(sent, static_cast<ssize_t>(payload.size()));
  }
  IpAddress local;
  Fd fd;
  std::uint16_t port = 0;
};

TEST_F(IkeRelayTest, BothWaysWithAddressesPortsAndTrafficClass) {
  start();
  const Fd charon = connect();
  for (const Family family : {Family::kV4, Family::kV6}) {
    const Peer peer(family);
    for (const std::uint16_t port : {kIkePort, kNatTPort}) {
      const Bytes ike{0, 0, 0, 0, 'i', 'k', 'e'};
      peer.send(port, ike);
      turn();
      const IkeFlow flow{.local = {peer.local, port}, .peer = {peer.local, peer.port}, .traffic_class = 0xb8};
      EXPECT_EQ(read(charon), message(flow, ike));
      const Bytes answer = message(flow, {0, 0, 0, 0, 'y', 'e', 's'});
      ASSERT_GT(::send(charon.get(), answer.data(), answer.size(), 0), 0);
      turn();
      EXPECT_EQ(read(peer.fd), (Bytes{0, 0, 0, 0, 'y', 'e', 's'}));
    }
  }
  EXPECT_EQ(relay_->counters().to_charon, 4u);
  EXPECT_EQ(relay_->counters().from_charon, 4u);
}

TEST_F(IkeRelayTest, CharonIsSilentForAnEndpointThatIsNotOurs) {
  start();
  bool ours = false;
  IpAddress asked;
  relay_->only_if([&](const IpAddress& local) {
    asked = local;
    return ours;
  });
  const Fd charon = connect();
  const Peer peer(Family::kV4);
  const IkeFlow flow{.local = {peer.local, kIkePort}, .peer = {peer.local, peer.port}};
  const Bytes answer = message(flow, {'n', 'o'});
  ASSERT_GT(::send(charon.get(), answer.data(), answer.size(), 0), 0);
  turn();
  EXPECT_TRUE(read(peer.fd).empty());
  EXPECT_EQ(asked, peer.local);
  EXPECT_EQ(relay_->counters().not_ours, 1u);
  ours = true;
  ASSERT_GT(::send(charon.get(), answer.data(), answer.size(), 0), 0);
  turn();
  EXPECT_EQ(read(peer.fd), (Bytes{'n', 'o'}));
  EXPECT_EQ(relay_->counters().from_charon, 1u);
}

TEST_F(IkeRelayTest, LeavesByTheInterfaceItIsTold) {
  start();
  int ifindex = static_cast<int>(::if_nametoindex("lo"));
  relay_->leave_by([&](const IkeFlow&) { return ifindex; });
  const Fd charon = connect();
  for (const Family family : {Family::kV4, Family::kV6}) {
    const Peer peer(family);
    const Bytes answer = message({.local = {peer.local, kIkePort}, .peer = {peer.local, peer.port}}, {'y'});
    ASSERT_GT(::send(charon.get(), answer.data(), answer.size(), 0), 0);
    turn();
    EXPECT_EQ(read(peer.fd), Bytes{'y'});
  }
  ifindex = 4711;  // no interface: the kernel would send it by lo if it were not bound to this one
  const Peer peer(Family::kV4);
  const Bytes lost = message({.local = {peer.local, kIkePort}, .peer = {peer.local, peer.port}}, {'y'});
  ASSERT_GT(::send(charon.get(), lost.data(), lost.size(), 0), 0);
  turn();
  EXPECT_TRUE(read(peer.fd).empty());
  EXPECT_EQ(relay_->counters().send_failed, 1u);
}

TEST_F(IkeRelayTest, WhatIsNotIkeStaysOutside) {
  start();
  const Fd charon = connect();
  const Peer peer(Family::kV4);
  for (const Bytes& payload : {Bytes{0xff}, Bytes{}, Bytes{0, 0, 0}, Bytes{0, 0, 0, 1, 0, 0, 0, 1}})
    peer.send(kNatTPort, payload);
  turn();
  EXPECT_TRUE(read(charon).empty());
  EXPECT_EQ(relay_->counters().not_ike, 4u);
}

TEST_F(IkeRelayTest, NobodyIsThere) {
  start();
  const Peer peer(Family::kV4);
  peer.send(kIkePort, {1});
  turn();
  EXPECT_EQ(relay_->counters().away, 1u);
  const Fd charon = connect();
  peer.send(kIkePort, {2});
  turn();
  EXPECT_EQ(read(charon).back(), 2);
}

TEST_F(IkeRelayTest, ACharonThatDoesNotReadCostsOnlyDatagrams) {
  start();
  const Fd charon = connect();
  const Peer peer(Family::kV4);
  const Bytes large(1400, 1);
  for (int i = 0; i < 10000 && relay_->counters().queue_full == 0; ++i) {
    peer.send(kIkePort, large);
    if (i % 50 == 0) turn();
  }
  EXPECT_GT(relay_->counters().queue_full, 0u);
  while (!read(charon).empty()) {
  }
  peer.send(kIkePort, {9});
  turn();
  EXPECT_EQ(read(charon).back(), 9);
}

TEST_F(IkeRelayTest, TheLatestCharonWins) {
  start();
  const Fd first = connect();
  const Fd second = connect();
  std::uint8_t byte = 0;
  EXPECT_EQ(::recv(first.get(), &byte, 1, MSG_DONTWAIT), 0) << "closed";
  const Peer peer(Family::kV4);
  peer.send(kIkePort, {7});
  turn();
  EXPECT_EQ(read(second).back(), 7);
}

TEST_F(IkeRelayTest, ABrokenClientIsDisconnected) {
  start();
  const Fd charon = connect();
  ASSERT_EQ(::send(charon.get(), "x", 1, 0), 1);
  turn();
  std::uint8_t byte = 0;
  EXPECT_EQ(::recv(charon.get(), &byte, 1, MSG_DONTWAIT), 0) << "closed";
}

TEST_F(IkeRelayTest, TakesFromTheWorkersInbox) {
  const auto inbox = make_inbox(2);
  start(inbox.get());
  const Fd charon = connect();
  for (const std::uint8_t door : Bytes{0, 1}) {
    inbox->door(door).push(kFlow4, Bytes{0, 0, 0, 0, door});
    inbox->door(door).ring();
    turn();
    EXPECT_EQ(read(charon), message(kFlow4, {0, 0, 0, 0, door}));
  }
  relay_.reset();
}

TEST_F(IkeRelayTest, AFullInboxLeavesOthersTheirTurn) {
  const auto inbox = make_inbox(1);
  start(inbox.get());
  const Fd charon = connect();
  constexpr std::uint64_t kMany = 2000;
  for (std::uint64_t i = 0; i < kMany; ++i) inbox->door(0).push(kFlow4, Bytes(100));
  inbox->door(0).ring();
  io_.restart();
  ASSERT_EQ(io_.run_one(), 1u);
  const auto taken = [this] {
    const IkeRelay::Counters c = relay_->counters();
    return c.to_charon + c.queue_full;
  };
  EXPECT_LT(taken(), kMany / 10) << "one turn took all";
  turn();
  EXPECT_EQ(taken(), kMany);
  relay_.reset();
}

// Who writes an address that we have no route to into his packets chooses how often charon's answers fail.
TEST_F(IkeRelayTest, AnswersThatCannotBeSentAreNotALogFlood) {
  start();
  const Fd charon = connect();
  testing::internal::CaptureStdout();
  for (int i = 0; i < 50; ++i) {
    const Bytes answer = message(kFlow4, Bytes(32));
    ASSERT_GT(::send(charon.get(), answer.data(), answer.size(), 0), 0);
  }
  turn();
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_EQ(relay_->counters().send_failed, 50u);
  std::size_t lines = 0;
  for (std::size_t at = log.find("sending IKE"); at != std::string::npos; at = log.find("sending IKE", at + 1)) ++lines;
  EXPECT_LE(lines, 5u);
  EXPECT_GE(lines, 1u);
}

TEST_F(IkeRelayTest, ATakenPortIsNamed) {
  start();
  const auto again = UdpSocket::open(kIkePort, Family::kV4);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kAlreadyExists);
  EXPECT_TRUE(again.error().message.starts_with("UDP port 500 is taken")) << again.error().message;
  boost::asio::io_context other;
  IkeRelay second(other, {.clock = clock_});
  EXPECT_EQ(second.listen(path_).error().code, Errc::kAlreadyExists);
}

TEST_F(IkeRelayTest, AnAdoptedSocketKnowsItsPort) {
  auto socket = UdpSocket::open(kNatTPort, Family::kV6);
  ASSERT_TRUE(socket);
  auto adopted = UdpSocket::adopt(Fd(::dup(socket->fd())));
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->port(), kNatTPort);
  EXPECT_EQ(adopted->family(), Family::kV6);
  EXPECT_FALSE(UdpSocket::adopt(Fd(::socket(AF_UNIX, SOCK_STREAM, 0))));
}

}  // namespace
}  // namespace gw::relay
