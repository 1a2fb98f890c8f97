// Fragments of outer packets in any order, and bytes that are none. An input is a list of operations. Whatever becomes
// whole has the sender's bytes everywhere: every fragment made here carries at each offset the byte that belongs there,
// so a datagram with a wrong byte, a hole or a wrong length is a fault of reassembly. Places are never exceeded.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/ip/fragment.hpp"
#include "ebpf/ip/reassembly.hpp"

namespace gw::ip {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr ReassemblyLimits kLimits{.peer_datagrams = 6,
                                   .stranger_datagrams = 3,
                                   .datagrams_per_source = 4,
                                   .datagram_bytes = 512,
                                   .fragments_per_datagram = 8};

void require(bool condition) {
  if (!condition) std::abort();
}

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t b = rest_.front();
    rest_ = rest_.subspan(1);
    return b;
  }
  std::span<const std::uint8_t> bytes(std::size_t n) {
    const auto taken = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

// The datagram's own bytes: by its sender, its id and the place in it.
std::uint8_t content(std::uint8_t sender, std::uint8_t id, std::uint32_t at) {
  return static_cast<std::uint8_t>(sender * 31U + id * 7U + at + (at >> 8) * 101U);
}

struct Piece {
  Family family;
  std::uint8_t sender;
  std::uint8_t id;
  std::uint8_t ecn;
  std::uint16_t offset;  // units of 8 bytes
  std::uint16_t length;  // bytes
  bool more;
  bool options;  // IPv4: 40 bytes of them
};

Bytes packet_of(const Piece& f) {
  const bool v4 = f.family == Family::kV4;
  const std::size_t header = v4 ? (f.options ? kMaxV4Header : 20) : 48;
  Bytes p(header + f.length);
  if (v4) {
    p[0] = static_cast<std::uint8_t>(0x40 | header / 4);
    std::fill(p.begin() + 20, p.begin() + static_cast<std::ptrdiff_t>(header), std::uint8_t{1});  // no operation
    p[1] = f.ecn;
    store_be(&p[2], static_cast<std::uint16_t>(p.size()));
    store_be(&p[4], std::uint16_t{f.id});
    store_be(&p[6], static_cast<std::uint16_t>((f.more ? 0x2000 : 0) | (f.offset & 0x1fff)));
    p[8] = 64;
    p[9] = 50;
    p[15] = f.sender;
    p[19] = 1;
    store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), header))));
  } else {
    p[0] = 0x60;
    p[1] = static_cast<std::uint8_t>(f.ecn << 4);
    store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
    p[6] = 44;
    p[7] = 64;
    p[23] = f.sender;
    p[39] = 1;
    p[40] = 50;
    store_be(&p[42], static_cast<std::uint16_t>((f.offset & 0x1fff) << 3 | (f.more ? 1 : 0)));
    p[47] = f.id;
  }
  for (std::uint32_t i = 0; i < f.length; ++i) p[header + i] = content(f.sender, f.id, f.offset * 8U + i);
  return p;
}

// What came out, if all of it was made by packet_of().
void check_whole(std::span<const std::uint8_t> p) {
  const bool v4 = p[0] >> 4 == 4;
  const std::size_t header = v4 ? (p[0] & 0xfU) * 4 : 40;
  require(p.size() > header);
  require(p[v4 ? 9 : 6] == 50);
  if (v4) {
    require(load_be<std::uint16_t>(&p[2]) == p.size() && (load_be<std::uint16_t>(&p[6]) & 0x3fff) == 0);
    require(esp::fold16(esp::sum16(p.data(), header)) == 0xffff);
  } else {
    require(load_be<std::uint16_t>(&p[4]) == p.size() - header);
  }
  const std::uint8_t sender = p[v4 ? 15 : 23];
  const std::uint8_t id = v4 ? p[5] : 0;
  // Over IPv6 the id went with the fragment header; it is one of four.
  const auto matches = [&](std::uint8_t guess) {
    for (std::uint32_t i = 0; i + header < p.size(); ++i)
      if (p[header + i] != content(sender, guess, i)) return false;
    return true;
  };
  require(v4 ? matches(id) : matches(0) || matches(1) || matches(2) || matches(3));
}

}  // namespace
}  // namespace gw::ip

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw::ip;
  enum Operation : std::uint8_t { kPiece, kRaw, kTime, kExpire, kOperations };
  Input input({data, size});
  Reassembler reassembler(1, kLimits);
  gw::MonoTime now{};
  bool clean = true;  // no foreign bytes so far
  while (!input.empty()) {
    const std::uint8_t op = input.byte();
    const Standing standing = (op & 0x80) != 0 ? Standing::kStranger : Standing::kPeer;
    switch (op % kOperations) {
      case kPiece: {
        const std::uint8_t who = input.byte();
        const std::uint8_t place = input.byte();
        const std::uint8_t length = input.byte();
        const Piece piece{.family = (who & 1) != 0 ? gw::Family::kV6 : gw::Family::kV4,
                          .sender = static_cast<std::uint8_t>(who >> 1 & 7),
                          .id = static_cast<std::uint8_t>(who >> 4 & 3),
                          .ecn = static_cast<std::uint8_t>(who >> 6),
                          .offset = static_cast<std::uint16_t>(place & 0x7f),
                          .length = length,
                          .more = (place & 0x80) != 0,
                          .options = (op & 0x40) != 0};
        if (reassembler.add(packet_of(piece), standing, now) != Reassembler::Outcome::kWhole) break;
        require(reassembler.packet().size() <= kLimits.datagram_bytes);
        if (clean) check_whole(reassembler.packet());
        break;
      }
      case kRaw: {
        const auto bytes = input.bytes(input.byte());
        const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());  // AddressSanitizer sees one byte too far
        const auto outcome = reassembler.add(exact, standing, now);
        if (outcome == Reassembler::Outcome::kWhole) require(reassembler.packet().size() <= kLimits.datagram_bytes);
        clean = clean && outcome == Reassembler::Outcome::kDropped;
        break;
      }
      case kTime: now += std::chrono::milliseconds(input.byte() * 100); break;
      default: reassembler.expire(now); break;
    }
    require(reassembler.datagrams() <= kLimits.peer_datagrams + kLimits.stranger_datagrams);
  }
  now += kLimits.timeout;
  reassembler.expire(now);
  require(reassembler.empty());
  return 0;
}
