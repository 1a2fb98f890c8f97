#include "ebpf/worker/workers.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>

namespace gw::worker {

Workers::Workers(const Shared::Size& size, std::unique_ptr<Exchange> exchange, Fd notice_event)
    : shared_(size),
      tunnels_(size.tunnels),
      exchange_(std::move(exchange)),
      notice_event_(std::move(notice_event)),
      load_(exchange_->workers()) {}

Result<std::unique_ptr<Workers>> Workers::start(std::vector<Worker::Parts> parts, const Shared::Size& size,
                                                const fib::Memory& fib, const Clock& clock, Worker::Activity activity) {
  if (parts.empty() || parts.size() > kMaxWorkers)
    return fail_field("workers", std::format("{} is not between 1 and {}", parts.size(), kMaxWorkers));
  GW_TRY_ASSIGN(auto exchange, Exchange::create(parts.size()));
  Fd notice_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!notice_event) return fail_errno("making the workers' event descriptor");
  std::unique_ptr<Workers> workers(new Workers(size, std::move(exchange), std::move(notice_event)));
  const Worker::Common common{workers->shared_,
                              *workers->exchange_,
                              workers->tunnels_,
                              fib,
                              clock,
                              workers->notice_fd(),
                              activity == Worker::Activity::kResting};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    GW_TRY_ASSIGN(auto worker, Worker::start(static_cast<WorkerIndex>(i), std::move(parts[i]), common));
    workers->workers_.push_back(std::move(worker));
  }
  return workers;
}

Workers::~Workers() { stop(); }

void Workers::stop() {
  for (const auto& worker : workers_) worker->request_stop();
  for (const auto& worker : workers_) worker->join();
}

std::uint64_t Workers::packets_seen() const {
  std::uint64_t seen = 0;
  for (const auto& worker : workers_) seen += worker->counters().packets.get() + worker->counters().taken_over.get();
  return seen;
}

void Workers::pause() {
  // A batch of the largest superpackets is as many bursts as this; and each may go to another worker.
  constexpr int kMostRounds = 256;
  for (const auto& worker : workers_) worker->set_reading(Reading::kNo);
  quiesce();
  for (int quiet = 0, round = 0; quiet < 2 && round < kMostRounds; ++round) {
    const std::uint64_t before = packets_seen();
    quiesce();
    quiet = packets_seen() == before ? quiet + 1 : 0;
  }
  for (const auto& worker : workers_) worker->set_activity(Worker::Activity::kResting);
  quiesce();
  // The first answer may have come from the round that was under way.
  call_all([](DataPath& d) { d.forget_waiting(); });
}

bool Workers::has_waiting() {
  std::atomic<bool> waiting = false;
  call_all([&](DataPath& d) {
    if (d.has_waiting()) waiting = true;
  });
  return waiting;
}

void Workers::resume() {
  for (const auto& worker : workers_) worker->set_reading(Reading::kYes);
  for (const auto& worker : workers_) worker->set_activity(Worker::Activity::kForwarding);
}

void Workers::call_all(const Worker::Change& change) {
  std::counting_semaphore<> done(0);
  for (const auto& worker : workers_) worker->post(change, done);
  for (std::size_t i = 0; i < workers_.size(); ++i) Worker::await(done);
}

void Workers::quiesce() {
  call_all([](DataPath&) {});
}

void Workers::reclaim() {
  if (shared_.retired() == 0) return;
  quiesce();
  shared_.reclaim();
}

void Workers::assign(TunnelSlot slot) {
  const auto least = std::ranges::min_element(load_);
  ++*least;
  tunnels_[slot].clear();
  for (const auto& worker : workers_) worker->clear_handover_drops(slot);
  shared_.set_owner(slot, static_cast<WorkerIndex>(least - load_.begin()));
}

void Workers::unassign(TunnelSlot slot) {
  --load_[shared_.owner(slot)];
  call(slot, [slot](DataPath& d) {
    d.set_tunnel(slot, {});
    d.set_rates(slot, {});
  });
}

TunnelTotals Workers::totals(TunnelSlot slot) const {
  const TunnelCounters& c = tunnels_[slot];
  TunnelTotals t{c.in_packets.get(), c.in_bytes.get(),     c.out_packets.get(), c.out_bytes.get(),
                 c.slow_path.get(),  c.slow_path_in.get(), c.last_in_ms.get(),  c.last_out_ms.get()};
  for (std::size_t i = 0; i < GW_DROP_COUNT; ++i) {
    t.in_drops[i] = c.in_drops[i].get();
    t.out_drops[i] = c.out_drops[i].get();
  }
  for (const auto& worker : workers_) {
    const HandoverDrops& lost = worker->counters().handover_drops[slot];
    t.in_drops[GW_DROP_HANDOVER_FULL] += lost.in_full.get();
    t.out_drops[GW_DROP_HANDOVER_FULL] += lost.out_full.get();
    t.in_drops[GW_DROP_NO_FRAME] += lost.in_no_frame.get();
    t.out_drops[GW_DROP_NO_FRAME] += lost.out_no_frame.get();
  }
  return t;
}

void Workers::clear_notice_event() {
  eventfd_t value = 0;
  (void)::eventfd_read(notice_event_.get(), &value);
}

std::optional<Notice> Workers::next_notice() {
  for (const auto& worker : workers_)
    if (auto notice = worker->next_notice()) return notice;
  return std::nullopt;
}

}  // namespace gw::worker
