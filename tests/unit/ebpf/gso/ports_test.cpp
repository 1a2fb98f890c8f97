// The ports on real sockets and a real TUN device, in a network namespace of their own: the peer is a plain socket,
// the VNet is the kernel. Needs root.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <optional>

#include "ebpf/gso/data_tun.hpp"
#include "ebpf/gso/vnet_port.hpp"
#include "ebpf/gso/wan_port.hpp"
#include "tests/unit/ebpf/esp/support.hpp"
#include "tests/unit/ebpf/gso/packets.hpp"

namespace gw::gso {
namespace {

using test::Bytes;

constexpr int kLoopback = 1;  // the first interface of a namespace
constexpr std::uint16_t kPeerPort = 4501;

int make_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return -1;
  // TCP and UDP to addresses of the loopback device are for this machine; its MTU is that of a wire.
  return std::system(
      "ip link set lo up mtu 1500 && ip addr add 10.1.0.1/24 dev lo && "
      "ip addr add 2001:db8::1/64 dev lo nodad && ip addr add 2001:db8::2/64 dev lo nodad && "
      "ip route add unreachable 203.0.113.0/24");
}

bool enter_namespace() {
  static const bool entered = make_namespace() == 0;
  return entered;
}

struct Peer {
  Peer(Family family, int type, int protocol) : v4(family == Family::kV4) {
    fd.reset(::socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    const int on = 1;
    if (v4)
      ::setsockopt(fd.get(), IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    else
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
    const auto own = address(v4 ? "127.0.0.2" : "2001:db8::2", type == SOCK_DGRAM ? kPeerPort : std::uint16_t{0});
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), size()), 0) << std::strerror(errno);
  }

  socklen_t size() const { return v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6); }
  sockaddr_storage address(const char* text, std::uint16_t port) const {
    sockaddr_storage s{};
    if (v4) {
      auto& in = reinterpret_cast<sockaddr_in&>(s);
      in.sin_family = AF_INET;
      in.sin_port = htons(port);
      ::inet_pton(AF_INET, text, &in.sin_addr);
    } else {
      auto& in = reinterpret_cast<sockaddr_in6&>(s);
      in.sin6_family = AF_INET6;
      in.sin6_port = htons(port);
      ::inet_pton(AF_INET6, text, &in.sin6_addr);
    }
    return s;
  }

  struct Datagram {
    Bytes bytes;
    int traffic_class = -1;
    std::uint16_t from_port = 0;
  };
  std::optional<Datagram> receive() const {
    pollfd p{fd.get(), POLLIN, 0};
    if (::poll(&p, 1, 500) != 1) return std::nullopt;
    Datagram d;
    d.bytes.resize(65536);
    sockaddr_storage from{};
    iovec part{d.bytes.data(), d.bytes.size()};
    alignas(cmsghdr) std::array<char, 128> control;
    msghdr m{.msg_name = &from,
             .msg_namelen = sizeof from,
             .msg_iov = &part,
             .msg_iovlen = 1,
             .msg_control = control.data(),
             .msg_controllen = control.size()};
    const ssize_t n = ::recvmsg(fd.get(), &m, 0);
    d.bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    d.from_port = ntohs(reinterpret_cast<const sockaddr_in&>(from).sin_port);
    for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) d.traffic_class = *CMSG_DATA(c);
    return d;
  }

  /// To the port; `segment`: as a train of pieces of that size.
  void send(const Bytes& bytes, std::uint16_t segment = 0) const {
    auto to = address(v4 ? "127.0.0.1" : "2001:db8::1", segment == 0xffff ? std::uint16_t{0} : kNatTPort);
    iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof segment)> control{};
    msghdr m{.msg_name = &to, .msg_namelen = size(), .msg_iov = &part, .msg_iovlen = 1};
    if (segment != 0 && segment != 0xffff) {
      m.msg_control = control.data();
      m.msg_controllen = control.size();
      cmsghdr* c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = IPPROTO_UDP;
      c->cmsg_type = UDP_SEGMENT;
      c->cmsg_len = CMSG_LEN(sizeof segment);
      std::memcpy(CMSG_DATA(c), &segment, sizeof segment);
    }
    EXPECT_EQ(::sendmsg(fd.get(), &m, 0), static_cast<ssize_t>(bytes.size())) << std::strerror(errno);
  }
  /// A raw socket takes no port.
  void send_raw(const Bytes& bytes) const { send(bytes, 0xffff); }

  bool v4;
  Fd fd;
};

Bytes esp_bytes(std::uint32_t spi, std::size_t size) {
  Bytes b(size);
  for (std::size_t i = 4; i < size; ++i) b[i] = static_cast<std::uint8_t>(i * 13 + spi);
  store_be(b.data(), spi);
  return b;
}

class WanPortTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "needs root";
    auto memory = worker::FrameMemory::create(64);
    ASSERT_TRUE(memory);
    memory_ = std::move(*memory);
    pools_ = worker::FramePools::cut(*memory_, 1);
    start(kLoopback);
  }

  void start(int wan_ifindex) {
    auto inbox = relay::IkeInbox::make(1);
    ASSERT_TRUE(inbox) << inbox.error().describe();
    inbox_ = std::move(*inbox);
    auto sockets = WanPort::Sockets::open(EspReceiving::kAll);
    ASSERT_TRUE(sockets) << sockets.error().describe();
    auto port = WanPort::make({std::move(*sockets), *pools_[0], wan_ifindex, inbox_->door(0)});
    ASSERT_TRUE(port) << port.error().describe();
    port_ = std::move(*port);
  }

  bool v4() const { return GetParam() == Family::kV4; }

  std::unique_ptr<esp::OutboundSa> make_sa(esp::Encapsulation encapsulation) {
    esp::SaParameters p = esp::test::parameters({.outer = GetParam(), .encapsulation = encapsulation});
    p.src = {esp::test::ip(v4() ? "127.0.0.1" : "2001:db8::1"), kNatTPort};
    p.dst = {esp::test::ip(v4() ? "127.0.0.2" : "2001:db8::2"), kPeerPort};
    records_.push_back(std::make_unique<esp::RuntimeRecord>());
    EXPECT_TRUE(esp::begin_outbound(*records_.back(), 3));
    auto sa = esp::OutboundSa::create(p, *backend_, *records_.back());
    EXPECT_TRUE(sa) << sa.error().describe();
    return std::move(*sa);
  }

  /// An outer packet in a frame, as encapsulation leaves it; the ESP part is `esp`.
  void queue(const esp::OutboundSa& sa, const Bytes& esp, std::uint8_t traffic_class = 0,
             std::uint16_t fragment_field = kDontFragment) {
    worker::FrameAddress frame = 0;
    ASSERT_TRUE(pools_[0]->take(frame));
    const std::size_t header = sa.header().size() - 4;
    std::uint8_t* data = pools_[0]->at(frame) + worker::kHeadroom;
    std::ranges::copy(sa.header(), data);
    if (v4()) store_be(data + 6, fragment_field);
    std::ranges::copy(esp, data + header);
    port_->queue_one() = {.data = data,
                          .length = static_cast<std::uint32_t>(header + esp.size()),
                          .frame = frame,
                          .traffic_class = traffic_class,
                          .esp_offset = static_cast<std::uint16_t>(header),
                          .sa = &sa};
  }

  /// Until `n` packets came or nothing more comes.
  std::vector<Bytes> receive(std::size_t n) {
    std::vector<Bytes> all;
    for (int tries = 0; tries < 200 && all.size() < n; ++tries) {
      for (const int fd : port_->fds()) port_->ready(fd);
      burst_.count = 0;
      port_->receive(burst_);
      for (std::size_t i = 0; i < burst_.count; ++i)
        all.emplace_back(burst_.packets[i].bytes().begin(), burst_.packets[i].bytes().end());
    }
    return all;
  }

  struct Ike {
    relay::IkeFlow flow;
    Bytes payload;
  };
  /// What went to the relay so far.
  std::vector<Ike> ike() {
    std::vector<Ike> all;
    Bytes buffer(GW_IKE_RELAY_MAX_PAYLOAD);
    while (const auto message = inbox_->pop(buffer))
      all.push_back({message->flow, {message->payload.begin(), message->payload.end()}});
    return all;
  }
  std::unique_ptr<esp::CryptoBackend> backend_ = esp::test::backend(esp::BackendChoice::kAuto);
  std::vector<std::unique_ptr<esp::RuntimeRecord>> records_;
  std::unique_ptr<worker::FrameMemory> memory_;
  std::vector<std::unique_ptr<worker::FramePool>> pools_;
  std::unique_ptr<relay::IkeInbox> inbox_;
  std::unique_ptr<WanPort> port_;
  worker::Burst burst_;
};

TEST_P(WanPortTest, TrainsLeaveAsDatagrams) {
  const Peer peer(GetParam(), SOCK_DGRAM, 0);
  const auto sa = make_sa(esp::Encapsulation::kUdp);
  std::vector<Bytes> sent;
  for (std::uint32_t i = 0; i < 10; ++i) sent.push_back(esp_bytes(0x1000 + i, i == 7 ? 300 : 400));
  for (const Bytes& b : sent) queue(*sa, b, b == sent[9] ? 0xb8 : 0x28);
  const std::size_t free = pools_[0]->free_frames();
  std::size_t looked_at = 0;
  const auto flushed = port_->flush([&](std::span<const worker::Outgoing> packets) {
    looked_at = packets.size();
    EXPECT_EQ(pools_[0]->free_frames(), free) << "nobody else has a frame while it is looked at";
  });
  EXPECT_EQ(looked_at, sent.size());
  for (const worker::Outgoing& o : flushed) EXPECT_EQ(o.lost, GW_DROP_NONE);
  EXPECT_EQ(pools_[0]->free_frames(), free + sent.size());
  for (const Bytes& b : sent) {
    const auto got = peer.receive();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->bytes, b);
    EXPECT_EQ(got->from_port, kNatTPort);
    EXPECT_EQ(got->traffic_class, b == sent[9] ? 0xb8 : 0x28);
  }
  EXPECT_EQ(port_->tx_packets.get(), 10);
}

TEST_P(WanPortTest, TrainsArriveAsPackets) {
  const Peer peer(GetParam(), SOCK_DGRAM, 0);
  Bytes train;
  std::vector<Bytes> expected;
  for (std::uint32_t i = 0; i < 40; ++i) {
    expected.push_back(esp_bytes(0x2000 + i, i == 39 ? 64 : 200));
    train.insert(train.end(), expected.back().begin(), expected.back().end());
  }
  peer.send(train, 200);
  for (std::uint32_t i = 0; i < 50; ++i) {
    expected.push_back(esp_bytes(0x3000 + i, 1200 - i));
    peer.send(expected.back());
  }
  EXPECT_EQ(receive(90), expected);
  const worker::PacketMeta& meta = burst_.meta[burst_.count - 1];
  const esp::Packet& last = burst_.packets[burst_.count - 1];
  EXPECT_EQ(meta.layer, worker::Layer::kEsp);
  EXPECT_EQ(meta.frame, worker::kBorrowed);
  EXPECT_EQ(meta.key.spi, 0x3000 + 49);
  EXPECT_EQ(meta.key.dst, esp::test::ip(v4() ? "127.0.0.1" : "2001:db8::1"));
  EXPECT_EQ(last.source_port, kPeerPort);
  EXPECT_EQ(std::memcmp(last.source, esp::test::ip(v4() ? "127.0.0.2" : "2001:db8::2").bytes().data(), v4() ? 4 : 16),
            0);
}

TEST_P(WanPortTest, WhatIsNotEspIsToldApart) {
  const Peer peer(GetParam(), SOCK_DGRAM, 0);
  const Bytes ike{0, 0, 0, 0, 'i', 'k', 'e'};
  peer.send({0xff});
  peer.send({1, 2, 3});
  peer.send({});
  peer.send(ike);
  peer.send({0, 0, 1, 0, 5, 6, 7});  // an SPI, but no whole ESP header
  const Bytes esp = esp_bytes(0x4000, 8);
  peer.send(esp);
  EXPECT_EQ(receive(1), std::vector<Bytes>{esp});
  EXPECT_EQ(port_->drops[GW_DROP_NAT_KEEPALIVE].get(), 1);
  EXPECT_EQ(port_->drops[GW_DROP_TRUNCATED].get(), 3);
  const auto got = this->ike();
  ASSERT_EQ(got.size(), 1);
  EXPECT_EQ(got[0].payload, ike);
  EXPECT_EQ(got[0].flow.peer.port, kPeerPort);
  EXPECT_EQ(got[0].flow.peer.address, esp::test::ip(v4() ? "127.0.0.2" : "2001:db8::2"));
  EXPECT_EQ(got[0].flow.local.address, esp::test::ip(v4() ? "127.0.0.1" : "2001:db8::1"));
  EXPECT_EQ(got[0].flow.local.port, kNatTPort);
}

// A DPD request behind data: a shorter datagram of the same flow ends a train, and a train has one receiver.
TEST_P(WanPortTest, IkeAtTheEndOfATrainArrives) {
  const Peer peer(GetParam(), SOCK_DGRAM, 0);
  const Bytes esp = esp_bytes(0x2000, 200);
  const Bytes dpd{0, 0, 0, 0, 'i', 'k', 'e'};
  Bytes train = esp;
  train.insert(train.end(), dpd.begin(), dpd.end());
  peer.send(train, 200);
  EXPECT_EQ(receive(1), std::vector<Bytes>{esp});
  (void)receive(1);
  const auto got = ike();
  ASSERT_EQ(got.size(), 1);
  EXPECT_EQ(got[0].payload, dpd);
}

// However much IKE there is, others get their turn: a call asks the sockets once, and wakes the relay once.
TEST_P(WanPortTest, AFloodOfIkeDoesNotKeepTheWorker) {
  const Peer peer(GetParam(), SOCK_DGRAM, 0);
  constexpr std::size_t kSent = 4 * Receiver::kMessages;
  for (std::size_t i = 0; i < kSent; ++i) peer.send(Bytes(32 + i % 7, 0));  // of no two lengths in a row: no trains
  std::size_t all = 0;
  for (int calls = 0; all < kSent && calls < 100; ++calls) {
    for (const int fd : port_->fds()) port_->ready(fd);
    burst_.count = 0;
    port_->receive(burst_);
    EXPECT_EQ(burst_.count, 0);
    const std::size_t got = ike().size();
    EXPECT_LE(got, Receiver::kMessages);
    std::uint64_t rung = 0;
    EXPECT_EQ(::read(inbox_->fd(), &rung, sizeof rung), got > 0 ? 8 : -1);
    EXPECT_LE(rung, 1);
    all += got;
  }
  EXPECT_EQ(all, kSent);
}

TEST_P(WanPortTest, NativeEspBothWays) {
  const Peer peer(GetParam(), SOCK_RAW, IPPROTO_ESP);
  const auto sa = make_sa(esp::Encapsulation::kNative);
  std::vector<Bytes> sent{esp_bytes(0x5000, 400), esp_bytes(0x5001, 400), esp_bytes(0x5002, 100)};
  for (const Bytes& b : sent) queue(*sa, b, 0x28);
  for (const worker::Outgoing& o : port_->flush()) EXPECT_EQ(o.lost, GW_DROP_NONE);
  for (const Bytes& b : sent) {
    auto got = peer.receive();
    ASSERT_TRUE(got);
    if (v4()) got->bytes.erase(got->bytes.begin(), got->bytes.begin() + 20);
    EXPECT_EQ(got->bytes, b);
    EXPECT_EQ(got->traffic_class, 0x28);
  }
  (void)receive(3);  // the port's wildcard socket has seen them, too
  const Bytes back = esp_bytes(0x6000, 333);
  peer.send_raw(back);
  EXPECT_EQ(receive(1), std::vector<Bytes>{back});
  EXPECT_EQ(burst_.meta[0].key.spi, 0x6000);
  EXPECT_EQ(burst_.packets[0].source_port, 0);
}

TEST_P(WanPortTest, RefusalsAreTyped) {
  const auto sa = make_sa(esp::Encapsulation::kUdp);
  queue(*sa, esp_bytes(0x7000, 1600));  // the loopback's MTU is 1500
  queue(*sa, esp_bytes(0x7001, 1600));
  queue(*sa, esp_bytes(0x7002, 100));
  const auto sent = port_->flush();
  ASSERT_EQ(sent.size(), 3);
  EXPECT_EQ(sent[0].lost, GW_DROP_TOO_BIG);
  EXPECT_EQ(sent[1].lost, GW_DROP_TOO_BIG);
  EXPECT_EQ(sent[2].lost, GW_DROP_NONE) << "those behind go on";
}

TEST_P(WanPortTest, AWanInterfaceThatWentAway) {
  start(99);
  const auto sa = make_sa(esp::Encapsulation::kUdp);
  queue(*sa, esp_bytes(0x7000, 100));
  const auto sent = port_->flush();
  ASSERT_EQ(sent.size(), 1);
  EXPECT_EQ(sent[0].lost, GW_DROP_UNREACHABLE);
}

INSTANTIATE_TEST_SUITE_P(Families, WanPortTest, testing::Values(Family::kV4, Family::kV6),
                         [](const auto& row) { return row.param == Family::kV4 ? "v4" : "v6"; });

class VnetPortTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "needs root";
    auto memory = worker::FrameMemory::create(64);
    ASSERT_TRUE(memory);
    memory_ = std::move(*memory);
    pools_ = worker::FramePools::cut(*memory_, 1);
    auto tun = DataTun::open(DataTun::kName, 1);
    ASSERT_TRUE(tun) << tun.error().describe();
    tun_ = std::move(*tun);
    port_ = std::make_unique<VnetPort>(VnetPort::Parts{tun_->take_queue(0), *pools_[0], tun_->udp()});
    ASSERT_EQ(std::system("ip route add 192.0.2.0/24 dev gw-data"), 0);  // RFC 5737: the remote site
  }

  std::vector<Bytes> receive() {
    std::vector<Bytes> all;
    do {
      for (const int fd : port_->fds()) port_->ready(fd);
      burst_.count = 0;
      port_->receive(burst_);
      for (std::size_t i = 0; i < burst_.count; ++i) {
        EXPECT_EQ(burst_.meta[i].layer, worker::Layer::kIp);
        EXPECT_GE(burst_.packets[i].offset, esp::kMaxHeadroom);
        EXPECT_GE(burst_.packets[i].tailroom(), esp::kMaxTailroom);
        all.emplace_back(burst_.packets[i].bytes().begin(), burst_.packets[i].bytes().end());
      }
    } while (burst_.count > 0);
    return all;
  }

  std::unique_ptr<worker::FrameMemory> memory_;
  std::vector<std::unique_ptr<worker::FramePool>> pools_;
  std::optional<DataTun> tun_;
  std::unique_ptr<VnetPort> port_;
  worker::Burst burst_;
};

TEST_F(VnetPortTest, SuperpacketsAreCut) {
  const Fd host(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  ::inet_pton(AF_INET, "192.0.2.5", &to.sin_addr);
  const int segment = 500;
  ASSERT_EQ(::setsockopt(host.get(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment), 0);
  Bytes payload(100 * 500 - 321);
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  ASSERT_EQ(::sendto(host.get(), payload.data(), 64 * 500 - 321, 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
            64 * 500 - 321);
  ASSERT_EQ(::sendto(host.get(), payload.data(), 30, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 30);

  const auto packets = receive();
  ASSERT_EQ(packets.size(), 65);
  Bytes joined;
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(packets[i].size(), i == 63 ? 28u + 179 : 28u + 500);
    EXPECT_TRUE(test::checksum_right(packets[i], Family::kV4)) << i;
    joined.insert(joined.end(), packets[i].begin() + 28, packets[i].end());
  }
  EXPECT_TRUE(std::equal(joined.begin(), joined.end(), payload.begin()));
  EXPECT_EQ(packets[64].size(), 58);
  EXPECT_TRUE(test::checksum_right(packets[64], Family::kV4)) << "left to the card by the kernel";
}

TEST_F(VnetPortTest, MergedPacketsReachTheirHost) {
  const Fd host(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_port = htons(5201);
  ::inet_pton(AF_INET, "10.1.0.1", &own.sin_addr);
  ASSERT_EQ(::bind(host.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  std::vector<Bytes> packets;
  for (std::uint16_t i = 0; i < 20; ++i) {
    Bytes p = test::make({.protocol = 17, .payload = 700, .id = i, .seed = i + 1u});
    ::inet_pton(AF_INET, "10.1.0.1", &p[16]);
    test::finish(p, Family::kV4);
    packets.push_back(std::move(p));
  }
  packets[10].back() ^= 1;  // its checksum is wrong now
  std::vector<Bytes> sent = packets;
  for (Bytes& p : sent) port_->queue_one() = {.data = p.data(), .length = static_cast<std::uint32_t>(p.size())};
  for (const worker::Outgoing& o : port_->flush()) EXPECT_EQ(o.lost, GW_DROP_NONE);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    if (i == 10) continue;  // the kernel has looked at it and thrown it away
    Bytes got(2000);
    const ssize_t n = ::recv(host.get(), got.data(), got.size(), 0);
    ASSERT_EQ(n, 700) << i;
    EXPECT_TRUE(std::equal(got.begin(), got.begin() + n, packets[i].begin() + 28)) << i;
  }
  Bytes more(10);
  EXPECT_EQ(::recv(host.get(), more.data(), more.size(), 0), -1);
  EXPECT_TRUE(receive().empty()) << "nothing that is written comes back";
}

}  // namespace
}  // namespace gw::gso
