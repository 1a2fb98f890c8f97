// The thread that keeps gw-fastpath's promises in time, whatever the control thread and other processes do: BFD
// sessions and the heartbeat with the other instance. It sleeps in epoll until a packet comes or something is due, and
// never waits for anything else; it does not log. SCHED_FIFO, if the system permits.
// docs/adr/0017-liveness-in-the-fast-path.md
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/spsc_queue.hpp"
#include "ebpf/bfd/dplane_server.hpp"
#include "ebpf/bfd/engine.hpp"
#include "ebpf/bfd/sockets.hpp"
#include "ebpf/liveness/peer_port.hpp"

namespace gw::liveness {

// --- what the control thread is told ------------------------------------------------------------------

struct BfdChanged {
  bfd::SharedSession session;
  bool known_to_bfdd = false;
};
struct BfdEnded {
  bfd::SessionKey key;
};
struct BfddConnection {
  bool connected = false;
  std::string why;  // it ended
};
/// For the log.
struct Remark {
  std::string text;
};
using Event = std::variant<BfdChanged, BfdEnded, BfddConnection, PartnerStatus, Loss, Remark>;

class Thread {
 public:
  struct Parts {
    const Clock& clock;
    /// For bfdd; 0: no BFD.
    std::uint16_t bfd_port = 0;
    /// Of a process before this one; none: a new one is opened.
    Fd bfdd_listener = {};
    /// kPaused: as after pause(). That process has the listener and the peers until it has stopped.
    enum class Begin : std::uint8_t { kRunning, kPaused };
    Begin begin = Begin::kRunning;
  };
  /// What runs on the thread and may be looked at by call().
  struct Core {
    explicit Core(bfd::LinkFactory links) : bfd(std::move(links)) {}
    bfd::Engine bfd;
    std::unique_ptr<PeerPort> peer;  // null: none
    bool bfdd_connected = false;
    bool paused = false;
  };

  static Result<std::unique_ptr<Thread>> start(Parts parts);
  ~Thread();
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  void stop();

  /// Runs `change` on the thread between two turns and waits for it. Small work only. Control thread.
  using Change = std::function<void(Core&, MonoTime now)>;
  void call(const Change& change);

  /// Sends nothing and reads nothing when it returns, but for changes. Control thread.
  void pause();
  void resume();
  /// BFD's sockets for receiving, which another process of ours goes on with; -1: none, or not open. Paused.
  std::array<int, 4> receivers();
  int bfdd_listener() const;
  /// Of that process; before any session.
  void adopt_receivers(std::array<Fd, 4> fds);

  /// Instead of the one before; null: none. Control thread.
  void set_peer(std::unique_ptr<PeerPort> peer);

  /// gwd has asked something. It does every 50 ms, even if only whether we are there; while it has not for
  /// kControlPatience, heartbeats say that it is away. Any thread.
  static constexpr std::chrono::seconds kControlPatience{1};
  void note_control() { control_heard_.store(clock_.now(), std::memory_order_relaxed); }

  /// Readable when events wait. Control thread.
  int event_fd() const { return event_fd_.get(); }
  void clear_event();
  std::optional<Event> next_event() { return events_.pop(); }
  /// The system permits no real-time scheduling: why. Set before start() returns.
  const std::string& scheduling_error() const { return scheduling_error_; }

 private:
  Thread(const Parts& parts, Fd epoll, Fd bell, Fd event_fd);
  Status listen_for_bfdd(std::uint16_t port, Fd listener);
  void watch_receivers();
  void be_urgent();
  void run();
  void wait();
  void turn(int fd, std::uint32_t events);
  void run_changes();
  void on(const bfd::DplaneMessage& message);
  void report(const bfd::Engine::Entry& entry);
  void refresh_bfdd(MonoTime now);
  void attend_peer();
  void open_receivers();
  MonoTime due() const;
  Control control() const;
  void tell(Event event);

  struct Pending {
    const Change* change;
    std::counting_semaphore<>* done;
  };
  const Clock& clock_;
  Fd epoll_;
  Fd bell_;
  Fd event_fd_;
  SpscQueue<Pending> changes_;
  SpscQueue<Event> events_;
  Core core_;
  int bfdd_listener_ = -1;  // dplane_'s
  std::optional<bfd::DplaneServer> dplane_;
  std::optional<bfd::Receivers> receivers_;
  MonoTime now_{};
  MonoTime next_receivers_ = MonoTime::min();
  MonoTime next_refresh_ = MonoTime::max();
  bool told_ = false;
  std::uint64_t events_lost_ = 0;
  std::string scheduling_error_;
  std::atomic<MonoTime> control_heard_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace gw::liveness
