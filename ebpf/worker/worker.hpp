// The worker: one thread that owns a DataPath and runs bursts to completion. It sleeps in epoll over its
// ports, the tunnel devices and an eventfd; after work it polls for a short while before it
// sleeps again. The control thread talks to it with call(), it answers through a bounded queue.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/spsc_queue.hpp"
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {

class Worker {
 public:
  struct Parts {
    std::unique_ptr<FramePool> frames;
    std::unique_ptr<Port> wan;
    std::unique_ptr<Port> vnet;
    net::RawSender raw;
    std::unique_ptr<esp::CryptoBackend> crypto;
    fib::Memory fib;
    std::size_t max_tunnels = 0;
  };
  /// Starts the thread.
  static Result<std::unique_ptr<Worker>> start(Parts parts, const Clock& clock);
  /// Stops the thread after the burst it is at.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Runs `change` on the worker's thread between two bursts and waits for it (microseconds). When it
  /// returns, no packet that was in work before is any more: the grace period of the forwarding table.
  void call(const std::function<void(DataPath&)>& change);

  /// The worker wakes on the device from now on; call inside call() or before traffic.
  Status watch_tun(TunnelSlot slot, int fd);
  void unwatch_tun(int fd);

  /// Readable when notices wait.
  int notice_fd() const { return notice_event_.get(); }
  std::optional<Notice> next_notice() { return notices_.pop(); }
  void clear_notice_event();

  Port& wan() { return *wan_; }
  Port& vnet() { return *vnet_; }
  std::span<TunnelCounters> tunnels() { return tunnels_; }
  const WorkerCounters& counters() const { return counters_; }
  std::string_view crypto_name() const { return crypto_->name(); }

 private:
  struct Command {
    const std::function<void(DataPath&)>* change;
    std::binary_semaphore* done;
  };
  explicit Worker(Parts parts, const Clock& clock);
  Status set_up();
  void run();
  std::size_t poll_port(Port& port, void (DataPath::*handle)(Burst&));
  std::size_t poll_events(int timeout_ms);
  void run_commands();

  std::unique_ptr<FramePool> frames_;  // outlives the ports
  std::unique_ptr<Port> wan_;
  std::unique_ptr<Port> vnet_;
  net::RawSender raw_;
  std::unique_ptr<esp::CryptoBackend> crypto_;
  std::vector<TunnelCounters> tunnels_;
  WorkerCounters counters_;
  SpscQueue<Notice> notices_;
  SpscQueue<Command> commands_;
  Fd epoll_;
  Fd command_event_;
  Fd notice_event_;
  DataPath data_path_;
  Burst burst_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace gw::worker
