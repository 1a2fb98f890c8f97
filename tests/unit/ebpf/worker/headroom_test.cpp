// wan by sockets, vnet by Ethernet: decrypted packets begin where their ESP header was, and a link header with VLAN
// tags needs more room than that. AddressSanitizer watches the bytes in front: each packet has memory of its own.
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <array>
#include <chrono>
#include <mutex>
#include <thread>

#include "base/wire.hpp"
#include "ebpf/worker/shared.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::WorkerRig;

constexpr std::size_t kOuterBytes = 28;  // IPv4 and UDP
constexpr auto kPatience = 20s;          // sanitizers on a busy machine

class TestPort : public Port {
 public:
  explicit TestPort(Framing framing) : Port(framing), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    set_link({.ifindex = 1, .name = "test", .mac = {}, .mtu = 1500, .up = true});
    fd_ = event_.get();
  }
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {&fd_, 1}; }
  Losses losses() const override { return {}; }

 protected:
  std::mutex mutex_;
  Fd event_;

 private:
  int fd_ = -1;
};

/// As gso::WanPort: ESP, borrowed, with nothing in front.
class SocketPort final : public TestPort {
 public:
  SocketPort() : TestPort(Framing::kIp) {}
  void inject(const std::vector<Bytes>& outer) {
    const std::scoped_lock lock(mutex_);
    incoming_ = outer;
    (void)::eventfd_write(event_.get(), 1);
  }
  void receive(Burst& burst) override {
    const std::scoped_lock lock(mutex_);
    eventfd_t value = 0;
    (void)::eventfd_read(event_.get(), &value);
    if (incoming_.empty()) return;
    outer_ = std::exchange(incoming_, {});
    lent_.clear();
    for (const Bytes& packet : outer_) {
      const Bytes& esp = lent_.emplace_back(packet.begin() + kOuterBytes, packet.end());
      const std::size_t i = burst.add();
      burst.packets[i] = {.base = lent_.back().data(),
                          .capacity = static_cast<std::uint32_t>(esp.size()),
                          .offset = 0,
                          .length = static_cast<std::uint32_t>(esp.size()),
                          .source = &packet[12],
                          .source_port = load_be<std::uint16_t>(&packet[20])};
      burst.meta[i].layer = Layer::kEsp;
      burst.meta[i].key = {load_be<std::uint32_t>(esp.data()), IpAddress::from_v4(load_be<std::uint32_t>(&packet[16]))};
    }
  }

 protected:
  void send(std::span<Outgoing>) override {}
  void settle(std::span<const Outgoing>) override {}

 private:
  std::vector<Bytes> incoming_;
  std::vector<Bytes> outer_;
  std::vector<Bytes> lent_;
};

class EthernetPort final : public TestPort {
 public:
  explicit EthernetPort(FramePool& frames) : TestPort(Framing::kEthernet), frames_(frames) {}
  void receive(Burst&) override {}
  std::vector<Bytes> sent(std::size_t wanted) {
    for (const auto end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end;
         std::this_thread::sleep_for(1ms)) {
      const std::scoped_lock lock(mutex_);
      if (sent_.size() >= wanted) break;
    }
    const std::scoped_lock lock(mutex_);
    return std::exchange(sent_, {});
  }

 protected:
  void send(std::span<Outgoing> packets) override {
    const std::scoped_lock lock(mutex_);
    for (const Outgoing& packet : packets) sent_.emplace_back(packet.data, packet.data + packet.length);
  }
  void settle(std::span<const Outgoing> packets) override {
    for (const Outgoing& packet : packets) frames_.give(packet.frame);
  }

 private:
  FramePool& frames_;
  std::vector<Bytes> sent_;
};

class HeadroomTest : public testing::Test {
 protected:
  void begin(std::size_t frames, std::uint8_t header_bytes) {
    rig_.emplace(WorkerRig::Options{.workers = 1,
                                    .tunnels = 1,
                                    .frames_each = frames,
                                    .make_wan =
                                        [this](FramePool&, WorkerIndex) {
                                          auto port = std::make_unique<SocketPort>();
                                          wan_ = port.get();
                                          return port;
                                        },
                                    .make_vnet =
                                        [this](FramePool& pool, WorkerIndex) {
                                          auto port = std::make_unique<EthernetPort>(pool);
                                          vnet_ = port.get();
                                          return port;
                                        }});
    header_ = {.length = header_bytes};
    for (std::size_t i = 0; i < header_bytes; ++i) header_.bytes[i] = static_cast<std::uint8_t>(0xa0 + i);
    Neighbour neighbour;
    neighbour.header = header_;
    const Bytes inner = rig_->from_site(0, 0);
    rig_->workers().shared().neighbours.insert(IpAddress::from_v4(load_be<std::uint32_t>(&inner[16])),
                                               std::move(neighbour));
  }
  Bytes sealed(std::uint32_t number) { return rig_->seal(0, rig_->from_site(0, number)); }

  std::optional<WorkerRig> rig_;
  SocketPort* wan_ = nullptr;
  EthernetPort* vnet_ = nullptr;
  LinkHeader header_;
};

TEST_F(HeadroomTest, ALinkHeaderOfAnyLengthFits) {
  for (const std::uint8_t length : std::to_array<std::uint8_t>({14, 18, 22})) {
    begin(64, length);
    wan_->inject({sealed(1), sealed(2), sealed(3)});
    const auto frames = vnet_->sent(3);
    ASSERT_EQ(frames.size(), 3U);
    for (std::uint32_t i = 0; i < 3; ++i) {
      const Bytes& frame = frames[i];
      EXPECT_TRUE(std::equal(frame.begin(), frame.begin() + length - 2, header_.bytes.begin())) << int{length};
      EXPECT_EQ(load_be<std::uint16_t>(&frame[length - 2U]), 0x0800);
      const Bytes inner(frame.begin() + length, frame.end());
      EXPECT_EQ(inner.size(), rig_->from_site(0, i + 1).size());
      EXPECT_EQ(WorkerRig::number_of(inner), i + 1);
    }
    EXPECT_TRUE(rig_->all_frames_are_free());
  }
}

TEST_F(HeadroomTest, WithoutAFrameItIsADropWithAName) {
  begin(1, 18);
  wan_->inject({sealed(1), sealed(2)});
  EXPECT_EQ(vnet_->sent(1).size(), 1U);
  for (const auto end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end;) {
    if (rig_->workers().totals(WorkerRig::slot(0)).in_drops[GW_DROP_NO_FRAME] == 1) break;
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(rig_->workers().totals(WorkerRig::slot(0)).in_drops[GW_DROP_NO_FRAME], 1U);
}

}  // namespace
}  // namespace gw::worker
