#include "ebpf/liveness/thread.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/log.hpp"

namespace gw::liveness {
namespace {

constexpr std::size_t kChanges = 16;
// A change of every session, several times.
constexpr std::size_t kEvents = 65536;
constexpr int kPriority = 10;  // above what is not real-time; below the kernel's own threads (50)
constexpr std::chrono::seconds kStuck{10};
// bfdd says Down to bgpd, and believes it, when bgpd has been restarted (bfdd/ptm_adapter.c): it is told again.
constexpr std::chrono::seconds kRefresh{1};
constexpr std::chrono::seconds kBetweenReceiverAttempts{1};

}  // namespace

Thread::Thread(const Parts& parts, Fd epoll, Fd bell, Fd event_fd)
    : clock_(parts.clock),
      epoll_(std::move(epoll)),
      bell_(std::move(bell)),
      event_fd_(std::move(event_fd)),
      changes_(kChanges),
      events_(kEvents),
      core_(bfd::open_link),
      control_heard_(parts.clock.now()) {
  core_.bfd.on_change([this](const bfd::Engine::Entry& entry) {
    report(entry);
    tell(BfdChanged{{entry.key, entry.session.settings(), entry.min_ttl, entry.session.snapshot()},
                    !entry.bfdd.empty()});
  });
  core_.bfd.on_end([this](const bfd::Engine::Entry& entry) { tell(BfdEnded{entry.key}); });
}

Result<std::unique_ptr<Thread>> Thread::start(Parts parts) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  Fd bell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  Fd event_fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll || !bell || !event_fd) return fail_errno("making the liveness thread's event descriptors");
  epoll_event e{.events = EPOLLIN, .data = {.fd = bell.get()}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, bell.get(), &e) != 0) return fail_errno("watching the liveness bell");
  std::unique_ptr<Thread> thread(new Thread(parts, std::move(epoll), std::move(bell), std::move(event_fd)));
  thread->core_.paused = parts.begin == Parts::Begin::kPaused;
  if (parts.bfd_port != 0) GW_TRY(thread->listen_for_bfdd(parts.bfd_port, std::move(parts.bfdd_listener)));
  thread->thread_ = std::thread(&Thread::run, thread.get());
  thread->be_urgent();
  return thread;
}

Status Thread::listen_for_bfdd(std::uint16_t port, Fd listener) {
  if (!listener) {
    GW_TRY_ASSIGN(listener, bfd::DplaneServer::listen(port));
  }
  bfdd_listener_ = listener.get();
  dplane_.emplace(std::move(listener), epoll_.get(),
                  bfd::DplaneServer::Handlers{
                      .message = [this](const bfd::DplaneMessage& message) { on(message); },
                      .connected =
                          [this] {
                            core_.bfdd_connected = true;
                            next_refresh_ = now_ + kRefresh;
                            tell(BfddConnection{true, {}});
                          },
                      .refused =
                          [this](std::uint32_t user) {
                            tell(Remark{std::format(
                                "a connection from a process of user {} was refused: only bfdd speaks here", user)});
                          },
                      .disconnected =
                          [this](const std::string& why) {
                            core_.bfdd_connected = false;
                            next_refresh_ = MonoTime::max();
                            core_.bfd.detach_all(now_);
                            tell(BfddConnection{false, why});
                          }});
  return {};
}

void Thread::be_urgent() {
  (void)::pthread_setname_np(thread_.native_handle(), "gw-liveness");
  const sched_param wanted{.sched_priority = kPriority};
  const int error = ::pthread_setschedparam(thread_.native_handle(), SCHED_FIFO, &wanted);
  if (error != 0) scheduling_error_ = std::strerror(error);
}

Thread::~Thread() { stop(); }

void Thread::stop() {
  stop_ = true;
  (void)::eventfd_write(bell_.get(), 1);
  if (thread_.joinable()) thread_.join();
}

void Thread::call(const Change& change) {
  if (!thread_.joinable()) return change(core_, clock_.now());
  std::counting_semaphore<> done(0);
  if (!changes_.push({&change, &done})) std::abort();  // one caller, which waits: the queue cannot be full
  (void)::eventfd_write(bell_.get(), 1);
  if (done.try_acquire_for(kStuck)) return;
  log::error("liveness", "the liveness thread does not answer for {} s; ending, so that a restart helps",
             kStuck.count());
  std::abort();
}

void Thread::pause() {
  call([](Core& core, MonoTime) { core.paused = true; });
}

void Thread::resume() {
  call([](Core& core, MonoTime) { core.paused = false; });
}

int Thread::bfdd_listener() const { return bfdd_listener_; }

std::array<int, 4> Thread::receivers() {
  std::array<int, 4> fds{-1, -1, -1, -1};
  call([&](Core&, MonoTime) {
    if (receivers_) fds = receivers_->fds();
  });
  return fds;
}

void Thread::adopt_receivers(std::array<Fd, 4> fds) {
  if (std::ranges::none_of(fds, [](const Fd& fd) { return static_cast<bool>(fd); })) return;
  call([&](Core&, MonoTime) {
    receivers_ = bfd::Receivers::adopt(std::move(fds));
    watch_receivers();
  });
}

void Thread::set_peer(std::unique_ptr<PeerPort> peer) {
  std::unique_ptr<PeerPort> before;
  call([&](Core& core, MonoTime) {
    if (core.peer) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, core.peer->fd(), nullptr);
    before = std::move(core.peer);
    core.peer = std::move(peer);
    if (core.peer && before) core.peer->keep_lease_of(*before);
    if (!core.peer && before) before->end_lease();
    if (!core.peer) return;
    epoll_event e{.events = EPOLLIN, .data = {.fd = core.peer->fd()}};
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, core.peer->fd(), &e);
  });
}

void Thread::clear_event() {
  eventfd_t value = 0;
  (void)::eventfd_read(event_fd_.get(), &value);
}

void Thread::tell(Event event) {
  if (!events_.push(std::move(event))) ++events_lost_;
  told_ = true;
}

// --- the thread --------------------------------------------------------------------------------------------

void Thread::run() {
  now_ = clock_.now();
  while (!stop_.load(std::memory_order_relaxed)) {
    if (core_.paused) {
      pollfd bell{.fd = bell_.get(), .events = POLLIN, .revents = 0};
      (void)::poll(&bell, 1, -1);
      turn(bell_.get(), EPOLLIN);
      now_ = clock_.now();
      run_changes();
      continue;
    }
    wait();
    run_changes();
    if (core_.paused) continue;
    if (!receivers_ && !core_.bfd.all().empty()) open_receivers();
    // Whatever waited has been read: nobody is declared dead whose packets were here in time.
    now_ = clock_.now();
    core_.bfd.run(now_);
    if (core_.peer) attend_peer();
    if (now_ >= next_refresh_) refresh_bfdd(now_);
    if (dplane_) dplane_->flush();
    if (std::exchange(told_, false)) (void)::eventfd_write(event_fd_.get(), 1);
  }
  run_changes();
}

MonoTime Thread::due() const {
  return std::min({core_.bfd.due(), next_refresh_, core_.peer ? core_.peer->due() : MonoTime::max()});
}

Control Thread::control() const {
  return now_ - control_heard_.load(std::memory_order_relaxed) < kControlPatience ? Control::kThere : Control::kAway;
}

void Thread::attend_peer() {
  PeerFindings found = core_.peer->judge(now_);
  if (found.status) tell(std::move(*found.status));
  for (const Loss& loss : found.losses) tell(loss);
}

void Thread::wait() {
  std::array<epoll_event, 16> ready;
  const MonoTime at = due();
  timespec timeout{};
  if (at != MonoTime::max()) {
    const auto left = std::max<std::chrono::nanoseconds>(
        at == MonoTime::min() ? std::chrono::nanoseconds(0) : at - clock_.now(), std::chrono::nanoseconds(0));
    timeout = {.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
  }
  const int n = ::epoll_pwait2(epoll_.get(), ready.data(), static_cast<int>(ready.size()),
                               at == MonoTime::max() ? nullptr : &timeout, nullptr);
  now_ = clock_.now();
  // Before anything that waited is read: it may have waited while we did not run.
  if (core_.peer) core_.peer->advance(now_, control());
  for (int i = 0; i < n; ++i)
    turn(ready[static_cast<std::size_t>(i)].data.fd, ready[static_cast<std::size_t>(i)].events);
}

void Thread::turn(int fd, std::uint32_t events) {
  if (fd == bell_.get()) {
    eventfd_t value = 0;
    (void)::eventfd_read(bell_.get(), &value);
  } else if (core_.peer && fd == core_.peer->fd()) {
    core_.peer->read(now_);
  } else if (dplane_ && dplane_->owns(fd)) {
    dplane_->ready(fd, events);
  } else if (receivers_) {
    receivers_->read(fd, [this](const bfd::Received& packet) { core_.bfd.receive(packet, now_); });
  }
}

void Thread::run_changes() {
  while (auto pending = changes_.pop()) {
    (*pending->change)(core_, now_);
    pending->done->release();
  }
}

// --- bfdd --------------------------------------------------------------------------------------------------------

void Thread::on(const bfd::DplaneMessage& message) {
  if (const auto* add = std::get_if<bfd::AddSession>(&message)) {
    for (const std::string_view what : add->refused)
      tell(Remark{std::format("BFD with {}: {} is not spoken", bfd::to_string(add->key), what)});
    if (const auto done = core_.bfd.add(*add, now_); !done) tell(Remark{done.error().message});
  } else if (const auto* gone = std::get_if<bfd::DeleteSession>(&message)) {
    core_.bfd.remove(gone->id, now_);
  } else if (const auto* counters = std::get_if<bfd::CountersRequest>(&message)) {
    const auto* entry = core_.bfd.find(counters->id);
    dplane_->send(bfd::counters_reply(*counters, entry ? entry->counts : bfd::Counts{}));
  } else if (const auto* echo = std::get_if<bfd::EchoRequest>(&message)) {
    dplane_->send(bfd::echo_reply(*echo));
  }
}

/// With the first session: a gateway without BFD leaves the ports to others.
void Thread::open_receivers() {
  if (now_ < next_receivers_) return;
  auto opened = bfd::Receivers::open();
  if (!opened) {
    next_receivers_ = now_ + kBetweenReceiverAttempts;
    return tell(Remark{opened.error().describe()});
  }
  receivers_ = std::move(*opened);
  watch_receivers();
}

void Thread::watch_receivers() {
  for (const int fd : receivers_->fds()) {
    epoll_event e{.events = EPOLLIN, .data = {.fd = fd}};
    if (fd >= 0) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e);
  }
}

void Thread::report(const bfd::Engine::Entry& entry) {
  if (!dplane_) return;
  for (const bfd::DplaneId id : entry.bfdd) dplane_->send(bfd::state_change(id, entry.session));
}

void Thread::refresh_bfdd(MonoTime now) {
  next_refresh_ = now + kRefresh;
  for (const auto& [key, entry] : core_.bfd.all()) report(*entry);
}

}  // namespace gw::liveness
