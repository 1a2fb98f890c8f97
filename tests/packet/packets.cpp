#include "packets.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace gw::packet_test {

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes be16(unsigned v) { return {static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)}; }
Bytes be32(std::uint32_t v) { return be16(v >> 16) + be16(v & 0xffff); }

Bytes ethernet(std::uint16_t type, const Mac& dst) {
  return Bytes(dst.begin(), dst.end()) + Bytes(kPeerMac.begin(), kPeerMac.end()) + be16(type);
}

Bytes vlan(std::uint16_t type) { return be16(100) + be16(type); }

Bytes tag(const Bytes& frame, const std::vector<std::uint16_t>& types) {
  Bytes out(frame.begin(), frame.begin() + 12);
  for (const std::uint16_t type : types) out = out + be16(type) + be16(100);
  return out + Bytes(frame.begin() + 12, frame.end());
}

Bytes tell(Bytes frame, const Lie& lie) {
  if (lie.at != SIZE_MAX) frame[14 + lie.at] = lie.value;
  return frame;
}

namespace {
Bytes address(const IpAddress& a) { return Bytes(a.bytes().begin(), a.bytes().end()); }
}  // namespace

Bytes ipv4(const Ipv4& h, const Bytes& payload) {
  const std::size_t header = 20 + h.options;
  return Bytes{static_cast<std::uint8_t>(0x40 | header / 4), 0} + be16(static_cast<unsigned>(header + payload.size())) +
         be16(1) + be16(h.fragment) + Bytes{h.ttl, h.protocol, 0, 0} + address(h.src) + address(h.dst) +
         Bytes(h.options, 1) + payload;
}

Bytes ipv6(const Ipv6& h, const Bytes& payload) {
  return be32(0x60000000) + be16(static_cast<unsigned>(payload.size())) + Bytes{h.next_header, h.hop_limit} +
         address(h.src) + address(h.dst) + payload;
}

Bytes udp(const UdpPorts& p, const Bytes& payload, int length_off) {
  const auto length = static_cast<unsigned>(static_cast<int>(8 + payload.size()) + length_off);
  return be16(p.src) + be16(p.dst) + be16(length) + be16(0) + payload;
}

Bytes esp(std::uint32_t spi, std::size_t rest) { return be32(spi) + be32(1) + Bytes(rest, 0xaa); }

XdpOutput run_xdp(int program_fd, const Bytes& frame) {
  Bytes out(frame.size() + 256);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
              .data_size_in = static_cast<std::uint32_t>(frame.size()),
              .data_size_out = static_cast<std::uint32_t>(out.size()), .repeat = 1);
  if (const int error = bpf_prog_test_run_opts(program_fd, &options); error != 0) {
    ADD_FAILURE() << "BPF_PROG_TEST_RUN of " << frame.size() << " bytes: " << std::strerror(-error);
    return {};
  }
  out.resize(options.data_size_out);
  return {static_cast<int>(options.retval), std::move(out)};
}

int run(int program_fd, const Bytes& frame) {
  const XdpOutput out = run_xdp(program_fd, frame);
  if (out.verdict >= 0) {
    EXPECT_EQ(out.frame, frame) << "written to";
  }
  return out.verdict;
}

std::size_t shortest_skb(const Bytes& frame) {
  const unsigned type = static_cast<unsigned>(frame[12] << 8 | frame[13]);
  return type == kIpv4Type ? 14 + 20 : type == kIpv6Type ? 14 + 40 : 14;
}

Bytes for_loopback(Bytes frame) {
  if (std::equal(kOurMac.begin(), kOurMac.end(), frame.begin())) std::fill_n(frame.begin(), 6, std::uint8_t{0});
  return frame;
}

SkbOutput run_skb(int program_fd, const SkbInput& input) {
  Bytes out(70000);
  __sk_buff before{};
  __sk_buff after{};
  before.mark = input.mark;
  before.gso_segs = input.gso_segs;
  before.gso_size = input.gso_size;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = input.frame.data(), .data_out = out.data(),
              .data_size_in = static_cast<std::uint32_t>(input.frame.size()),
              .data_size_out = static_cast<std::uint32_t>(out.size()), .ctx_in = &before, .ctx_out = &after,
              .ctx_size_in = sizeof before, .ctx_size_out = sizeof after, .repeat = 1);
  if (const int error = bpf_prog_test_run_opts(program_fd, &options); error != 0) {
    ADD_FAILURE() << "BPF_PROG_TEST_RUN of " << input.frame.size() << " bytes: " << std::strerror(-error);
    return {};
  }
  out.resize(options.data_size_out);
  return {static_cast<int>(options.retval), after.mark, std::move(out)};
}

xdp::Counters only(gw_xdp_counter counter, std::uint64_t packets) {
  xdp::Counters counters{};
  counters[counter] = packets;
  return counters;
}

Fd unbound_xsk() { return Fd(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0)); }

bool can_run() {
  if (::geteuid() == 0) return true;
  std::puts("SKIP: XDP programs need root");
  return false;
}

}  // namespace gw::packet_test
