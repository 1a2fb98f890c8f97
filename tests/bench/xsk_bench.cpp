// xsk-encap-1400, xsk-encap-60: packets that arrive on one veth are encapsulated and leave by another, over AF_XDP
// ports, against the same ports forwarding them as they are. One worker thread does both in turn; another CPU sends
// without end (an XDP program run by the kernel on live frames). In a network namespace of its own.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <format>
#include <memory>
#include <numeric>
#include <thread>

#include "ebpf/xdp/programs.hpp"
#include "ebpf/xsk/port.hpp"
#include "ebpf/xsk/socket.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/memory_gateway.hpp"
#include "tests/bench/sample_sa.hpp"

namespace gw::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kCall{100};
constexpr net::MacAddress kOurMac = {2, 0, 0, 0, 0, 1};

/// Two pairs, both in this namespace: benchPeerIn - benchIn, benchOut - benchPeerOut.
Status make_links() {
  if (::unshare(CLONE_NEWNET) != 0) return fail_errno("making a network namespace");
  constexpr const char* kCommands =
      "ip link add bin address 02:00:00:00:00:01 type veth peer name binp && "
      "ip link add bout type veth peer name boutp && "
      "for i in bin binp bout boutp; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; ip link set $i up; done";
  if (std::system(kCommands) != 0) return fail(Errc::kIo, "making the links failed");
  return {};
}

/// Sends one frame again and again out of an interface: the kernel runs a program on live frames that redirects.
class Generator {
 public:
  static Result<std::unique_ptr<Generator>> start(int ifindex, std::uint32_t inner_bytes) {
    auto g = std::make_unique<Generator>();
    const bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .src_reg = 0, .off = 0, .imm = ifindex},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_redirect},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    g->program_.reset(bpf_prog_load(BPF_PROG_TYPE_XDP, "bench_send", "GPL", program, std::size(program), nullptr));
    if (!g->program_) return fail_errno("loading the sender");
    g->frame_.resize(worker::kEthernetBytes + inner_bytes);
    std::ranges::copy(kOurMac, g->frame_.begin());
    store_be(&g->frame_[12], std::uint16_t{0x0800});
    std::ranges::copy(sample_header(static_cast<std::uint16_t>(inner_bytes), 0x0a020007), &g->frame_[14]);
    store_be(&g->frame_[34], std::uint16_t{1024});
    store_be(&g->frame_[36], std::uint16_t{9});
    store_be(&g->frame_[38], static_cast<std::uint16_t>(inner_bytes - 20));
    g->thread_ = std::thread([raw = g.get()] { raw->run(); });
    return g;
  }
  ~Generator() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    pin_to(0);  // its packets are received on this CPU, too (NAPI)
    xdp_md context{};
    context.data_end = static_cast<std::uint32_t>(frame_.size());
    while (!stop_) {
      bpf_test_run_opts options{};
      options.sz = sizeof options;
      options.data_in = frame_.data();
      options.data_size_in = static_cast<std::uint32_t>(frame_.size());
      options.ctx_in = &context;
      options.ctx_size_in = sizeof context;
      options.repeat = 1 << 16;
      options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
      options.batch_size = 64;
      if (bpf_prog_test_run_opts(program_.get(), &options) != 0) return;
    }
  }
  Fd program_;
  std::vector<std::uint8_t> frame_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// What a rate is measured against: the clock, or the time in which the worker had packets. The sender does not fill a
/// fast worker.
enum class Time : std::uint8_t { kAll, kBusy };

class XskSide {
 public:
  explicit XskSide(Time time) : time_(time) {}
  static Result<std::shared_ptr<XskSide>> create(std::uint32_t inner_bytes, Time time) {
    GW_TRY(make_links());
    auto s = std::make_shared<XskSide>(time);
    GW_TRY_ASSIGN(auto maps, xdp::Maps::create({.max_sas = 16}));
    s->maps_.emplace(std::move(maps));
    GW_TRY_ASSIGN(auto program, xdp::VnetProgram::load(*s->maps_));
    s->program_.emplace(std::move(program));
    GW_TRY(s->program_->attach(static_cast<int>(::if_nametoindex("bin"))));
    s->program_->set_mac(kOurMac);
    GW_TRY(s->open_ports());
    GW_TRY(s->make_path());
    GW_TRY_ASSIGN(s->generator_, Generator::start(static_cast<int>(::if_nametoindex("binp")), inner_bytes));
    return s;
  }

  Sample encapsulate() {
    return run([this] { path_->work_off(burst_, &worker::DataPath::from_vnet); });
  }
  /// What any forwarder does: other addresses in front, out on the other side.
  Sample forward() {
    return run([this] {
      for (std::size_t i = 0; i < burst_.count; ++i) {
        esp::Packet& p = burst_.packets[i];
        std::ranges::copy(header_, p.data());
        wan_->queue_one() = {.data = p.data(), .length = p.length, .frame = burst_.meta[i].frame};
      }
      for (const worker::Outgoing& lost : wan_->flush())
        if (lost.lost != GW_DROP_NONE) pools_[0]->give(lost.frame);
    });
  }

 private:
  Status open_ports() {
    GW_TRY_ASSIGN(memory_, worker::FrameMemory::create(6 * xsk::kRingEntries));
    pools_ = worker::FramePools::cut(*memory_, 1);
    GW_TRY_ASSIGN(umem_, xsk::Umem::create(*memory_, xsk::Umem::FramesPerPacket::kOne));
    for (const auto& [name, port] : {std::pair{"bin", &vnet_}, std::pair{"bout", &wan_}}) {
      GW_TRY_ASSIGN(auto socket, xsk::Socket::open(*umem_, *pools_[0], {name, 0}, xsk::CopyMode::kCopy));
      if (port == &vnet_) GW_TRY(program_->set_socket(0, socket->fd()));
      std::vector<std::unique_ptr<xsk::Socket>> sockets;
      sockets.push_back(std::move(socket));
      *port = std::make_unique<xsk::XskPort>(std::move(sockets), *pools_[0]);
    }
    return {};
  }

  Status make_path() {
    GW_TRY_ASSIGN(auto raw, net::RawSender::open("bout"));
    raw_.emplace(std::move(raw));
    GW_TRY_ASSIGN(exchange_, worker::Exchange::create(1));
    GW_TRY_ASSIGN(end_, TunnelEnd::create());
    const xdp::FibArrays a = maps_->fib();
    const fib::Memory fib{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops};
    table_ = std::make_unique<fib::Table>(fib, [] {});
    GW_TRY(table_->update(std::vector<fib::Route>{{Prefix::parse("10.2.0.0/16").value(), to_tunnel()}}, {}));
    path_ = std::make_unique<worker::DataPath>(worker::DataPath::Parts{0, shared_, *exchange_, *pools_[0], *wan_,
                                                                       *vnet_, *raw_, *end_->backend, clock_, fib,
                                                                       notices_, tunnels_, counters_});
    end_->install(*path_, shared_);
    return {};
  }

  /// Bursts for a while; the packets that the wan port has sent.
  template <class Work>
  Sample run(const Work& work) {
    const std::uint64_t before = wan_->tx_packets.get();
    const auto start = Clock::now();
    auto now = start;
    Clock::duration idle{};
    while (now < start + kCall) {
      burst_.count = 0;
      vnet_->receive(burst_);
      if (burst_.count > 0) work();
      wan_->maintain();
      vnet_->maintain();
      const auto next = Clock::now();
      if (burst_.count == 0) idle += next - now;
      now = next;
    }
    return {wan_->tx_packets.get() - before, now - start - (time_ == Time::kBusy ? idle : Clock::duration{})};
  }

  const Time time_;
  SystemClock clock_;
  worker::Shared shared_{{.tunnels = 16, .sas = 16, .neighbours = 16}};
  SpscQueue<worker::Notice> notices_{64};
  std::vector<worker::TunnelCounters> tunnels_{16};
  worker::WorkerCounters counters_{16};
  worker::Burst burst_;
  const std::array<std::uint8_t, worker::kEthernetBytes> header_{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
  std::optional<xdp::Maps> maps_;
  std::optional<xdp::VnetProgram> program_;
  std::unique_ptr<worker::FrameMemory> memory_;
  std::vector<std::unique_ptr<worker::FramePool>> pools_;
  std::unique_ptr<xsk::Umem> umem_;
  std::unique_ptr<worker::Port> vnet_;
  std::unique_ptr<worker::Port> wan_;
  std::optional<net::RawSender> raw_;
  std::unique_ptr<worker::Exchange> exchange_;
  std::unique_ptr<TunnelEnd> end_;
  std::unique_ptr<fib::Table> table_;
  std::unique_ptr<worker::DataPath> path_;
  std::unique_ptr<Generator> generator_;
};

Result<Comparison> compare(std::uint32_t bytes, Time time) {
  GW_TRY_ASSIGN(auto side, XskSide::create(bytes, time));
  pin_to(std::thread::hardware_concurrency() - 1);
  return Comparison{.reference = "the same AF_XDP ports, forwarding",
                    .unit = "packets/s",
                    .subject = [side] { return side->encapsulate(); },
                    .other = [side] { return side->forward(); }};
}

}  // namespace

void add_xsk(std::vector<Benchmark>& all) {
  for (const std::uint32_t bytes : {1400U, 60U}) {
    all.push_back({std::format("xsk-encap-{}", bytes),
                   std::format("AF_XDP ports over veth: encapsulation of {} B packets, against forwarding", bytes),
                   [bytes] { return compare(bytes, Time::kAll); }});
    all.push_back({std::format("xsk-encap-{}-busy", bytes),
                   "the same a second in which the worker had packets: the sender does not fill it",
                   [bytes] { return compare(bytes, Time::kBusy); }});
  }
}

}  // namespace gw::bench
