// The worker: one thread that owns a DataPath and runs bursts to completion. It sleeps in epoll over its
// ports, the devices of its tunnels and its bell (work from the control thread or another worker); after work
// it polls for a short while before it sleeps again. Workers come in sets: workers.hpp.
#pragma once

#include <atomic>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <thread>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/spsc_queue.hpp"
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {

class Worker {
 public:
  /// What one worker has for itself.
  struct Parts {
    std::unique_ptr<FramePool> frames;
    std::unique_ptr<Port> wan;
    std::unique_ptr<Port> vnet;
    net::RawSender raw;
    std::unique_ptr<esp::CryptoBackend> crypto;
    std::optional<int> cpu = {};         // to run on; none: wherever the scheduler likes
    std::unique_ptr<Port> circuit = {};  // null: none
  };
  /// What it shares with the others; all outlives it.
  struct Common {
    Shared& shared;
    Exchange& exchange;
    std::span<TunnelCounters> tunnels;
    fib::Memory fib;
    const Clock& clock;
    int notice_event = -1;  // eventfd, written when notices wait
    bool resting = false;   // at first: until set_activity()
  };
  /// Starts the thread.
  static Result<std::unique_ptr<Worker>> start(WorkerIndex index, Parts parts, const Common& common);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Ends the thread after the burst it is at; twice does nothing. request_stop() does not wait for it, join() does.
  void request_stop();
  void join();

  /// kYes at first; from the next round on. Control thread.
  void set_reading(Reading reading);
  /// Resting, the thread touches neither ports nor devices and only carries out changes. It has stopped when a call()
  /// after this returns. Control thread.
  enum class Activity : std::uint8_t { kResting, kForwarding };
  void set_activity(Activity activity);

  using Change = std::function<void(DataPath&)>;
  /// Runs `change` on the worker's thread between two bursts and waits for it. It does small work only
  /// (microseconds): packets wait meanwhile. Workers::call() for all at once. After join() there is no such thread:
  /// the caller's runs it.
  void call(const Change& change);
  /// The two halves of call(): `done` is released afterwards.
  void post(const Change& change, std::counting_semaphore<>& done);
  static void await(std::counting_semaphore<>& done);

  /// The worker wakes on the device from now on.
  Status watch_tun(TunnelSlot slot, int fd);
  void unwatch_tun(int fd);

  /// Makes it go round once, if it can. Any thread.
  void nudge() { exchange_.ring_bell(index_); }

  std::optional<Notice> next_notice() { return notices_.pop(); }

  /// While it rests.
  FramePool& frames() const { return *frames_; }
  Port& wan() const { return *wan_; }
  Port& vnet() const { return *vnet_; }
  /// Null: none.
  Port* circuit() const { return circuit_.get(); }
  const WorkerCounters& counters() const { return counters_; }
  /// CPU time of the thread, as the kernel counts it: work, polling, its system calls. After join(): what it had used.
  /// Control thread.
  std::uint64_t cpu_ns() const;
  /// That it is bound to; none: wherever the scheduler likes.
  std::optional<int> cpu() const { return cpu_; }
  /// Changes its counters between two bursts.
  void count(const std::function<void(WorkerCounters&)>& change) {
    call([&](DataPath&) { change(counters_); });
  }
  /// The slot gets another tunnel.
  void clear_handover_drops(TunnelSlot slot) { counters_.handover_drops[slot].clear(); }
  std::string_view crypto_name() const { return crypto_->name(); }

 private:
  struct Command {
    const Change* change;
    std::counting_semaphore<>* done;
  };
  Worker(WorkerIndex index, Parts parts, const Common& common);
  Status set_up();
  Status pin();
  void run();
  void begin_round();
  void end_round(std::size_t packets);
  std::size_t poll_port(Port& port, void (DataPath::*handle)(Burst&));
  std::size_t poll_events(int timeout_ms);
  int sleep_time();
  void rest();
  void run_commands();

  const WorkerIndex index_;
  const std::optional<int> cpu_;
  Exchange& exchange_;
  const Clock& clock_;
  const int notice_event_;
  std::unique_ptr<FramePool> frames_;  // outlives the ports
  std::unique_ptr<Port> wan_;
  std::unique_ptr<Port> vnet_;
  std::unique_ptr<Port> circuit_;
  net::RawSender raw_;
  std::unique_ptr<esp::CryptoBackend> crypto_;
  WorkerCounters counters_;
  SpscQueue<Notice> notices_;
  SpscQueue<Command> commands_;
  Fd epoll_;
  DataPath data_path_;
  Burst burst_;
  unsigned idle_rounds_ = 0;
  bool round_timed_ = false;
  MonoTime round_began_{};  // if it is timed
  bool unsent_ = false;
  std::atomic<Reading> reading_{Reading::kYes};
  std::atomic<Activity> activity_{Activity::kForwarding};
  std::atomic<bool> stop_{false};
  std::thread thread_;
  clockid_t cpu_clock_ = 0;          // of the thread
  std::uint64_t cpu_ns_at_end_ = 0;  // the thread's last word; read after join()
};

}  // namespace gw::worker
