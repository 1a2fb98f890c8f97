// The wan program against a second opinion: random changes, cuts and extensions of good packets, and a classifier that
// was written from the RFCs in the plainest way. They agree about every one.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>

#include "ebpf/xdp/maps.hpp"
#include "ebpf/xdp/programs.hpp"
#include "packets.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

constexpr std::uint32_t kKnown = 0x1001;
const IpAddress kOurs4 = ip("192.0.2.1");
const IpAddress kOurs6 = ip("2001:db8::1");

// Reading beyond the end is nothing.
class View {
 public:
  explicit View(Bytes bytes) : bytes_(std::move(bytes)) {}
  std::size_t size() const { return bytes_.size(); }
  bool has(std::size_t n) const { return n <= bytes_.size(); }
  unsigned u8(std::size_t at) const { return bytes_.at(at); }
  unsigned u16(std::size_t at) const { return u8(at) << 8 | u8(at + 1); }
  std::uint32_t u32(std::size_t at) const { return u16(at) << 16 | u16(at + 2); }
  View from(std::size_t at) const {
    return View(Bytes(bytes_.begin() + static_cast<std::ptrdiff_t>(at), bytes_.end()));
  }
  View first(std::size_t n) const {
    return View(Bytes(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(n)));
  }
  IpAddress address(std::size_t at, std::size_t length) const {
    return IpAddress::from_bytes(std::span(bytes_).subspan(at, length)).value();
  }

 private:
  Bytes bytes_;
};

gw_xdp_counter esp_is(const View& esp, const IpAddress& dst) {
  const bool local = dst == kOurs4 || dst == kOurs6;
  if (!esp.has(8)) return local ? GW_XDP_DROP_ESP_TRUNCATED : GW_XDP_PASSED;
  if (esp.u32(0) == kKnown && local) return GW_XDP_REDIRECTED;
  return local ? GW_XDP_DROP_UNKNOWN_SPI : GW_XDP_PASSED;
}

gw_xdp_counter udp_is(const View& udp, const IpAddress& dst) {
  const bool local = dst == kOurs4 || dst == kOurs6;
  if (!udp.has(8) || udp.u16(2) != 4500 || udp.u16(4) <= 8 || !udp.has(udp.u16(4))) return GW_XDP_PASSED;
  const View payload = udp.first(udp.u16(4)).from(8);
  if (payload.size() == 1 && payload.u8(0) == 0xff) return local ? GW_XDP_DROP_NAT_KEEPALIVE : GW_XDP_PASSED;
  if (!payload.has(4) || payload.u32(0) == 0) return GW_XDP_PASSED;
  return esp_is(payload, dst);
}

// Later fragments do not say what they are of: all of UDP for us are gw-fastpath's to put together.
gw_xdp_counter fragment_is(unsigned protocol, const IpAddress& dst) {
  const bool local = dst == kOurs4 || dst == kOurs6;
  return local && (protocol == 50 || protocol == 17) ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
}

gw_xdp_counter ipv4_is(const View& p) {
  if (!p.has(20) || p.u8(0) >> 4 != 4) return GW_XDP_PASSED;
  const std::size_t header = (p.u8(0) & 15) * 4;
  if (header < 20 || p.u16(2) < header || !p.has(p.u16(2))) return GW_XDP_PASSED;
  const IpAddress dst = p.address(16, 4);
  if ((p.u16(6) & 0x3fff) != 0) return fragment_is(p.u8(9), dst);
  const View payload = p.first(p.u16(2)).from(header);
  if (p.u8(9) == 50) return esp_is(payload, dst);
  return p.u8(9) == 17 ? udp_is(payload, dst) : GW_XDP_PASSED;
}

gw_xdp_counter ipv6_is(const View& p) {
  if (!p.has(40) || p.u8(0) >> 4 != 6 || !p.has(40 + p.u16(4))) return GW_XDP_PASSED;
  const IpAddress dst = p.address(24, 16);
  const unsigned next = p.u8(6);
  if (next == 44 && p.has(48)) return fragment_is(p.u8(40), dst);
  const View payload = p.first(40 + p.u16(4)).from(40);
  if (next == 50) return esp_is(payload, dst);
  return next == 17 ? udp_is(payload, dst) : GW_XDP_PASSED;
}

gw_xdp_counter expected(const Bytes& frame) {
  const View f(frame);
  std::size_t at = 12;
  for (int tags = 0; f.has(at + 2); at += 4, ++tags) {
    const unsigned type = f.u16(at);
    if (type == kIpv4Type) return ipv4_is(f.from(at + 2));
    if (type == kIpv6Type) return ipv6_is(f.from(at + 2));
    if ((type != kVlanType && type != kVlanProviderType) || tags == 2) return GW_XDP_PASSED;
  }
  return GW_XDP_PASSED;
}

int verdict_of(gw_xdp_counter what) {
  if (what == GW_XDP_REDIRECTED) return XDP_REDIRECT;
  return what == GW_XDP_PASSED ? XDP_PASS : XDP_DROP;
}

std::vector<Bytes> good_frames() {
  const Bytes known = esp(kKnown);
  const Bytes unknown = esp(0x9999);
  const Bytes ike = be32(0) + Bytes(28, 1);
  std::vector<Bytes> frames;
  for (const Bytes& content : {known, unknown}) {
    frames.push_back(ethernet(kIpv4Type) + ipv4({.protocol = 50}, content));
    frames.push_back(ethernet(kIpv4Type) + ipv4({.protocol = 50, .options = 8}, content));
    frames.push_back(ethernet(kIpv4Type) + ipv4({.protocol = 50, .fragment = 0x2000}, content));
    frames.push_back(ethernet(kIpv6Type) + ipv6({.next_header = 50}, content));
    frames.push_back(ethernet(kIpv6Type) + ipv6({.next_header = 44}, Bytes{50, 0, 0, 1} + be32(7) + content));
  }
  for (const Bytes& content : {known, unknown, ike, be32(kKnown), Bytes{0xff}}) {
    frames.push_back(ethernet(kIpv4Type) + ipv4({}, udp({}, content)));
    frames.push_back(ethernet(kIpv4Type) + ipv4({.fragment = 0x2000}, udp({}, content)));
    frames.push_back(ethernet(kIpv6Type) + ipv6({}, udp({}, content)));
    frames.push_back(ethernet(kIpv6Type) + ipv6({.next_header = 44}, Bytes{17, 0, 0, 1} + be32(7) + udp({}, content)));
  }
  const std::size_t untagged = frames.size();
  for (std::size_t i = 0; i < untagged; ++i) {
    frames.push_back(tag(frames[i], {kVlanType}));
    frames.push_back(tag(frames[i], {kVlanProviderType, kVlanType}));
  }
  return frames;
}

Bytes changed(Bytes frame, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  static constexpr std::array<std::uint8_t, 14> kTelling = {0,    1,    4,    6,    17,   44,   50,
                                                            0x45, 0x46, 0x60, 0x11, 0x94, 0x20, 0xff};
  for (std::size_t n = below(4); n > 0; --n) {
    // Mostly in the headers, mostly to values that mean something there.
    const std::size_t at = 12 + below(std::min<std::size_t>(frame.size(), 90) - 12);
    frame[at] = below(3) == 0 ? static_cast<std::uint8_t>(random()) : kTelling[below(kTelling.size())];
  }
  switch (below(4)) {
    case 0: frame.resize(14 + below(frame.size() - 13)); break;
    case 1: frame.resize(frame.size() + below(60)); break;
    default: break;
  }
  return frame;
}

TEST(WanRandom, ASecondOpinionAgrees) {
  if (!can_run()) GTEST_SKIP();
  auto maps = Maps::create({.max_sas = 8, .fib = kSmallFib});
  ASSERT_TRUE(maps) << maps.error().describe();
  auto program = WanProgram::load(*maps);
  ASSERT_TRUE(program) << program.error().describe();
  const Fd socket = unbound_xsk();
  ASSERT_TRUE(maps->set_local(std::vector{kOurs4, kOurs6}));
  ASSERT_TRUE(maps->add_spi(kKnown, kOurs4, {}) && maps->add_spi(kKnown, kOurs6, {}));
  ASSERT_TRUE(program->set_socket(0, socket.get()));

  const auto frames = good_frames();
  std::mt19937 random(20261121);
  std::array<std::size_t, GW_XDP_COUNTERS> seen{};
  for (int i = 0; i < 8'000; ++i) {
    const Bytes frame = changed(frames[static_cast<std::size_t>(random()) % frames.size()], random);
    const gw_xdp_counter what = expected(frame);
    const Counters before = maps->wan_counters();
    ASSERT_EQ(run(program->program_fd(), frame), verdict_of(what))
        << "frame " << i << ": " << testing::PrintToString(frame);
    const Counters after = maps->wan_counters();
    for (std::size_t c = 0; c < after.size(); ++c)
      ASSERT_EQ(after[c] - before[c], c == what ? 1u : 0u) << "frame " << i << ", counter " << c;
    ++seen[what];
  }
  for (const gw_xdp_counter what : {GW_XDP_REDIRECTED, GW_XDP_PASSED, GW_XDP_DROP_UNKNOWN_SPI,
                                    GW_XDP_DROP_ESP_TRUNCATED, GW_XDP_DROP_NAT_KEEPALIVE})
    EXPECT_GT(seen[what], 5u) << "the mixture reaches every verdict: " << what;
}

}  // namespace
}  // namespace gw::xdp
