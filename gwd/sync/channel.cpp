#include "gwd/sync/channel.hpp"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <random>
#include <thread>
#include <utility>
#include <variant>

#include "base/log.hpp"
#include "base/spsc_queue.hpp"
#include "gwd/sync/fastpath_carrier.hpp"
#include "gwd/sync/link.hpp"

namespace gw::gwd::sync {
namespace asio = boost::asio;

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kQueue = 8192;
constexpr int kEventsAtOnce = 256;
constexpr milliseconds kStatsEvery{100};
constexpr milliseconds kByeTime{100};

// To the sync thread. `session` is how many resets the main loop had seen: what is older is dropped.
struct SendCommand {
  std::uint64_t session = 0;
  Kind kind{};
  std::string payload;
};
struct SayCommand {
  std::string status;
};
using Command = std::variant<SendCommand, SayCommand>;

// To the main loop.
struct ResetEvent {
  PeerInfo peer;
};
struct MessageEvent {
  Kind kind{};
  std::string payload;
};
using Event = std::variant<ResetEvent, MessageEvent, PeerHeartbeat, std::vector<PathState>, ChannelStats>;

std::uint64_t random_incarnation() {
  std::random_device random;
  const std::uint64_t id = (static_cast<std::uint64_t>(random()) << 32) | random();
  return id == 0 ? 1 : id;
}

}  // namespace

// The two queues and what wakes their readers. Both threads hold it, so that a wake-up that is still on its way when
// one side ends finds something there.
struct Channel::Shared : std::enable_shared_from_this<Channel::Shared> {
  Shared(asio::io_context& main_loop, ChannelListener& to) : main(main_loop), listener(&to) {}

  void wake_main() {
    if (main_woken.exchange(true)) return;
    asio::post(main, [self = shared_from_this()] { self->drain_events(); });
  }
  /// The main loop's.
  void drain_events() {
    main_woken = false;
    for (int i = 0; i < kEventsAtOnce; ++i) {
      if (listener == nullptr) return;
      auto event = events.pop();
      if (!event) return;
      std::visit([this](auto& body) { deliver(body); }, *event);
    }
    wake_main();  // after whatever else waits for the main loop
  }
  void deliver(ResetEvent& event) {
    ++sessions_seen;
    listener->on_sync_reset(event.peer);
  }
  void deliver(MessageEvent& event) { listener->on_sync_message(event.kind, std::move(event.payload)); }
  void deliver(PeerHeartbeat& event) { listener->on_sync_heartbeat(event); }
  void deliver(std::vector<PathState>& event) { listener->on_sync_paths(event); }
  void deliver(ChannelStats& event) {
    stats = std::move(event);
    ++reports;
  }

  asio::io_context& main;
  ChannelListener* listener;  // null: the channel is gone
  SpscQueue<Command> commands{kQueue};
  SpscQueue<Event> events{kQueue};
  std::atomic<bool> main_woken{false};
  std::atomic<bool> thread_woken{false};
  std::atomic<bool> reset_wanted{false};
  std::uint64_t sessions_seen = 0;  // the main loop's
  ChannelStats stats;               // the main loop's
  std::uint64_t reports = 0;        // the main loop's
};

class Channel::Thread final : private LinkListener {
 public:
  Thread(std::shared_ptr<Shared> shared, const ChannelSettings& settings)
      : shared_(std::move(shared)),
        carrier_(io_, settings.fastpath_socket, [this](std::string p) { link_.send(Kind::kFastpath, std::move(p)); }),
        link_(io_, clock_, with_incarnation(link_settings(settings)), *this),
        stats_timer_(io_) {
    link_.start();
    if (!settings.fastpath_socket.empty()) carrier_.start();
    publish_stats();
    thread_ = std::thread([this] { io_.run(); });
  }

  ~Thread() {
    asio::post(io_, [this] {
      drain_commands();
      carrier_.stop();
      link_.stop();
      stats_timer_.expires_after(kByeTime);
      stats_timer_.async_wait([this](const boost::system::error_code&) { io_.stop(); });
    });
    thread_.join();
  }

  void wake() {
    if (shared_->thread_woken.exchange(true)) return;
    asio::post(io_, [this] { drain_commands(); });
  }

 private:
  static LinkSettings with_incarnation(LinkSettings settings) {
    settings.party.incarnation = random_incarnation();
    return settings;
  }

  void drain_commands() {
    shared_->thread_woken = false;
    while (auto command = shared_->commands.pop()) std::visit([this](auto& body) { carry_out(body); }, *command);
    if (shared_->reset_wanted.exchange(false)) link_.end_session("gwd wants to begin anew");
    flush();
    link_.hand_on();
  }
  void carry_out(SendCommand& command) {
    if (command.session == sessions_) link_.send(command.kind, std::move(command.payload));
  }
  void carry_out(SayCommand& command) { link_.say(std::move(command.status)); }

  /// What may be lost when the main loop stands still: there is a newer one soon.
  void offer(Event event) {
    if (shared_->events.push(std::move(event))) shared_->wake_main();
  }

  void on_reset(const PeerInfo& peer) override {
    ++sessions_;
    carrier_.on_session_reset();
    pending_.emplace_back(ResetEvent{peer});
    flush();
  }
  bool on_message(Kind kind, std::string& payload) override {
    if (kind == Kind::kFastpath) return carrier_.on_message(payload), true;
    if (!flush()) return false;
    // SpscQueue leaves what it does not take untouched, but it would be inside the event.
    Event event = MessageEvent{kind, std::move(payload)};
    if (shared_->events.push(std::move(event))) return shared_->wake_main(), true;
    payload = std::move(std::get<MessageEvent>(event).payload);
    return false;
  }
  void on_heartbeat(PeerHeartbeat heartbeat) override { offer(std::move(heartbeat)); }
  void on_paths(const std::vector<PathState>& paths) override {
    pending_.emplace_back(paths);
    flush();
  }

  /// Events that must not be lost, in order and before any message after them. False: some still wait.
  bool flush() {
    while (!pending_.empty() && shared_->events.push(std::move(pending_.front()))) pending_.pop_front();
    shared_->wake_main();
    return pending_.empty();
  }

  void publish_stats() {
    flush();
    offer(link_.stats());
    stats_timer_.expires_after(kStatsEvery);
    stats_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) publish_stats();
    });
  }

  std::shared_ptr<Shared> shared_;
  SystemClock clock_;
  asio::io_context io_{1};
  FastpathCarrier carrier_;
  Link link_;
  asio::steady_timer stats_timer_;
  std::deque<Event> pending_;
  std::uint64_t sessions_ = 0;
  std::thread thread_;
};

Channel::Channel(asio::io_context& main, ChannelSettings settings, ChannelListener& listener)
    : shared_(std::make_shared<Shared>(main, listener)), thread_(std::make_unique<Thread>(shared_, settings)) {}

Channel::~Channel() {
  shared_->listener = nullptr;
  thread_.reset();
}

void Channel::send(Kind kind, std::string payload) {
  if (!shared_->commands.push(SendCommand{shared_->sessions_seen, kind, std::move(payload)})) return reset();
  thread_->wake();
}

void Channel::say(std::string status) {
  if (shared_->commands.push(SayCommand{std::move(status)})) thread_->wake();
}

void Channel::reset() {
  shared_->reset_wanted = true;
  thread_->wake();
}

const ChannelStats& Channel::stats() const { return shared_->stats; }
std::uint64_t Channel::reports() const { return shared_->reports; }

}  // namespace gw::gwd::sync
