#include "ebpf/xsk/socket.hpp"

#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>

namespace gw::xsk {
namespace {

// Copy mode sends 32 packets per system call (kernel: TX_BATCH_SIZE), then says EAGAIN.
constexpr unsigned kSendBatch = 32;

/// A ring as the kernel shows it.
template <class Ring>
void attach(Ring& ring, std::uint8_t* at, const xdp_ring_offset& offset) {
  ring.producer = reinterpret_cast<std::uint32_t*>(at + offset.producer);
  ring.consumer = reinterpret_cast<std::uint32_t*>(at + offset.consumer);
  ring.flags = reinterpret_cast<std::uint32_t*>(at + offset.flags);
  ring.ring = at + offset.desc;
  ring.size = kRingEntries;
  ring.mask = kRingEntries - 1;
}

}  // namespace

Result<std::unique_ptr<Socket>> Socket::open(Umem& umem, worker::FramePool& frames, const QueueId& id, CopyMode mode) {
  std::unique_ptr<Socket> s(new Socket(frames));
  if (!umem.first_taken_) {
    s->fill_ = &umem.first_fill_;
    s->completion_ = &umem.first_completion_;
  }
  xsk_socket_config config{};
  config.rx_size = kRingEntries;
  config.tx_size = kRingEntries;
  config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  const unsigned several = umem.per_packet_ == Umem::FramesPerPacket::kSeveral ? XDP_USE_SG : 0;
  config.bind_flags = static_cast<std::uint16_t>(XDP_USE_NEED_WAKEUP | several |
                                                 (mode == CopyMode::kZeroCopy ? XDP_ZEROCOPY : XDP_COPY));
  const int error = xsk_socket__create_shared(&s->handle_, id.interface.c_str(), id.queue, umem.handle_, &s->rx_,
                                              &s->tx_, s->fill_, s->completion_, &config);
  if (error == -EBUSY)
    return fail(Errc::kAlreadyExists,
                std::format("AF_XDP socket on {} queue {}: another program has this queue", id.interface, id.queue));
  if (error != 0) return fail_errno(std::format("AF_XDP socket on {} queue {}", id.interface, id.queue), -error);
  umem.first_taken_ = true;
  s->fd_ = xsk_socket__fd(s->handle_);
  s->refill();
  return s;
}

Result<std::unique_ptr<Socket>> Socket::adopt(Fd fd, worker::FramePool& frames) {
  std::unique_ptr<Socket> s(new Socket(frames));
  s->fd_ = fd.get();
  s->own_fd_ = std::move(fd);
  GW_TRY(s->map_rings());
  return s;
}

void Socket::go_on(const Held& held) {
  in_fill_ = held.in_fill;
  outstanding_ = held.outstanding;
  const auto look = [](auto& ring) {
    ring.cached_prod = std::atomic_ref(*ring.producer).load(std::memory_order_acquire);
    ring.cached_cons = std::atomic_ref(*ring.consumer).load(std::memory_order_acquire);
  };
  for (xsk_ring_cons* ring : {&rx_, &own_completion_}) look(*ring);
  for (xsk_ring_prod* ring : {&tx_, &own_fill_}) {
    look(*ring);
    ring->cached_cons += kRingEntries;  // libxdp keeps it one ring ahead (xsk_prod_nb_free)
  }
}

/// As in the kernel's Documentation/networking/af_xdp.rst, "Rings".
Status Socket::map_rings() {
  xdp_mmap_offsets offsets{};
  socklen_t length = sizeof offsets;
  if (::getsockopt(fd_, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) != 0)
    return fail_errno("asking an AF_XDP socket for its rings");
  const auto map = [this](auto& ring, const xdp_ring_offset& offset, off_t place, std::size_t entry) -> Status {
    const std::size_t bytes = offset.desc + kRingEntries * entry;
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, place);
    if (at == MAP_FAILED) return fail_errno("mapping a ring of an AF_XDP socket");
    mappings_.emplace_back(at, bytes);
    attach(ring, static_cast<std::uint8_t*>(at), offset);
    return {};
  };
  GW_TRY(map(rx_, offsets.rx, XDP_PGOFF_RX_RING, sizeof(xdp_desc)));
  GW_TRY(map(tx_, offsets.tx, XDP_PGOFF_TX_RING, sizeof(xdp_desc)));
  GW_TRY(map(own_fill_, offsets.fr, static_cast<off_t>(XDP_UMEM_PGOFF_FILL_RING), sizeof(std::uint64_t)));
  GW_TRY(map(own_completion_, offsets.cr, static_cast<off_t>(XDP_UMEM_PGOFF_COMPLETION_RING), sizeof(std::uint64_t)));
  return {};
}

Socket::~Socket() {
  if (handle_) xsk_socket__delete(handle_);
  for (const auto& [at, bytes] : mappings_) ::munmap(at, bytes);
}

worker::Losses Socket::losses() const {
  xdp_statistics s{};
  socklen_t length = sizeof s;
  if (::getsockopt(fd_, SOL_XDP, XDP_STATISTICS, &s, &length) != 0) return {};
  return {s.rx_dropped, s.rx_ring_full};
}

CopyMode Socket::mode() const {
  xdp_options options{};
  socklen_t length = sizeof options;
  const bool told = ::getsockopt(fd_, SOL_XDP, XDP_OPTIONS, &options, &length) == 0;
  return told && (options.flags & XDP_OPTIONS_ZEROCOPY) ? CopyMode::kZeroCopy : CopyMode::kCopy;
}

std::size_t Socket::receive(std::span<Descriptor> out) {
  std::uint32_t index = 0;
  const std::uint32_t n = xsk_ring_cons__peek(&rx_, static_cast<std::uint32_t>(out.size()), &index);
  for (std::uint32_t i = 0; i < n; ++i) {
    const xdp_desc* d = xsk_ring_cons__rx_desc(&rx_, index + i);
    out[i] = {d->addr, d->len, (d->options & XDP_PKT_CONTD) != 0};
  }
  if (n > 0) xsk_ring_cons__release(&rx_, n);
  in_fill_ -= std::min(in_fill_, n);
  return n;
}

void Socket::refill() {
  constexpr std::uint32_t kWorthwhile = 64;
  const std::uint32_t room = std::min(kRingEntries - in_fill_, xsk_prod_nb_free(fill_, kRingEntries - in_fill_));
  const auto n = std::min(room, static_cast<std::uint32_t>(frames_.free_frames()));
  std::uint32_t index = 0;
  if ((n >= kWorthwhile || in_fill_ == 0) && n > 0 && xsk_ring_prod__reserve(fill_, n, &index) == n) {
    for (std::uint32_t i = 0; i < n; ++i) {
      worker::FrameAddress frame = 0;
      frames_.take(frame);
      *xsk_ring_prod__fill_addr(fill_, index + i) = frame;
    }
    xsk_ring_prod__submit(fill_, n);
    in_fill_ += n;
  }
  if (fd_ >= 0 && xsk_ring_prod__needs_wakeup(fill_)) (void)::recvfrom(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
}

std::size_t Socket::transmit(std::span<const Descriptor> packets) {
  auto n = std::min(static_cast<std::uint32_t>(packets.size()),
                    xsk_prod_nb_free(&tx_, static_cast<std::uint32_t>(packets.size())));
  while (n > 0 && packets[n - 1].more) --n;
  std::uint32_t index = 0;
  if (n == 0 || xsk_ring_prod__reserve(&tx_, n, &index) != n) return 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    xdp_desc* d = xsk_ring_prod__tx_desc(&tx_, index + i);
    d->addr = packets[i].address;
    d->len = packets[i].length;
    d->options = packets[i].more ? XDP_PKT_CONTD : 0;
  }
  xsk_ring_prod__submit(&tx_, n);
  outstanding_ += n;
  return n;
}

bool Socket::flush() {
  if (outstanding_ == 0) return false;
  if (!xsk_ring_prod__needs_wakeup(&tx_)) return false;
  for (unsigned i = 0; i <= outstanding_ / kSendBatch; ++i) {
    if (::sendto(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0) return false;
    if (errno != EAGAIN && errno != EBUSY && errno != ENOBUFS) return false;  // ENETDOWN, ENXIO: nothing to wait for
    reap();  // a full completion ring stops transmission as well
  }
  return true;
}

void Socket::reap() {
  std::uint32_t index = 0;
  const std::uint32_t n = xsk_ring_cons__peek(completion_, kRingEntries, &index);
  for (std::uint32_t i = 0; i < n; ++i)
    frames_.give(frames_.memory().frame_of(*xsk_ring_cons__comp_addr(completion_, index + i)));
  if (n == 0) return;
  xsk_ring_cons__release(completion_, n);
  outstanding_ -= std::min(outstanding_, n);
}

}  // namespace gw::xsk
