#include "tests/bench/memory_gateway.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "ebpf/xdp/maps.hpp"
#include "tests/bench/sample_sa.hpp"

namespace gw::bench {

SourcePort::SourcePort(worker::FramePool& frames, std::uint32_t inner_bytes,
                       std::span<const std::uint32_t> destinations)
    : Port(Framing::kEthernet),
      frames_(frames),
      frame_length_(inner_bytes + worker::kEthernetBytes),
      headers_(destinations.size()) {
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    auto& h = headers_[i].bytes;
    store_be(&h[12], std::uint16_t{0x0800});
    std::ranges::copy(sample_header(static_cast<std::uint16_t>(inner_bytes), destinations[i]), &h[14]);
    store_be(&h[34], static_cast<std::uint16_t>(1024 + i % 256));  // ports, length, no checksum
    store_be(&h[36], std::uint16_t{9});
    store_be(&h[38], static_cast<std::uint16_t>(inner_bytes - 20));
  }
}

void SourcePort::receive(worker::Burst& burst) {
  if (!open_.load(std::memory_order_relaxed)) return;
  while (!burst.full()) {
    worker::FrameAddress frame = 0;
    if (!frames_.take(frame)) return;
    const std::size_t i = burst.add();
    burst.packets[i] = {.base = frames_.at(frame),
                        .capacity = worker::kFrameBytes,
                        .offset = worker::kHeadroom,
                        .length = frame_length_};
    burst.meta[i] = {.frame = frame, .layer = worker::Layer::kEthernet};
    const auto& h = headers_[next_++ % headers_.size()].bytes;
    std::memcpy(burst.packets[i].data(), h.data(), h.size());
  }
}

void SourcePort::send(std::span<worker::Outgoing>) {}

void SourcePort::settle(std::span<const worker::Outgoing> packets) {
  for (const worker::Outgoing& p : packets) frames_.give(p.frame);
}

void SinkPort::settle(std::span<const worker::Outgoing> packets) {
  for (const worker::Outgoing& p : packets) frames_.give(p.frame);
}

void SinkPort::send(std::span<worker::Outgoing> packets) {
  sent_.store(sent_.load(std::memory_order_relaxed) + packets.size(), std::memory_order_relaxed);
  const auto now = std::chrono::steady_clock::now();
  if (last_ != std::chrono::steady_clock::time_point{}) {
    const auto gap = std::chrono::nanoseconds(now - last_).count();
    if (gap > gap_ns_.load(std::memory_order_relaxed)) gap_ns_.store(gap, std::memory_order_relaxed);
  }
  last_ = now;
}

Result<std::unique_ptr<TunnelEnd>> TunnelEnd::create() {
  auto end = std::make_unique<TunnelEnd>();
  GW_TRY_ASSIGN(end->backend, esp::make_backend(esp::BackendChoice::kIpsecMb));
  GW_TRY(esp::begin_outbound(end->record, 0));
  GW_TRY_ASSIGN(end->sa, esp::OutboundSa::create(sample_sa(0x10001), *end->backend, end->record));
  return end;
}

void TunnelEnd::install(worker::DataPath& path, worker::Shared& shared) const {
  shared.set_owner(0, 0);
  shared.paths.set(0, worker::LinkHeader{{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, 14}, worker::PathTable::kUnknown);
  net::Link link;
  link.mtu = 1500;
  path.set_links(link, link);
  path.set_tunnel(0, {.id = 1, .mtu = kInnerMtu});
  path.activate(0, {.sa = sa.get(), .key = {0x10001, IpAddress::from_v4(0xc6336414)}, .path = 0});
}

fib::NextHop to_tunnel(std::uint16_t mtu) { return {GW_NEXT_HOP_TUNNELS, {{.id = 1, .slot = 0, .mtu = mtu}}, {}}; }

Result<std::unique_ptr<FibMemory>> FibMemory::create() {
  std::unique_ptr<FibMemory> memory(new FibMemory);
  const xdp::FibSize size;
  const auto map = [&]<class T>(std::span<T>& out, std::size_t count) -> Status {
    const std::size_t bytes = count * sizeof(T);
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) return fail_errno("memory for the forwarding table");
    (void)::madvise(p, bytes, MADV_NOHUGEPAGE);
    memory->areas_.emplace_back(static_cast<std::uint8_t*>(p), bytes);
    out = {static_cast<T*>(p), count};
    return {};
  };
  GW_TRY(map(memory->view_.v4_root, std::size_t{1} << GW_FIB_V4_ROOT_BITS));
  GW_TRY(map(memory->view_.v4_groups, std::size_t{size.v4_groups} * GW_FIB_NODE_ENTRIES));
  GW_TRY(map(memory->view_.v6_root, std::size_t{1} << GW_FIB_V6_ROOT_BITS));
  GW_TRY(map(memory->view_.v6_lines, size.v6_lines));
  GW_TRY(map(memory->view_.next_hops, size.next_hops));
  return memory;
}

FibMemory::~FibMemory() {
  for (const auto& area : areas_) ::munmap(area.data(), area.size());
}

}  // namespace gw::bench
