// Tools for fib_bench.py: the full table as files for dpdk-test-fib, our lookup rate over the same routes and
// addresses, and updates of the table while a worker forwards packets.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <format>
#include <fstream>
#include <memory>
#include <print>
#include <random>
#include <thread>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "ebpf/control/forwarding.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/fib_routes.hpp"
#include "tests/bench/memory_gateway.hpp"

namespace gw::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kAddresses = 1 << 20;
constexpr unsigned kNextHops = 64;

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v[v.size() / 2];
}

fib::NextHop hop_number(std::size_t i) { return to_tunnel(static_cast<std::uint16_t>(kInnerMtu + i % kNextHops)); }

std::vector<fib::Route> routes_of(const std::vector<Prefix>& table) {
  std::vector<fib::Route> routes;
  routes.reserve(table.size());
  for (std::size_t i = 0; i < table.size(); ++i) routes.push_back({table[i], hop_number(i)});
  return routes;
}

Result<Family> family_named(const std::string& name) {
  if (name == "v4") return Family::kV4;
  if (name == "v6") return Family::kV6;
  return fail(Errc::kInvalidArgument, "v4 or v6");
}

/// dpdk-test-fib reads all eight groups of an IPv6 address.
std::string dpdk_text(const IpAddress& a) {
  if (a.is_v4()) return a.to_string();
  std::string text;
  for (std::size_t i = 0; i < 16; i += 2)
    text += std::format("{}{:02x}{:02x}", i == 0 ? "" : ":", a.bytes()[i], a.bytes()[i + 1]);
  return text;
}

/// routes-v4.txt, addresses-v4.txt, and the same for v6.
Status write_files(const std::string& folder) {
  for (const Family family : {Family::kV4, Family::kV6}) {
    const std::string name = family == Family::kV4 ? "v4" : "v6";
    const std::vector<Prefix> table = internet_table(family);
    std::ofstream routes(folder + "/routes-" + name + ".txt");
    for (std::size_t i = 0; i < table.size(); ++i)
      routes << dpdk_text(table[i].address()) << '/' << table[i].length() << ' ' << 1 + i % kNextHops << '\n';
    std::ofstream addresses(folder + "/addresses-" + name + ".txt");
    for (const IpAddress& a : random_addresses(table, kAddresses)) addresses << dpdk_text(a) << '\n';
    if (!routes.flush() || !addresses.flush()) return fail_errno("writing the routes to " + folder);
  }
  return {};
}

// --- lookup ----------------------------------------------------------------------------------------------------

/// The time stamp counter, in which dpdk-test-fib counts; nanoseconds elsewhere.
std::uint64_t ticks() {
#ifdef __x86_64__
  return __rdtsc();
#else
  return static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
#endif
}

double ticks_per_second() {
  const auto start = Clock::now();
  const std::uint64_t before = ticks();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const std::uint64_t after = ticks();
  return static_cast<double>(after - before) / std::chrono::duration<double>(Clock::now() - start).count();
}

/// Ticks per address, once over all of them in bursts.
double lookup_ticks(const fib::Memory& memory, const std::vector<IpAddress>& addresses) {
  std::array<std::uint32_t, fib::kLookupBurst> numbers;
  std::array<const std::uint8_t*, fib::kLookupBurst> bytes;
  std::array<fib::NextHopIndex, fib::kLookupBurst> found;
  std::uint64_t sum = 0;
  std::uint64_t took = 0;
  for (std::size_t i = 0; i + fib::kLookupBurst <= addresses.size(); i += fib::kLookupBurst) {
    for (std::size_t k = 0; k < fib::kLookupBurst; ++k) {
      const IpAddress& a = addresses[i + k];
      if (a.is_v4()) numbers[k] = a.v4();
      bytes[k] = a.bytes().data();
    }
    const std::uint64_t start = ticks();
    if (addresses[0].is_v4())
      fib::lookup_burst_v4(memory, numbers, found.data());
    else
      fib::lookup_burst_v6(memory, bytes, found.data());
    took += ticks() - start;
    for (const fib::NextHopIndex hop : found) sum += hop;
  }
  volatile std::uint64_t used = sum;
  (void)used;
  return static_cast<double>(took) / static_cast<double>(addresses.size());
}

Status measure_lookup(const std::string& name) {
  GW_TRY_ASSIGN(const Family family, family_named(name));
  GW_TRY_ASSIGN(const auto memory, FibMemory::create());
  const std::vector<Prefix> prefixes = internet_table(family);
  fib::Table table(memory->view(), [] {});
  const auto start = Clock::now();
  GW_TRY(table.update(routes_of(prefixes), {}));
  const double load_s = std::chrono::duration<double>(Clock::now() - start).count();
  const std::vector<IpAddress> addresses = random_addresses(prefixes, kAddresses);
  std::vector<double> took;
  for (int i = 0; i < 7; ++i) took.push_back(lookup_ticks(memory->view(), addresses));
  const double hz = ticks_per_second();
  const fib::Table::Usage usage = table.usage();
  std::println(
      R"({{"rate": {:.0f}, "tsc_hz": {:.0f}, "load_s": {:.2f}, "routes": {}, "v4_groups": {}, "v6_lines": {}, "control_bytes": {}}})",
      hz / median(took), hz, load_s, prefixes.size(), usage.v4_groups, usage.v6_lines, usage.control_bytes);
  return {};
}

// --- updates while packets flow ----------------------------------------------------------------------------------

/// A gateway of one worker whose packets go all over the table, which is on its own CPU.
class BusyGateway {
 public:
  static Result<std::unique_ptr<BusyGateway>> create(const std::vector<Prefix>& v4) {
    auto g = std::make_unique<BusyGateway>();
    GW_TRY_ASSIGN(g->fib_, FibMemory::create());
    GW_TRY_ASSIGN(g->memory_, worker::FrameMemory::create(kPackets));
    GW_TRY_ASSIGN(g->end_, TunnelEnd::create());
    GW_TRY_ASSIGN(auto raw, net::RawSender::open("lo"));
    GW_TRY_ASSIGN(auto crypto, esp::make_backend(esp::BackendChoice::kIpsecMb));
    std::vector<std::uint32_t> destinations;
    for (const IpAddress& a : random_addresses(v4, 65536)) destinations.push_back(a.v4());
    auto frames = std::move(worker::FramePools::cut(*g->memory_, 1)[0]);
    auto wan = std::make_unique<SinkPort>(*frames);
    auto vnet = std::make_unique<SourcePort>(*frames, 64, destinations);
    g->wan_ = wan.get();
    g->vnet_ = vnet.get();
    std::vector<worker::Worker::Parts> parts;
    const int cpus = static_cast<int>(std::thread::hardware_concurrency());
    parts.push_back({std::move(frames), std::move(wan), std::move(vnet), std::move(raw), std::move(crypto),
                     cpus > 1 ? std::optional(cpus - 1) : std::nullopt});
    GW_TRY_ASSIGN(g->workers_, worker::Workers::start(std::move(parts), {.tunnels = 16, .sas = 16, .neighbours = 16},
                                                      g->fib_->view(), g->clock_));
    worker::Workers& workers = *g->workers_;
    workers.call_all([&](worker::DataPath& d) { g->end_->install(d, workers.shared()); });
    g->forwarding_ = std::make_unique<control::Forwarding>(g->fib_->view(), workers);
    return g;
  }
  ~BusyGateway() {
    if (vnet_) vnet_->open(false);
  }

  control::Forwarding& forwarding() { return *forwarding_; }
  SinkPort& wan() { return *wan_; }
  void flow() {
    vnet_->open(true);
    workers_->quiesce();  // wakes it
  }

 private:
  static constexpr std::size_t kPackets = 256;
  SystemClock clock_;
  std::unique_ptr<FibMemory> fib_;
  std::unique_ptr<worker::FrameMemory> memory_;
  std::unique_ptr<TunnelEnd> end_;
  std::unique_ptr<worker::Workers> workers_;
  SinkPort* wan_ = nullptr;
  SourcePort* vnet_ = nullptr;
  std::unique_ptr<control::Forwarding> forwarding_;
};

/// Of this thread.
std::chrono::nanoseconds cpu_time() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

/// Half of each batch withdraws routes, the other half announces those of the batch before, over other next hops.
class Churn {
 public:
  explicit Churn(std::vector<Prefix> prefixes) : prefixes_(std::move(prefixes)) {}

  Result<std::size_t> batch(control::Forwarding& forwarding) {
    const std::vector<Prefix> remove(prefixes_.begin() + static_cast<std::ptrdiff_t>(next_),
                                     prefixes_.begin() + static_cast<std::ptrdiff_t>(next_ + kHalf));
    next_ = next_ + 2 * kHalf > prefixes_.size() ? 0 : next_ + kHalf;
    const std::size_t count = absent_.size() + remove.size();
    const auto start = Clock::now();
    const auto cpu_start = cpu_time();
    GW_TRY(forwarding.update(absent_, remove, 1));
    took_ += Clock::now() - start;
    cpu_ += cpu_time() - cpu_start;
    absent_.clear();
    for (const Prefix& p : remove) absent_.push_back({p, hop_number(++hop_)});
    return count;
  }
  std::chrono::duration<double> took() const { return took_; }
  std::chrono::duration<double> cpu() const { return cpu_; }

 private:
  static constexpr std::size_t kHalf = 512;
  std::vector<Prefix> prefixes_;
  std::vector<fib::Route> absent_;
  std::size_t next_ = 0;
  std::size_t hop_ = 0;
  Clock::duration took_{};
  std::chrono::nanoseconds cpu_{};
};

/// Windows with and without updates in turn: updates per second, and the longest gap between bursts of packets (the
/// median of the windows' longest) with and without.
Status measure_updates(const std::string&) {
  constexpr int kWindows = 15;
  constexpr auto kWindow = std::chrono::milliseconds(200);
  const std::vector<Prefix> v4 = internet_table(Family::kV4);
  const std::vector<Prefix> v6 = internet_table(Family::kV6);
  GW_TRY_ASSIGN(auto gateway, BusyGateway::create(v4));
  pin_to(0);
  control::Forwarding& forwarding = gateway->forwarding();
  GW_TRY(forwarding.update(std::vector<fib::Route>{{Prefix::parse("0.0.0.0/0").value(), to_tunnel()}}, {}, 1));
  std::vector<Prefix> all = v4;
  all.insert(all.end(), v6.begin(), v6.end());
  GW_TRY(forwarding.update(routes_of(all), {}, 1));
  std::mt19937_64 random(20251003);
  std::ranges::shuffle(all, random);
  Churn churn(std::move(all));
  gateway->flow();
  std::vector<double> quiet_us, busy_us, quiet_rate, busy_rate;
  std::size_t updates = 0;
  const auto window = [&](const auto& work, std::vector<double>& gap_us, std::vector<double>& rate) -> Status {
    const std::uint64_t before = gateway->wan().sent();
    (void)gateway->wan().take_longest_gap();
    const auto start = Clock::now();
    while (Clock::now() < start + kWindow) GW_TRY(work());
    const std::chrono::duration<double> took = Clock::now() - start;
    gap_us.push_back(static_cast<double>(gateway->wan().take_longest_gap().count()) / 1e3);
    rate.push_back(static_cast<double>(gateway->wan().sent() - before) / took.count());
    return {};
  };
  for (int i = 0; i < kWindows; ++i) {
    GW_TRY(window(
        []() -> Status {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return {};
        },
        quiet_us, quiet_rate));
    GW_TRY(window(
        [&]() -> Status {
          GW_TRY_ASSIGN(const std::size_t n, churn.batch(forwarding));
          updates += n;
          return {};
        },
        busy_us, busy_rate));
  }
  std::println(
      R"({{"updates_per_s": {:.0f}, "updates_per_cpu_s": {:.0f}, "stall_us": {:.1f}, "quiet_us": {:.1f}, "packets_per_s": {:.0f}, "quiet_packets_per_s": {:.0f}, "runs": {}}})",
      static_cast<double>(updates) / churn.took().count(), static_cast<double>(updates) / churn.cpu().count(),
      median(busy_us), median(quiet_us), median(busy_rate), median(quiet_rate), kWindows);
  return {};
}

Status print_table(const std::string&) {
  for (const Family family : {Family::kV4, Family::kV6})
    for (const Prefix& prefix : internet_table(family)) std::println("{}", prefix.to_string());
  return {};
}

}  // namespace

void add_fib_tools(std::vector<Tool>& all) {
  all.push_back({"fib-files", "writes the full table and addresses for dpdk-test-fib into a folder", write_files});
  all.push_back({"internet-table", "prints the full table, IPv4 first, a prefix a line", print_table});
  all.push_back({"fib-lookup", "lookups per second, full table of v4 or v6", measure_lookup});
  all.push_back({"fib-update", "updates of the full table while packets flow", measure_updates});
}

}  // namespace gw::bench
