#include "tests/bench/bench.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <format>

namespace gw::bench {
namespace {

double rate(const Sample& s) {
  const double seconds = std::chrono::duration<double>(s.took).count();
  return seconds > 0 ? static_cast<double>(s.items) / seconds : 0;
}

double quantile(std::vector<double> v, double q) {
  std::ranges::sort(v);
  return v[static_cast<std::size_t>(q * static_cast<double>(v.size() - 1) + 0.5)];
}

}  // namespace

Outcome measure(const Comparison& c, int runs) {
  std::vector<double> subject, other, ratio;
  for (int i = -2; i < runs; ++i) {  // the first two warm up caches and clocks
    Sample s, o;
    if (i % 2 == 0) {
      s = c.subject();
      o = c.other();
    } else {
      o = c.other();
      s = c.subject();
    }
    if (i < 0) continue;
    subject.push_back(rate(s));
    other.push_back(rate(o));
    ratio.push_back(other.back() > 0 ? subject.back() / other.back() : 0);
  }
  Outcome out;
  out.value = quantile(subject, 0.5);
  out.reference_value = quantile(other, 0.5);
  out.ratio = quantile(ratio, 0.5);
  out.runs = runs;
  out.spread = out.ratio > 0 ? (quantile(ratio, 0.75) - quantile(ratio, 0.25)) / out.ratio : 0;
  return out;
}

std::string to_json(const Benchmark& b, const Comparison& c, const Outcome& o) {
  return std::format(
      R"({{"name": "{}", "value": {:.0f}, "unit": "{}", "reference": "{}", "reference_value": {:.0f}, "ratio": {:.3f}, "runs": {}, "spread": {:.3f}}})",
      b.name, o.value, c.unit, c.reference, o.reference_value, o.ratio, o.runs, o.spread);
}

void pin_to(std::size_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

void keep_off(std::size_t cpu) {
  cpu_set_t set;
  if (::pthread_getaffinity_np(::pthread_self(), sizeof set, &set) != 0 || CPU_COUNT(&set) < 2) return;
  CPU_CLR(cpu, &set);
  (void)::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace gw::bench
