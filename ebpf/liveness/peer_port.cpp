#include "ebpf/liveness/peer_port.hpp"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "base/wire.hpp"

namespace gw::liveness {
namespace {

constexpr int kDscpCs6 = 0xc0;
constexpr int kMaxReads = 64;  // of one turn: a flood does not keep the thread from its timers

BootNonce random_nonce() {
  BootNonce nonce{};
  if (::getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size())) std::abort();
  return nonce;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Address socket_address(const IpAddress& address, std::uint16_t port) {
  Address a;
  if (address.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(a.storage);
    in.sin_family = AF_INET;
    in.sin_port = host_to_be(port);
    std::memcpy(&in.sin_addr, address.bytes().data(), sizeof in.sin_addr);
    a.length = sizeof in;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(a.storage);
    in.sin6_family = AF_INET6;
    in.sin6_port = host_to_be(port);
    std::memcpy(&in.sin6_addr, address.bytes().data(), sizeof in.sin6_addr);
    a.length = sizeof in;
  }
  return a;
}

/// Connected: the kernel drops what comes from elsewhere.
Result<Fd> open_socket(const PeerSettings& s) {
  const bool v4 = s.local.is_v4();
  Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("opening the heartbeat's socket");
  const int on = 1;  // the one before may still be there
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int tos = kDscpCs6;
  (void)::setsockopt(fd.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof tos);
  const Address own = socket_address(s.local, s.port);
  if (::bind(fd.get(), own.get(), own.length) != 0)
    return fail_field("local_address", std::format("{} port {}: {}", s.local, s.port, std::strerror(errno)));
  const Address peer = socket_address(s.peer, s.port);
  if (::connect(fd.get(), peer.get(), peer.length) != 0)
    return fail_field("peer_address", std::format("{} port {}: {}", s.peer, s.port, std::strerror(errno)));
  return fd;
}

}  // namespace

Result<std::unique_ptr<PeerPort>> PeerPort::open(const PeerSettings& settings, Secret key, worker::Workers& workers,
                                                 MonoTime now) {
  GW_TRY_ASSIGN(Fd fd, open_socket(settings));
  return std::unique_ptr<PeerPort>(new PeerPort(settings, std::move(key), workers, std::move(fd), now));
}

PeerPort::PeerPort(const PeerSettings& settings, Secret key, worker::Workers& workers, Fd fd, MonoTime now)
    : settings_(settings),
      gates_(workers.shared().gates),
      workers_(workers),
      fd_(std::move(fd)),
      partner_(settings.partner, std::move(key), random_nonce(), now) {}

void PeerPort::set_claims(const std::vector<GatedClaim>& claims) {
  gate_of_.clear();
  std::vector<Claim> own;
  for (const GatedClaim& c : claims) {
    gate_of_[c.claim.endpoint] = c.gate;
    own.push_back(c.claim);
  }
  partner_.set_claims(std::move(own));
  obey_claims();
}

void PeerPort::keep_lease_of(const PeerPort& before) {
  const auto held_since = before.partner_.lease().held_since();
  const bool embedded = settings_.lease == LeaseKind::kEmbedded && before.settings_.lease == LeaseKind::kEmbedded;
  if (!embedded || !held_since) return;
  partner_.keep_lease(*held_since);
  apply_lease();
}

void PeerPort::advance(MonoTime now, Control control) {
  if (!partner_.advance(now)) return;
  partner_.set_forwarding(workers_.look());
  partner_.set_control(control);
  const auto bytes = partner_.datagram();
  apply_lease();
  // What does not leave is a heartbeat lost: the next one follows.
  (void)!::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void PeerPort::read(MonoTime now) {
  std::array<std::uint8_t, kMaxHeartbeatBytes + 1> bytes;
  for (int i = 0; i < kMaxReads; ++i) {
    const auto n = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (n < 0 && errno == ECONNREFUSED) continue;  // told of an earlier heartbeat: nobody listens yet
    if (n < 0) break;
    partner_.receive(std::span(bytes).first(static_cast<std::size_t>(n)), now);
    // First what the other one claims, then what its answer permits.
    obey_claims();
    apply_lease();
  }
}

PeerFindings PeerPort::judge(MonoTime now) {
  partner_.judge(now);
  PeerFindings findings;
  if (partner_.take_changed()) findings.status = partner_.status();
  findings.losses = partner_.take_losses();
  return findings;
}

void PeerPort::obey_claims() {
  for (const Claim& claim : partner_.status().claims) {
    if (claim.ownership != Ownership::kOwned) continue;
    const auto gate = gate_of_.find(claim.endpoint);
    if (gate != gate_of_.end() && gate->second != worker::kNoGate)
      gates_.note_other_claim(gate->second, claim.lease_epoch);
  }
}

void PeerPort::apply_lease() {
  std::uint64_t until = GW_GATE_FOREVER;
  if (settings_.lease == LeaseKind::kEmbedded)
    until = partner_.lease().until() == MonoTime::min() ? 0 : worker::boot_ns(partner_.lease().until());
  if (std::exchange(lease_ns_, until) != until) gates_.set_lease_until(until);
}

}  // namespace gw::liveness
