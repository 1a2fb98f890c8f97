// Samples of one scrape, by metric, and their text (Prometheus' exposition format 0.0.4). Thread: any.
#pragma once

#include <prometheus/metric_family.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace gw::gwd::metrics {

using Labels = std::vector<prometheus::ClientMetric::Label>;

struct Name {
  const char* name;
  const char* help;
};

/// Collects samples into families, in the order of first use.
class Families {
 public:
  struct Buckets {
    std::span<const double> bounds;
    std::span<const std::uint64_t> counts;  // one more: beyond the last bound; not so without such
    double sum = 0;
  };
  void gauge(const Name& name, Labels labels, double value);
  /// A gauge that is 1 or 0.
  void flag(const Name& name, Labels labels, bool is) { gauge(name, std::move(labels), is ? 1.0 : 0.0); }
  void counter(const Name& name, Labels labels, std::uint64_t value);
  /// A counter in seconds.
  void seconds(const Name& name, Labels labels, std::chrono::nanoseconds value);
  void histogram(const Name& name, Labels labels, const Buckets& buckets);
  std::string text() const;

 private:
  prometheus::MetricFamily& family(const Name& name, prometheus::MetricType type);
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace gw::gwd::metrics
