// path-1408, path-64: the whole way out without I/O, one core: frame, parse, forwarding lookup, encapsulate, link
// header, ready to transmit; against raw ipsec-mb alone on buffers of the same kind.
#include <format>
#include <memory>
#include <numeric>

#include "tests/bench/bench.hpp"
#include "tests/bench/memory_gateway.hpp"
#include "tests/bench/raw_side.hpp"

namespace gw::bench {
namespace {

class PathSide {
 public:
  static Result<std::shared_ptr<PathSide>> create(std::uint32_t inner_bytes) {
    auto side = std::make_shared<PathSide>();
    side->rounds_ = rounds_for(inner_bytes) * kPackets / worker::kBurst;
    GW_TRY_ASSIGN(side->memory_, worker::FrameMemory::create(kPackets));
    side->frames_ = std::move(worker::FramePools::cut(*side->memory_, 1)[0]);
    std::vector<std::uint32_t> hosts(256);
    std::iota(hosts.begin(), hosts.end(), 0x0a020000U);
    side->vnet_ = std::make_unique<SourcePort>(*side->frames_, inner_bytes, hosts);
    side->wan_ = std::make_unique<SinkPort>(*side->frames_);
    GW_TRY_ASSIGN(auto raw, net::RawSender::open("lo"));
    side->raw_.emplace(std::move(raw));
    GW_TRY_ASSIGN(side->exchange_, worker::Exchange::create(1));
    GW_TRY_ASSIGN(side->end_, TunnelEnd::create());
    GW_TRY_ASSIGN(side->fib_, FibMemory::create());
    side->table_ = std::make_unique<fib::Table>(side->fib_->view(), [] {});
    GW_TRY(side->table_->update(std::vector<fib::Route>{{Prefix::parse("10.2.0.0/16").value(), to_tunnel()}}, {}));
    side->path_ = std::make_unique<worker::DataPath>(worker::DataPath::Parts{
        0, side->shared_, *side->exchange_, *side->frames_, *side->wan_, *side->vnet_, *side->raw_,
        *side->end_->backend, side->clock_, side->fib_->view(), side->notices_, side->tunnels_, side->counters_});
    side->end_->install(*side->path_, side->shared_);
    side->vnet_->open(true);
    return side;
  }

  Sample run() {
    const std::uint64_t before = wan_->sent();
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t r = 0; r < rounds_; ++r) {
      burst_.count = 0;
      vnet_->receive(burst_);
      path_->work_off(burst_, &worker::DataPath::from_vnet);
    }
    return {wan_->sent() - before, std::chrono::steady_clock::now() - start};
  }

 private:
  SystemClock clock_;
  worker::Shared shared_{{.tunnels = 16, .sas = 16, .neighbours = 16}};
  SpscQueue<worker::Notice> notices_{64};
  std::vector<worker::TunnelCounters> tunnels_{16};
  worker::WorkerCounters counters_{16};
  worker::Burst burst_;
  std::uint64_t rounds_ = 0;
  std::unique_ptr<worker::FrameMemory> memory_;
  std::unique_ptr<worker::FramePool> frames_;
  std::unique_ptr<SourcePort> vnet_;
  std::unique_ptr<SinkPort> wan_;
  std::optional<net::RawSender> raw_;
  std::unique_ptr<worker::Exchange> exchange_;
  std::unique_ptr<TunnelEnd> end_;
  std::unique_ptr<FibMemory> fib_;
  std::unique_ptr<fib::Table> table_;
  std::unique_ptr<worker::DataPath> path_;
};

Result<Comparison> compare(std::uint32_t bytes) {
  GW_TRY_ASSIGN(auto path, PathSide::create(bytes));
  GW_TRY_ASSIGN(auto raw, RawSide::create(bytes));
  return Comparison{.reference = raw->name(),
                    .unit = "packets/s",
                    .subject = [path] { return path->run(); },
                    .other = [raw] { return raw->encrypt(); }};
}

}  // namespace

void add_path(std::vector<Benchmark>& all) {
  for (const std::uint32_t bytes : {1408U, 64U})
    all.push_back({std::format("path-{}", bytes),
                   std::format("parse, lookup, encapsulate, ready to transmit, {} B inner packets, one core", bytes),
                   [bytes] { return compare(bytes); }});
}

}  // namespace gw::bench
