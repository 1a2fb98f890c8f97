#include "cli/render_workers.hpp"

#include <algorithm>
#include <format>
#include <numeric>

namespace gw::cli {
namespace {

using Counts = google::protobuf::RepeatedField<std::uint64_t>;

std::uint64_t total(const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}); }

/// The class that so many thousandths of all are in or below; none: nothing was counted.
std::optional<int> class_at(const Counts& counts, std::uint64_t thousandths) {
  const std::uint64_t all = total(counts);
  std::uint64_t below = 0;
  for (int i = 0; i < counts.size(); ++i) {
    below += counts[i];
    if (all > 0 && below * 1000 >= all * thousandths) return i;
  }
  return std::nullopt;
}

std::string time_text(std::uint64_t ns) {
  if (ns < 1000) return std::format("{} ns", ns);
  if (ns < 10'000) return std::format("{:.2g} us", static_cast<double>(ns) / 1e3);
  if (ns < 1'000'000) return std::format("{} us", ns / 1000);
  return std::format("{:.3g} ms", static_cast<double>(ns) / 1e6);
}

// "<=4": the bound of the class.
std::string burst_bound(int i) { return std::format("<={}", std::uint64_t{1} << i); }

constexpr std::uint64_t kShortestNs = 500;
std::string latency_bound(int i, int classes) {
  if (i + 1 == classes) return ">" + time_text(kShortestNs << (classes - 2));
  return "<=" + time_text(kShortestNs << i);
}

std::string burst_at(const api::WorkerCounters& w, std::uint64_t thousandths) {
  const auto i = class_at(w.burst_sizes(), thousandths);
  return i ? burst_bound(*i) : "";
}

std::string latency_at(const api::WorkerCounters& w, std::uint64_t thousandths) {
  const auto i = class_at(w.latency(), thousandths);
  return i ? latency_bound(*i, w.latency_size()) : "";
}

/// Exact, if it is known.
std::string longest(const api::WorkerCounters& w) {
  return w.latency_max_ns() == 0 ? latency_at(w, 1000) : time_text(w.latency_max_ns());
}

struct Load {
  double cpu = 0;  // of 1: a whole CPU
  double busy = 0;
  double polling = 0;
};

/// The kernel's CPU time, in the proportion of the rounds that were timed.
Load load_of(const api::WorkerCounters& w, std::uint64_t window_ms) {
  if (window_ms == 0) return {};
  Load load{.cpu = static_cast<double>(w.cpu_ns()) / 1e6 / static_cast<double>(window_ms)};
  const auto rounds = static_cast<double>(w.busy_ns() + w.polling_ns());
  if (rounds > 0) load.busy = load.cpu * static_cast<double>(w.busy_ns()) / rounds;
  if (rounds > 0) load.polling = load.cpu * static_cast<double>(w.polling_ns()) / rounds;
  return load;
}

std::string percent(double share) { return std::format("{:.1f} %", share * 100); }

std::string queues_of(const api::WorkerPort& port) {
  std::string out = port.side();
  for (int i = 0; i < port.queues_size(); ++i) out += std::format("{}{}", i == 0 ? " " : ",", port.queues(i));
  return out;
}

std::string ports_of(const api::WorkerCounters& w) {
  std::string out;
  for (const api::WorkerPort& port : w.ports()) out += (out.empty() ? "" : ", ") + queues_of(port);
  return out;
}

/// "1: 20, 2: 0, 4: 7"; what lies outside of the first and the last that have any is left out.
std::string histogram(const Counts& counts, const auto& bound) {
  int first = 0;
  int last = counts.size() - 1;
  while (first <= last && counts[first] == 0) ++first;
  while (last >= first && counts[last] == 0) --last;
  std::string out;
  for (int i = first; i <= last; ++i) out += std::format("{}{}: {}", out.empty() ? "" : ", ", bound(i), counts[i]);
  return out.empty() ? "none" : out;
}

void note_details(const api::WorkerCounters& w, Table& table) {
  for (const api::WorkerPort& port : w.ports())
    table.note(std::format("{} ({}, {}): received {}, sent {}", queues_of(port), port.interface(), port.kind(),
                           port.rx_packets(), port.tx_packets()));
  table.note("bursts by packets: " + histogram(w.burst_sizes(), burst_bound));
  table.note(std::format("packets by latency, of one burst in 17: {}",
                         histogram(w.latency(), [&](int i) { return latency_bound(i, w.latency_size()); })));
}

std::uint64_t less(std::uint64_t later, std::uint64_t earlier) { return later > earlier ? later - earlier : 0; }

void subtract(const Counts& earlier, Counts& from) {
  for (int i = 0; i < std::min(earlier.size(), from.size()); ++i) from[i] = less(from[i], earlier[i]);
}

void subtract(const api::WorkerCounters& earlier, api::WorkerCounters& w) {
  w.set_packets(less(w.packets(), earlier.packets()));
  w.set_bursts(less(w.bursts(), earlier.bursts()));
  w.set_handed_over(less(w.handed_over(), earlier.handed_over()));
  w.set_taken_over(less(w.taken_over(), earlier.taken_over()));
  w.set_handover_drops(less(w.handover_drops(), earlier.handover_drops()));
  w.set_moved(less(w.moved(), earlier.moved()));
  w.set_cpu_ns(less(w.cpu_ns(), earlier.cpu_ns()));
  w.set_busy_ns(less(w.busy_ns(), earlier.busy_ns()));
  w.set_polling_ns(less(w.polling_ns(), earlier.polling_ns()));
  w.set_latency_sum_ns(less(w.latency_sum_ns(), earlier.latency_sum_ns()));
  if (w.latency_max_ns() == earlier.latency_max_ns()) w.set_latency_max_ns(0);
  subtract(earlier.burst_sizes(), *w.mutable_burst_sizes());
  subtract(earlier.latency(), *w.mutable_latency());
  for (int i = 0; i < std::min(earlier.ports_size(), w.ports_size()); ++i) {
    api::WorkerPort& port = *w.mutable_ports(i);
    port.set_rx_packets(less(port.rx_packets(), earlier.ports(i).rx_packets()));
    port.set_tx_packets(less(port.tx_packets(), earlier.ports(i).tx_packets()));
  }
}

}  // namespace

api::WorkersReply between(const api::WorkersReply& earlier, const api::WorkersReply& later) {
  api::WorkersReply out = later;
  if (later.window_ms() < earlier.window_ms() || later.workers_size() != earlier.workers_size()) return out;
  out.set_window_ms(later.window_ms() - earlier.window_ms());
  out.set_interval(true);
  for (int i = 0; i < out.workers_size(); ++i) subtract(earlier.workers(i), *out.mutable_workers(i));
  return out;
}

std::string render(const api::WorkersReply& reply, const View& view) {
  Table table({{"Worker", Align::kRight},
               {"On"},
               {"Queues"},
               {"Tunnels", Align::kRight},
               {"Packets", Align::kRight},
               {"CPU", Align::kRight},
               {"Busy", Align::kRight},
               {"Polling", Align::kRight},
               {"Bursts", Align::kRight},
               {"p50", Align::kRight},
               {"p99", Align::kRight},
               {"Max", Align::kRight},
               {"Latency p50", Align::kRight},
               {"p99", Align::kRight},
               {"Max", Align::kRight}});
  for (const api::WorkerCounters& w : reply.workers()) {
    const Load load = load_of(w, reply.window_ms());
    table.row({w.worker(), w.has_cpu() ? std::format("CPU {}", w.cpu()) : "any CPU", ports_of(w), w.tunnels(),
               w.packets(), percent(load.cpu), percent(load.busy), percent(load.polling), w.bursts(), burst_at(w, 500),
               burst_at(w, 990), burst_at(w, 1000), latency_at(w, 500), latency_at(w, 990), longest(w)});
    if (view.detail == Detail::kLong) note_details(w, table);
  }
  if (table.empty()) return "no packet threads\n";
  const std::string window = reply.window_ms() < 10'000
                                 ? std::format("{:.1f} s", static_cast<double>(reply.window_ms()) / 1e3)
                                 : human_duration(std::chrono::seconds(reply.window_ms() / 1000));
  return std::format("{} {}\n\n", reply.interval() ? "in" : "since the start,", window) + table.render(view.style);
}

}  // namespace gw::cli
