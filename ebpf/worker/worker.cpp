#include "ebpf/worker/worker.hpp"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cstdlib>

#include "base/log.hpp"

namespace gw::worker {
namespace {

// Notices are rare (first packets, limits, one acquire a second and tunnel).
constexpr std::size_t kNotices = 4096;
constexpr std::size_t kCommands = 16;
// Empty rounds before sleeping: about 20 us. A wake-up costs about 5 us and a context switch; a request
// and its answer on the same link usually arrive within that, and an idle gateway still uses no CPU.
constexpr unsigned kSpinRounds = 20;
constexpr std::chrono::seconds kStuck{10};
constexpr int kParkedMs = 100;  // how often parked packets are looked after while nothing else happens

// Epoll user data: tunnel slots are themselves.
constexpr std::uint64_t kPortData = std::uint64_t{1} << 32;
constexpr std::uint64_t kCommandData = std::uint64_t{2} << 32;

void signal_event(int fd) {
  const std::uint64_t one = 1;
  (void)!::write(fd, &one, sizeof one);
}

void clear_event(int fd) {
  std::uint64_t value = 0;
  (void)!::read(fd, &value, sizeof value);
}

}  // namespace

Worker::Worker(Parts parts, const Clock& clock)
    : frames_(std::move(parts.frames)),
      wan_(std::move(parts.wan)),
      vnet_(std::move(parts.vnet)),
      raw_(std::move(parts.raw)),
      crypto_(std::move(parts.crypto)),
      tunnels_(parts.max_tunnels),
      notices_(kNotices),
      commands_(kCommands),
      data_path_({*frames_, *wan_, *vnet_, raw_, *crypto_, clock, parts.fib, notices_, tunnels_, counters_}) {}

Result<std::unique_ptr<Worker>> Worker::start(Parts parts, const Clock& clock) {
  std::unique_ptr<Worker> worker(new Worker(std::move(parts), clock));
  GW_TRY(worker->set_up());
  worker->thread_ = std::thread(&Worker::run, worker.get());
  (void)::pthread_setname_np(worker->thread_.native_handle(), "gw-worker-0");
  return worker;
}

Status Worker::set_up() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  command_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  notice_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_ || !command_event_ || !notice_event_) return fail_errno("making the worker's event descriptors");
  const auto watch = [&](int fd, std::uint64_t data) {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = data;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0;
  };
  bool ok = watch(command_event_.get(), kCommandData);
  for (const Port* port : {wan_.get(), vnet_.get()})
    for (const int fd : port->fds()) ok = ok && watch(fd, kPortData);
  if (!ok) return fail_errno("watching the ports");
  return {};
}

Worker::~Worker() {
  stop_ = true;
  if (command_event_) signal_event(command_event_.get());
  if (thread_.joinable()) thread_.join();
}

void Worker::call(const std::function<void(DataPath&)>& change) {
  std::binary_semaphore done(0);
  if (!commands_.push({&change, &done})) std::abort();  // one caller, which waits: the queue cannot be full
  signal_event(command_event_.get());
  if (done.try_acquire_for(kStuck)) return;
  log::error("worker", "the packet thread does not answer for {} s; ending, so that a restart helps", kStuck.count());
  std::abort();
}

Status Worker::watch_tun(TunnelSlot slot, int fd) {
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = slot;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) return fail_errno("watching the tunnel device");
  return {};
}

void Worker::unwatch_tun(int fd) { (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Worker::clear_notice_event() { clear_event(notice_event_.get()); }

std::size_t Worker::poll_port(Port& port, void (DataPath::*handle)(Burst&)) {
  burst_.count = 0;
  port.receive(burst_);
  const std::size_t n = burst_.count;
  if (n == 0) return 0;
  (data_path_.*handle)(burst_);
  counters_.bursts.add();
  counters_.packets.add(n);
  return n;
}

/// Waits for anything, then reads the devices that have packets.
std::size_t Worker::poll_events(int timeout_ms) {
  std::array<epoll_event, 64> events;
  const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  if (timeout_ms != 0) counters_.wakeups.add();
  std::size_t packets = 0;
  for (int i = 0; i < n; ++i) {
    const std::uint64_t data = events[static_cast<std::size_t>(i)].data.u64;
    if (data == kCommandData) clear_event(command_event_.get());
    if (data >= kPortData) continue;  // ports are polled every round
    const auto slot = static_cast<TunnelSlot>(data);
    const std::size_t read = data_path_.from_tun(slot);
    if (read == 0) {
      // Somebody deleted the device: the error never goes away, so stop looking.
      if (events[static_cast<std::size_t>(i)].events & (EPOLLERR | EPOLLHUP))
        unwatch_tun(data_path_.tunnel(slot).tun_fd);
      continue;
    }
    counters_.bursts.add();
    counters_.packets.add(read);
    packets += read;
  }
  return packets;
}

void Worker::run_commands() {
  while (auto command = commands_.pop()) {
    (*command->change)(data_path_);
    command->done->release();
  }
}

void Worker::run() {
  unsigned idle = 0;
  bool unsent = false;
  while (!stop_.load(std::memory_order_relaxed)) {
    // Sleeping forever is safe: everything that can bring work wakes epoll. Packets that the kernel could
    // not send yet are tried again after a millisecond.
    const int timeout = idle < kSpinRounds ? 0 : unsent ? 1 : data_path_.has_parked() ? kParkedMs : -1;
    std::size_t packets = poll_events(timeout);
    run_commands();
    packets += poll_port(*wan_, &DataPath::from_wan);
    packets += poll_port(*vnet_, &DataPath::from_vnet);
    const bool wan_unsent = wan_->maintain();
    const bool vnet_unsent = vnet_->maintain();
    unsent = wan_unsent || vnet_unsent;
    if (data_path_.has_parked()) data_path_.expire_parked();
    idle = packets > 0 ? 0 : idle + 1;
    if (data_path_.take_notified()) signal_event(notice_event_.get());
  }
  run_commands();
}

}  // namespace gw::worker
