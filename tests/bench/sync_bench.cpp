// ha-sync-cost, ha-sync-lag: what it costs a worker that the positions of 10,000 SAs are told to the other instance
// every 5 ms, and how late that instance is. Real but for the packets and the process: the worker's encapsulation step
// over all SAs in turn, with records in a store on tmpfs; SaSync of both sides behind sockets that speak gw-fastpath's
// protocol; two sync channels with their threads, TLS 1.3 over loopback. Five threads; the worker is alone on its CPU.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <future>
#include <memory>
#include <print>
#include <thread>

#include "base/frame.hpp"
#include "base/spawn.hpp"
#include "ebpf/control/sa_sync.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/grants.hpp"
#include "ebpf/esp/runtime_store.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"
#include "gwd/pki/certificate.hpp"
#include "gwd/sync/channel.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/raw_side.hpp"
#include "tests/bench/sample_sa.hpp"

namespace gw::bench {
namespace {

namespace asio = boost::asio;
namespace fp = ::gw::fastpath::v1;
namespace sync = gw::gwd::sync;
using control::SaSync;
using namespace std::chrono_literals;

constexpr std::uint32_t kSas = 10'000;
constexpr std::uint32_t kInnerBytes = 1408;
constexpr std::uint32_t kFirstSpi = 0x10001;
// With and without, in turn. Virtual CPUs differ by 10 % from one window to the next: only many tell 2 % from nothing.
constexpr int kWindows = 240;
constexpr auto kWindow = 50ms;
constexpr auto kSettle = 20ms;
constexpr auto kMeet = 20s;
constexpr std::size_t kWorkerCpu = 1;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

std::chrono::nanoseconds cpu_of(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

/// One gw-fastpath, as far as the sync goes: its store, its SaSync and a socket for gwd's sync loop, on a thread.
class Instance final : public SaSync::Host {
 public:
  static Result<std::unique_ptr<Instance>> create(std::uint32_t number, const std::filesystem::path& dir) {
    auto made = std::make_unique<Instance>(number, dir);
    GW_TRY_ASSIGN(made->store_, esp::RuntimeStore::open(made->dir_ / "store", kSas + 1));
    made->sync_ = std::make_unique<SaSync>(*made->store_, number, made->clock_, *made);
    GW_TRY(made->make_records());
    made->thread_ = std::thread([raw = made.get()] { raw->run(); });
    return made;
  }
  Instance(std::uint32_t number, const std::filesystem::path& dir)
      : number_(number), dir_(dir / std::to_string(number)), acceptor_(io_), socket_(io_), timer_(io_) {
    std::filesystem::create_directories(dir_);
    acceptor_.open();
    acceptor_.bind(Local::endpoint(socket_path()));
    acceptor_.listen();
  }
  ~Instance() override {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  std::string socket_path() const { return (dir_ / "sock").string(); }
  esp::RuntimeRecord& record(std::size_t i) { return *records_[i]; }
  void set_telling(bool on) { telling_.store(on, std::memory_order_relaxed); }

  /// On its thread, where everything of SaSync's is.
  template <typename F>
  auto ask(F&& f) {
    std::promise<decltype(f(*sync_))> answer;
    asio::post(io_, [&] { answer.set_value(f(*sync_)); });
    return answer.get_future().get();
  }

 private:
  using Local = asio::local::stream_protocol;

  Status make_records() {
    const auto endpoint = IpAddress::from_v4(0xcb00710a);
    const auto origin = number_ == 0 ? esp::KeyOrigin::kFresh : esp::KeyOrigin::kSynced;
    for (std::uint32_t i = 0; i < kSas; ++i) {
      const auto parameters = sample_sa(kFirstSpi + i);
      const Secret identity = parameters.key_identity();
      GW_TRY_ASSIGN(auto* record, store_->adopt({parameters.spi, endpoint, esp::Direction::kOutbound,
                                                 store_->fingerprint(identity.bytes())},
                                                {.origin = origin, .instance = number_, .now_ns = 1}));
      records_.push_back(record);
      sync_->add(control::sync_key(identity.bytes(), esp::Direction::kOutbound),
                 {record, esp::Direction::kOutbound, endpoint});
    }
    return {};
  }

  void run() {
    asio::co_spawn(io_, serve(), kEndOnException);
    tick();
    io_.run();
  }
  void tick() {
    timer_.expires_after(SaSync::kInterval);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      if (telling_.load(std::memory_order_relaxed)) sync_->tick();
      tick();
    });
  }
  asio::awaitable<void> serve() {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error) co_return;
    socket_ = std::move(socket);
    FrameReader frames(kMaxAnswerBytes);
    std::array<std::uint8_t, 65536> buffer;
    for (;;) {
      const auto [failed, bytes] = co_await socket_.async_read_some(asio::buffer(buffer), kAwait);
      if (failed) co_return;
      frames.feed(std::span(buffer).first(bytes));
      for (auto frame = frames.next(); frame && *frame; frame = frames.next()) take(**frame);
    }
  }
  void take(std::string_view bytes) {
    fp::ClientFrame frame;
    if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    if (frame.has_peer_sync()) sync_->receive(frame.peer_sync().sa());
    if (frame.has_peer_sync_reset()) frame.peer_sync_reset().connected() ? sync_->connect() : sync_->disconnect();
    fp::ServerFrame reply;
    reply.mutable_response()->set_id(frame.id());
    write(reply);
  }
  void write(const fp::ServerFrame& frame) {
    append_frame(outgoing_, frame.SerializeAsString());
    if (!std::exchange(writing_, true)) asio::co_spawn(io_, write_pending(), kEndOnException);
  }
  asio::awaitable<void> write_pending() {
    while (!outgoing_.empty()) {
      const std::string chunk = std::exchange(outgoing_, {});
      const auto [error, bytes] = co_await asio::async_write(socket_, asio::buffer(chunk), kAwait);
      if (error) break;
    }
    writing_ = false;
  }

  // SaSync::Host
  void send(const fp::SaSync& frame) override {
    fp::ServerFrame out;
    out.mutable_event()->mutable_peer_sync()->set_sa(frame.SerializeAsString());
    write(out);
  }
  bool owned(const IpAddress&) const override { return number_ == 0; }
  void accept(std::span<const SaSync::Granted> grants) override {
    for (const auto& g : grants) (void)esp::accept_grant(*g.record, g.block);
  }
  void forget(std::span<esp::RuntimeRecord* const> records) override {
    for (auto* r : records) esp::forget_epochs(*r);
  }

  const std::uint32_t number_;
  std::filesystem::path dir_;
  SystemClock clock_;
  std::unique_ptr<esp::RuntimeStore> store_;
  std::vector<esp::RuntimeRecord*> records_;
  std::unique_ptr<SaSync> sync_;
  std::atomic<bool> telling_{true};
  asio::io_context io_{1};
  Local::acceptor acceptor_;
  Local::socket socket_;
  asio::steady_timer timer_;
  std::string outgoing_;
  bool writing_ = false;
  std::thread thread_;
};

/// The encapsulation step of one worker, over all SAs in turn.
class Worker {
 public:
  static Result<std::unique_ptr<Worker>> create(Instance& owner) {
    auto made = std::make_unique<Worker>();
    GW_TRY_ASSIGN(made->backend_, esp::make_backend(esp::BackendChoice::kIpsecMb));
    made->codec_ = std::make_unique<esp::Codec>(*made->backend_);
    for (std::uint32_t i = 0; i < kSas; ++i) {
      GW_TRY_ASSIGN(auto sa, esp::OutboundSa::create(sample_sa(kFirstSpi + i), *made->backend_, owner.record(i)));
      made->out_.push_back(std::move(sa));
    }
    return made;
  }
  Worker() : packets_(kPackets) {
    for (std::size_t i = 0; i < kPackets; ++i) {
      packets_[i].base = buffers_.at(i);
      packets_[i].capacity = kBufferBytes;
    }
  }

  Sample run_for(std::chrono::nanoseconds time) {
    const auto start = std::chrono::steady_clock::now();
    Sample done;
    do {
      for (esp::Packet& p : packets_) {
        p.offset = kFrontRoom;
        p.length = kInnerBytes;
        p.drop = GW_DROP_NONE;
        p.out = out_[next_ = next_ + 1 == kSas ? 0 : next_ + 1].get();
        std::memcpy(p.data(), inner_.data(), inner_.size());
      }
      done.items += codec_->encapsulate(packets_, 1).passed;
      done.took = std::chrono::steady_clock::now() - start;
    } while (done.took < time);
    return done;
  }

 private:
  std::array<std::uint8_t, 20> inner_ = sample_header(kInnerBytes, 0x0a020007);
  Buffers buffers_{kPackets};
  std::vector<esp::Packet> packets_;
  std::unique_ptr<esp::CryptoBackend> backend_;
  std::unique_ptr<esp::Codec> codec_;
  std::vector<std::unique_ptr<esp::OutboundSa>> out_;
  std::size_t next_ = 0;
};

struct Listener final : sync::ChannelListener {
  void on_sync_reset(const sync::PeerInfo&) override {}
  void on_sync_message(sync::Kind, std::string) override {}
  void on_sync_heartbeat(const sync::PeerHeartbeat&) override {}
  void on_sync_paths(const std::vector<sync::PathState>&) override {}
};

/// Both gwds' channels, and a folder with what they need.
class Lab {
 public:
  static Result<std::unique_ptr<Lab>> create() {
    std::string name = (std::filesystem::temp_directory_path() / "gw-bench-sync-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return fail_errno("making a folder");
    auto made = std::make_unique<Lab>(name);
    GW_TRY(made->issue());
    for (std::uint32_t i = 0; i < 2; ++i) {
      GW_TRY_ASSIGN(made->instances_[i], Instance::create(i, name));
    }
    for (std::uint32_t i = 0; i < 2; ++i)
      made->channels_[i] = std::make_unique<sync::Channel>(made->main_, made->settings(i), made->listener_);
    return made;
  }
  explicit Lab(std::filesystem::path dir) : dir_(std::move(dir)) {}
  ~Lab() {
    for (auto& channel : channels_) channel.reset();
    for (auto& instance : instances_) instance.reset();
    std::filesystem::remove_all(dir_);
  }
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  Instance& owner() { return *instances_[0]; }
  /// gwd's main loops, which have nothing to do here.
  Status wait_in_sync() {
    const auto late = std::chrono::steady_clock::now() + kMeet;
    const auto in_sync = [](SaSync& s) { return s.state() == SaSync::State::kInSync && s.announced() == kSas; };
    while (!instances_[0]->ask(in_sync) || !instances_[1]->ask(in_sync)) {
      main_.restart();
      main_.run_for(10ms);
      if (std::chrono::steady_clock::now() > late) return fail(Errc::kTimeout, "the two sides are not in sync");
    }
    return {};
  }

 private:
  Status issue() {
    const auto now = std::chrono::system_clock::now();
    GW_TRY_ASSIGN(const auto authority, pki::make_authority("bench", {now, pki::kAuthorityDays}));
    std::ofstream(dir_ / "ca.crt") << authority.certificate;
    for (const std::string instance : {"gw-a", "gw-b"}) {
      GW_TRY_ASSIGN(const auto pair, pki::issue(authority, {"bench", instance}, {now, pki::kInstanceDays}));
      std::ofstream(dir_ / (instance + ".crt")) << pair.certificate;
      std::ofstream(dir_ / (instance + ".key")) << pair.key.text();
      std::filesystem::permissions(dir_ / (instance + ".key"), std::filesystem::perms(0600));
    }
    return {};
  }
  sync::ChannelSettings settings(std::uint32_t self) {
    if (port_ == 0) {
      asio::ip::tcp::acceptor probe(main_, {asio::ip::make_address("127.77.0.1"), 0});
      port_ = probe.local_endpoint().port();
    }
    sync::ChannelSettings out{
        .gateway = "bench", .ha = {}, .fastpath_socket = instances_[self]->socket_path(), .release = "bench"};
    out.ha.self = static_cast<config::InstanceNumber>(self);
    out.ha.instances = {{.name = "gw-a", .sync = {*IpAddress::parse("127.77.9.1")}},
                        {.name = "gw-b", .sync = {*IpAddress::parse("127.77.9.2")}}};
    out.ha.heartbeat = 50ms;
    out.ha.multiplier = 3;
    out.ha.port = port_;
    out.ha.tls_dir = dir_.string();
    return out;
  }

  std::filesystem::path dir_;
  asio::io_context main_{1};
  Listener listener_;
  std::uint16_t port_ = 0;
  std::array<std::unique_ptr<Instance>, 2> instances_;
  std::array<std::unique_ptr<sync::Channel>, 2> channels_;
};

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

struct Window {
  double rate = 0;  // packets/s
  double cpu = 0;   // of one CPU, all threads but the worker
};

Window window(Lab& lab, Worker& worker, bool telling) {
  lab.owner().set_telling(telling);
  (void)worker.run_for(kSettle);
  const auto others = [] { return cpu_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_of(CLOCK_THREAD_CPUTIME_ID); };
  const auto before = others();
  const Sample done = worker.run_for(kWindow);
  const double seconds = std::chrono::duration<double>(done.took).count();
  return {static_cast<double>(done.items) / seconds,
          std::chrono::duration<double>(others() - before).count() / seconds};
}

Status sync_cost(const std::string&) {
  keep_off(kWorkerCpu);
  GW_TRY_ASSIGN(const auto lab, Lab::create());
  GW_TRY(lab->wait_in_sync());
  GW_TRY_ASSIGN(const auto worker, Worker::create(lab->owner()));
  pin_to(kWorkerCpu);
  (void)window(*lab, *worker, true);  // everything is touched once
  std::vector<double> with, without, ratios, cpu, reports, p99;
  double worst = 0;
  for (int i = 0; i < kWindows; ++i) {
    const auto told = [&] { return lab->owner().ask([](SaSync& s) { return s.counters().reports; }); };
    Window on;
    Window off;
    const auto measure_on = [&] {
      const auto before = told();
      on = window(*lab, *worker, true);
      reports.push_back(static_cast<double>(told() - before));
      const auto lag = lab->owner().ask([](SaSync& s) { return s.lag(); });
      p99.push_back(std::chrono::duration<double, std::milli>(lag.p99).count());
      worst = std::max(worst, std::chrono::duration<double, std::milli>(lag.worst).count());
    };
    if (i % 2 == 0) measure_on();
    off = window(*lab, *worker, false);
    if (i % 2 != 0) measure_on();
    with.push_back(on.rate);
    without.push_back(off.rate);
    ratios.push_back(on.rate / off.rate);
    cpu.push_back(on.cpu - off.cpu);
  }
  std::ranges::sort(ratios);
  const double spread = (ratios[ratios.size() * 3 / 4] - ratios[ratios.size() / 4]) / median(ratios);
  std::println(R"({{"with":{:.0f},"without":{:.0f},"ratio":{:.4f},"spread":{:.4f},"cpu":{:.3f},"reports":{:.0f},)"
               R"("lag_p99_ms":{:.3f},"lag_worst_ms":{:.3f},"windows":{}}})",
               median(with), median(without), median(ratios), spread, median(cpu),
               median(reports) / std::chrono::duration<double>(kWindow + kSettle).count(), p99.back(), worst, kWindows);
  return {};
}

}  // namespace

void add_sync_tools(std::vector<Tool>& all) {
  all.push_back({"sync-cost", "10,000 SAs told to the other instance while a worker encrypts", sync_cost});
}

}  // namespace gw::bench
