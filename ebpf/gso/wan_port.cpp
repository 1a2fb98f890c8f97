#include "ebpf/gso/wan_port.hpp"

#include <linux/sock_diag.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/wire.hpp"
#include "ebpf/net/ip_statistics.hpp"

namespace gw::gso {
using worker::Burst;

namespace {

constexpr std::uint8_t kKeepalive = 0xff;  // RFC 3948 2.3
constexpr std::size_t kMarkerBytes = 4;    // RFC 3948 2.2
constexpr std::size_t kEspHeaderBytes = 8;

bool kernel_has_ipv6() {
  const Fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return static_cast<bool>(fd) || errno != EAFNOSUPPORT;
}

}  // namespace

Result<WanPort::Sockets> WanPort::Sockets::open(EspReceiving receiving) {
  Sockets s;
  GW_TRY_ASSIGN(s.udp4, open_nat_t(Family::kV4));
  GW_TRY_ASSIGN(s.raw4, open_raw_esp(Family::kV4, receiving));
  if (!kernel_has_ipv6()) return s;
  GW_TRY_ASSIGN(s.udp6, open_nat_t(Family::kV6));
  GW_TRY_ASSIGN(s.raw6, open_raw_esp(Family::kV6, receiving));
  return s;
}

Result<WanPort::Sockets> WanPort::Sockets::adopt(std::vector<Fd> fds) {
  Sockets s;
  if (fds.size() == 4) {
    s = {std::move(fds[0]), std::move(fds[1]), std::move(fds[2]), std::move(fds[3])};
  } else if (fds.size() == 2) {
    s.udp4 = std::move(fds[0]);
    s.raw4 = std::move(fds[1]);
  } else {
    return fail(Errc::kInvalidArgument, std::format("{} sockets are no gso port's", fds.size()));
  }
  return s;
}

Result<std::unique_ptr<WanPort>> WanPort::make(Parts parts) {
  GW_TRY_ASSIGN(auto receiver, Receiver::make());
  return std::unique_ptr<WanPort>(new WanPort(std::move(parts), std::move(receiver)));
}

WanPort::WanPort(Parts parts, std::unique_ptr<Receiver> receiver)
    : Port(Framing::kIp),
      parts_(std::move(parts)),
      receiver_(std::move(receiver)),
      sender_(
          {parts_.sockets.udp4.get(), parts_.sockets.udp6.get(), parts_.sockets.raw4.get(), parts_.sockets.raw6.get()},
          {parts_.wan_ifindex}),
      sources_{{{parts_.sockets.udp4.get(), Receiver::Kind::kUdp},
                {parts_.sockets.udp6.get(), Receiver::Kind::kUdp},
                {parts_.sockets.raw4.get(), Receiver::Kind::kRaw4},
                {parts_.sockets.raw6.get(), Receiver::Kind::kRaw6}}} {
  for (Source& s : sources_) {
    s.ready = s.fd >= 0;
    if (s.ready) fds_.push_back(s.fd);
  }
  if (parts_.tells_reassembly) reassembly_before_ = net::reassembly_failures();
}

void WanPort::ready(int fd) {
  for (Source& s : sources_) s.ready |= s.fd == fd;
}

/// Asks the sockets that have something, in turn: none starves the others. False: none has.
bool WanPort::refill() {
  if (!reading()) return false;
  for (std::size_t tries = 0; tries < sources_.size(); ++tries) {
    Source& source = sources_[next_];
    next_ = (next_ + 1) % sources_.size();
    if (!source.ready) continue;
    train_ = {};
    messages_ = receiver_->receive(source.fd);
    message_ = 0;
    kind_ = source.kind;
    source.ready = !receiver_->drained();
    if (messages_ > 0) return true;
  }
  return false;
}

void WanPort::receive(Burst& burst) {
  // Once a call: what is no ESP, as much of it as there may be, keeps the worker from nothing else.
  bool asked = false;
  while (!burst.full()) {
    if (at_ < train_.bytes.size()) {
      take(burst);
      continue;
    }
    if (message_ < messages_) {
      at_ = 0;
      if (!receiver_->read(message_++, kind_, train_) || train_.bytes.empty()) {
        train_ = {};
        drops[GW_DROP_TRUNCATED].add();
      }
      continue;
    }
    // Packets of this burst are in the buffers that the next call would overwrite.
    if (burst.count > 0 || std::exchange(asked, true) || !refill()) break;
  }
  rx_packets.add(burst.count);
  parts_.ike.ring();
}

/// Packets of the train, as many as fit.
void WanPort::take(Burst& burst) {
  for (; at_ < train_.bytes.size() && !burst.full(); at_ += train_.segment_bytes) {
    const auto bytes =
        train_.bytes.subspan(at_, std::min<std::size_t>(train_.segment_bytes, train_.bytes.size() - at_));
    if (!is_esp(bytes)) continue;
    const std::size_t i = burst.add();
    esp::Packet& p = burst.packets[i];
    p.base = bytes.data();
    p.capacity = p.length = static_cast<std::uint32_t>(bytes.size());
    p.source = train_.source;
    p.source_port = train_.source_port;
    p.traffic_class = train_.traffic_class;
    worker::PacketMeta& meta = burst.meta[i];
    meta.layer = worker::Layer::kEsp;
    meta.key = {load_be<std::uint32_t>(bytes.data()), train_.local};
  }
}

bool WanPort::is_esp(std::span<std::uint8_t> bytes) {
  const auto drop = [this](gw_drop reason) {
    drops[reason].add();
    return false;
  };
  if (kind_ == Receiver::Kind::kUdp) {
    if (bytes.size() == 1 && bytes[0] == kKeepalive) return drop(GW_DROP_NAT_KEEPALIVE);
    if (bytes.size() >= kMarkerBytes && load_be<std::uint32_t>(bytes.data()) == 0) {
      parts_.ike.push(
          {.local = {train_.local, kNatTPort},
           .peer = {*IpAddress::from_bytes({train_.source, address_bytes(train_.local.family())}), train_.source_port},
           .scope_id = train_.scope_id,
           .traffic_class = train_.traffic_class},
          bytes);
      return false;
    }
  }
  return bytes.size() >= kEspHeaderBytes || drop(GW_DROP_TRUNCATED);
}

void WanPort::send(std::span<worker::Outgoing> packets) { sender_.send(packets); }

void WanPort::settle(std::span<const worker::Outgoing> packets) {
  for (const worker::Outgoing& p : packets)
    if (p.lost == GW_DROP_NONE) parts_.frames.give(p.frame);
}

/// The kernel drops what does not fit the sockets' buffers, and fragments that make no whole packet.
worker::Losses WanPort::losses() const {
  worker::Losses all;
  if (parts_.tells_reassembly) all.reassembly = net::reassembly_failures() - reassembly_before_;
  for (const Source& s : sources_) {
    std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
    socklen_t length = sizeof info;
    if (s.fd >= 0 && ::getsockopt(s.fd, SOL_SOCKET, SO_MEMINFO, info.data(), &length) == 0)
      all.ring_full += info[SK_MEMINFO_DROPS];
  }
  return all;
}

}  // namespace gw::gso
