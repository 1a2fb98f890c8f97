#include "ebpf/gso/receiver.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "base/control_message.hpp"
#include "base/wire.hpp"

namespace gw::gso {
namespace {

// What is decrypted and written right after it was copied here should still be in the second-level cache.
constexpr std::size_t kCacheBytes = 256 * 1024;

void read_source(const sockaddr_storage& name, Train& t) {
  if (name.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(name);
    t.source = reinterpret_cast<const std::uint8_t*>(&in.sin_addr);
    t.source_port = be_to_host(in.sin_port);
    return;
  }
  const auto& in = reinterpret_cast<const sockaddr_in6&>(name);
  t.source = in.sin6_addr.s6_addr;
  t.source_port = be_to_host(in.sin6_port);
  t.scope_id = in.sin6_scope_id;
}

/// raw(7): IPv4 packets come with their header.
bool cut_ipv4_header(Train& t) {
  if (t.bytes.size() < 20) return false;
  const std::size_t header = (t.bytes[0] & 0xfU) * 4;
  if (header < 20 || header > t.bytes.size()) return false;
  t.traffic_class = t.bytes[1];
  t.bytes = t.bytes.subspan(header);
  return true;
}

}  // namespace

Result<std::unique_ptr<Receiver>> Receiver::make() {
  // Pages come when they are touched: a port that sees single packets uses the first of each buffer only.
  constexpr std::size_t kBytes = kMessages * kStride;
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("allocating receive buffers");
  return std::unique_ptr<Receiver>(new Receiver({static_cast<std::uint8_t*>(memory), kBytes}));
}

Receiver::Receiver(std::span<std::uint8_t> memory)
    : memory_(memory), messages_(kMessages), parts_(kMessages), names_(kMessages), controls_(kMessages) {
  for (std::size_t i = 0; i < kMessages; ++i) {
    parts_[i] = {memory_.data() + i * kStride, 65536};
    msghdr& m = messages_[i].msg_hdr;
    m.msg_name = &names_[i];
    m.msg_iov = &parts_[i];
    m.msg_iovlen = 1;
    m.msg_control = controls_[i].bytes;
    reset(i);
  }
}

Receiver::~Receiver() { ::munmap(memory_.data(), memory_.size()); }

std::size_t Receiver::receive(int fd) {
  for (std::size_t i = 0; i < received_; ++i) reset(i);
  asked_ = std::clamp<std::size_t>(wanted_, 1, kMessages);
  const int n = ::recvmmsg(fd, messages_.data(), static_cast<unsigned>(asked_), MSG_DONTWAIT, nullptr);
  // Nothing, or an ICMP error for something we sent: it was reported once, and is gone now.
  received_ = n <= 0 ? 0 : static_cast<std::size_t>(n);
  if (received_ == 0) return 0;
  std::size_t bytes = 1;
  for (std::size_t i = 0; i < received_; ++i) bytes += messages_[i].msg_len;
  wanted_ = kCacheBytes * received_ / bytes;
  return received_;
}

/// What the kernel changes in a message that it fills.
void Receiver::reset(std::size_t i) {
  msghdr& m = messages_[i].msg_hdr;
  m.msg_namelen = sizeof(sockaddr_storage);
  m.msg_controllen = kControlBytes;
}

bool Receiver::read(std::size_t i, Kind kind, Train& t) {
  msghdr& m = messages_[i].msg_hdr;
  if ((m.msg_flags & MSG_TRUNC) != 0) return false;
  t = {.bytes = {memory_.data() + i * kStride, messages_[i].msg_len}};
  read_source(names_[i], t);
  const DatagramInfo info = read_datagram_info(m);
  t.local = info.local;
  t.traffic_class = info.traffic_class;
  t.segment_bytes = info.segment_bytes;
  if (kind != Kind::kUdp) t.source_port = 0;
  if (kind == Kind::kRaw4 && !cut_ipv4_header(t)) return false;
  if (t.segment_bytes == 0) t.segment_bytes = static_cast<std::uint32_t>(std::max<std::size_t>(t.bytes.size(), 1));
  return true;
}

}  // namespace gw::gso
