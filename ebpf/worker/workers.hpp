// All workers, what they share, and which of them owns which tunnel. The control side talks to this one object.
// Control thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/memory_use.hpp"
#include "base/result.hpp"
#include "ebpf/worker/worker.hpp"

namespace gw::worker {

/// A tunnel's counters, those of packets that its owner never saw included.
struct TunnelTotals {
  std::uint64_t in_packets = 0, in_bytes = 0, out_packets = 0, out_bytes = 0, slow_path = 0, slow_path_in = 0;
  std::uint64_t last_in_ms = 0, last_out_ms = 0;
  std::array<std::uint64_t, GW_DROP_COUNT> in_drops{}, out_drops{};
};

class Workers {
 public:
  /// Starts the threads, one for each of `parts`; at most kMaxWorkers.
  /// kResting: no packet is touched before resume().
  static Result<std::unique_ptr<Workers>> start(std::vector<Worker::Parts> parts, const Shared::Size& size,
                                                const fib::Memory& fib, const Clock& clock,
                                                Worker::Activity activity = Worker::Activity::kForwarding);

  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  /// Ends all threads and waits for them: no packet is in work any more, and none will be. Comes before the end of
  /// anything that workers were lent: SAs, tunnel devices, sockets. Changes still work, here. Twice does nothing.
  void stop();

  /// What was taken from the kernel is worked off, then nothing is touched any more: all that arrives stays in the
  /// kernel's queues. Changes still work. resume() goes on.
  void pause();
  void resume();

  /// Whether any packet waits in here: for an SA, an endpoint's owner, or other fragments.
  bool has_waiting();

  std::size_t count() const { return workers_.size(); }
  Worker& operator[](WorkerIndex index) const { return *workers_[index]; }
  std::span<const std::unique_ptr<Worker>> all() const { return workers_; }
  Shared& shared() { return shared_; }

  /// On the worker that owns the tunnel. Between two bursts, and waits; small work only.
  void call(TunnelSlot slot, const Worker::Change& change) { owner(slot).call(change); }
  /// On every worker, all at the same time.
  void call_all(const Worker::Change& change);
  /// The grace period: no packet that was in work before is any more.
  void quiesce();
  /// quiesce(), then frees what shared tables have retired.
  void reclaim();

  /// A tunnel gets the slot: the least loaded worker owns it, its counters begin at zero.
  void assign(TunnelSlot slot);
  /// The tunnel has gone; nothing uses the slot.
  void unassign(TunnelSlot slot);
  Worker& owner(TunnelSlot slot) const { return *workers_[shared_.owner(slot)]; }

  /// Tunnels that it owns.
  std::size_t load(WorkerIndex worker) const { return load_[worker]; }

  TunnelTotals totals(TunnelSlot slot) const;
  void add_counters(TunnelSlot slot, const std::function<void(TunnelCounters&)>& change) {
    call(slot, [&](DataPath&) { change(tunnels_[slot]); });
  }

  /// For people; packets wait for microseconds meanwhile.
  std::vector<MemoryUse> memory();

  /// Readable when notices of any worker wait.
  int notice_fd() const { return notice_event_.get(); }
  /// Before the first next_notice().
  void clear_notice_event();
  std::optional<Notice> next_notice();

 private:
  std::uint64_t packets_seen() const;
  std::pair<std::uint64_t, std::uint64_t> frames_in_use();
  Workers(const Shared::Size& size, std::unique_ptr<Exchange> exchange, Fd notice_event);

  Shared shared_;
  std::vector<TunnelCounters> tunnels_;
  std::unique_ptr<Exchange> exchange_;
  Fd notice_event_;
  std::vector<std::size_t> load_;  // tunnels of each worker
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace gw::worker
