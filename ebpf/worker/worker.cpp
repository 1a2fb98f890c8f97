#include "ebpf/worker/worker.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cstdlib>
#include <format>

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
// One round in so many is timed, for two looks at the clock. A prime: each wake-up has as many rounds as the other.
constexpr std::uint64_t kRoundSample = 61;

// Epoll user data: tunnel slots are themselves.
// The ports' descriptors come with their number.
constexpr std::uint64_t kWanData = std::uint64_t{1} << 32;
constexpr std::uint64_t kVnetData = std::uint64_t{2} << 32;
constexpr std::uint64_t kCircuitData = std::uint64_t{3} << 32;
constexpr std::uint64_t kBellData = std::uint64_t{4} << 32;

/// In nanoseconds; 0 for a thread that has ended.
std::uint64_t cpu_time(clockid_t clock) {
  timespec t{};
  if (::clock_gettime(clock, &t) != 0) return 0;
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

Worker::Worker(WorkerIndex index, Parts parts, const Common& common)
    : index_(index),
      cpu_(parts.cpu),
      exchange_(common.exchange),
      clock_(common.clock),
      notice_event_(common.notice_event),
      frames_(std::move(parts.frames)),
      wan_(std::move(parts.wan)),
      vnet_(std::move(parts.vnet)),
      circuit_(std::move(parts.circuit)),
      raw_(std::move(parts.raw)),
      crypto_(std::move(parts.crypto)),
      counters_(common.tunnels.size()),
      notices_(kNotices),
      commands_(kCommands),
      data_path_({index, common.shared, common.exchange, *frames_, *wan_, *vnet_, raw_, *crypto_, common.clock,
                  common.fib, notices_, common.tunnels, counters_, circuit_.get()}),
      activity_(common.resting ? Activity::kResting : Activity::kForwarding) {}

Result<std::unique_ptr<Worker>> Worker::start(WorkerIndex index, Parts parts, const Common& common) {
  std::unique_ptr<Worker> worker(new Worker(index, std::move(parts), common));
  GW_TRY(worker->set_up());
  worker->thread_ = std::thread(&Worker::run, worker.get());
  const std::string name = std::format("gw-worker-{}", index);
  (void)::pthread_setname_np(worker->thread_.native_handle(), name.c_str());
  const int error = ::pthread_getcpuclockid(worker->thread_.native_handle(), &worker->cpu_clock_);
  if (error != 0) return fail_errno("finding a worker's CPU clock", error);
  GW_TRY(worker->pin());
  return worker;
}

Status Worker::set_up() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return fail_errno("making the worker's event descriptors");
  const auto watch = [&](int fd, std::uint64_t data) {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = data;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0;
  };
  bool ok = watch(exchange_.bell(index_), kBellData);
  for (const int fd : wan_->fds()) ok = ok && watch(fd, kWanData + static_cast<unsigned>(fd));
  for (const int fd : vnet_->fds()) ok = ok && watch(fd, kVnetData + static_cast<unsigned>(fd));
  if (circuit_)
    for (const int fd : circuit_->fds()) ok = ok && watch(fd, kCircuitData + static_cast<unsigned>(fd));
  if (!ok) return fail_errno("watching the ports");
  return {};
}

Status Worker::pin() {
  if (!cpu_) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(*cpu_), &set);
  const int error = ::pthread_setaffinity_np(thread_.native_handle(), sizeof set, &set);
  if (error != 0) return fail_errno(std::format("running worker {} on CPU {}", index_, *cpu_), error);
  return {};
}

Worker::~Worker() {
  request_stop();
  join();
}

void Worker::request_stop() {
  stop_ = true;
  exchange_.ring_bell(index_);
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::set_reading(Reading reading) {
  reading_ = reading;
  exchange_.ring_bell(index_);
}

void Worker::set_activity(Activity activity) {
  activity_ = activity;
  exchange_.ring_bell(index_);
}

void Worker::post(const Change& change, std::counting_semaphore<>& done) {
  if (!thread_.joinable()) {
    change(data_path_);
    return done.release();
  }
  if (!commands_.push({&change, &done})) std::abort();  // one caller, which waits: the queue cannot be full
  exchange_.ring_bell(index_);
}

void Worker::await(std::counting_semaphore<>& done) {
  if (done.try_acquire_for(kStuck)) return;
  log::error("worker", "a packet thread does not answer for {} s; ending, so that a restart helps", kStuck.count());
  std::abort();
}

void Worker::call(const Change& change) {
  std::counting_semaphore<> done(0);
  post(change, done);
  await(done);
}

Status Worker::watch_tun(TunnelSlot slot, int fd) {
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = slot;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) return fail_errno("watching the tunnel device");
  return {};
}

void Worker::unwatch_tun(int fd) { (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

std::uint64_t Worker::cpu_ns() const {
  const std::uint64_t before = counters_.cpu_ns_before.get();
  // Joined, it has no clock of its own: the kernel may still know it for a moment, or give its number to another
  // thread.
  return before + (thread_.joinable() ? cpu_time(cpu_clock_) : cpu_ns_at_end_);
}

std::size_t Worker::poll_port(Port& port, void (DataPath::*handle)(Burst&)) {
  port.set_reading(reading_.load(std::memory_order_relaxed));
  burst_.count = 0;
  port.receive(burst_);
  const std::size_t n = burst_.count;
  if (n == 0) return 0;
  data_path_.work_off(burst_, handle);
  return n;
}

/// Waits for anything, then reads the devices that have packets.
std::size_t Worker::poll_events(int timeout_ms) {
  std::array<epoll_event, 64> events;
  const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  if (timeout_ms != 0) {
    counters_.wakeups.add();
    if (round_timed_) round_began_ = clock_.now();  // it may have slept
  }
  std::size_t packets = 0;
  for (int i = 0; i < n; ++i) {
    const std::uint64_t data = events[static_cast<std::size_t>(i)].data.u64;
    if (data == kBellData) exchange_.clear_bell(index_);
    if (data >= kWanData) {  // ports are polled every round
      if (data >= kBellData) continue;
      Port& port = data < kVnetData ? *wan_ : data < kCircuitData ? *vnet_ : *circuit_;
      port.ready(static_cast<int>(data & 0xffffffff));
      continue;
    }
    if (reading_.load(std::memory_order_relaxed) == Reading::kNo) continue;
    const auto slot = static_cast<TunnelSlot>(data);
    const std::size_t read = data_path_.from_tun(slot);
    if (read == 0) {
      // Somebody deleted the device: the error never goes away, so stop looking.
      if (events[static_cast<std::size_t>(i)].events & (EPOLLERR | EPOLLHUP))
        unwatch_tun(data_path_.tunnel(slot).tun_fd);
      continue;
    }
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

/// How long to wait for events, in milliseconds.
int Worker::sleep_time() {
  if (idle_rounds_ < kSpinRounds) return 0;
  // Sleeping forever is safe: everything that can bring work wakes epoll. Other workers ring only for one who
  // has lain down, so look at what they may have put there just before.
  exchange_.lie_down(index_);
  if (data_path_.has_peers_packets() || frames_->has_returned()) return 0;
  // Packets that the kernel could not send yet are tried again after a millisecond; a gate that opens wakes nobody.
  return unsent_ || data_path_.has_movers() ? 1
         : data_path_.has_waiting()         ? static_cast<int>(DataPath::kLookForLate.count())
                                            : -1;
}

/// Everything else that could wake it is somebody else's now.
void Worker::rest() {
  exchange_.lie_down(index_);
  pollfd bell{.fd = exchange_.bell(index_), .events = POLLIN, .revents = 0};
  (void)::poll(&bell, 1, -1);
  exchange_.clear_bell(index_);
  exchange_.get_up(index_);
  run_commands();
}

void Worker::begin_round() {
  counters_.rounds.add();
  round_timed_ = counters_.rounds.get() % kRoundSample == 0;
  if (round_timed_) [[unlikely]]
    round_began_ = clock_.now();
}

void Worker::end_round(std::size_t packets) {
  if (round_timed_) [[unlikely]]
    (packets > 0 ? counters_.busy_ns : counters_.polling_ns)
        .add(static_cast<std::uint64_t>((clock_.now() - round_began_).count()));
}

void Worker::run() {
  while (!stop_.load(std::memory_order_relaxed)) {
    begin_round();
    if (activity_.load() == Activity::kResting) {
      rest();
      continue;
    }
    const int timeout = sleep_time();
    std::size_t packets = poll_events(timeout);
    if (idle_rounds_ >= kSpinRounds) exchange_.get_up(index_);
    run_commands();
    if (data_path_.has_movers()) data_path_.send_waiting();
    packets += data_path_.from_peers();
    packets += poll_port(*wan_, &DataPath::from_wan);
    packets += poll_port(*vnet_, &DataPath::from_vnet);
    if (circuit_) packets += poll_port(*circuit_, &DataPath::from_circuit);
    frames_->exchange([this](WorkerIndex home) { exchange_.wake(home); });
    const bool wan_unsent = wan_->maintain();
    const bool vnet_unsent = vnet_->maintain();
    const bool circuit_unsent = circuit_ && circuit_->maintain();
    unsent_ = wan_unsent || vnet_unsent || circuit_unsent;
    if (data_path_.has_waiting()) data_path_.expire_waiting();
    idle_rounds_ = packets > 0 ? 0 : idle_rounds_ + 1;
    if (data_path_.take_notified()) (void)::eventfd_write(notice_event_, 1);
    end_round(packets);
  }
  run_commands();
  cpu_ns_at_end_ = cpu_time(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace gw::worker
