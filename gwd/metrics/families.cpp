#include "gwd/metrics/families.hpp"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace gw::gwd::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kBeyond = std::numeric_limits<double>::infinity();

}  // namespace

void Families::gauge(const Name& name, Labels labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family(name, MetricType::Gauge).metric.push_back(std::move(metric));
}

void Families::counter(const Name& name, Labels labels, std::uint64_t value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(value);
  family(name, MetricType::Counter).metric.push_back(std::move(metric));
}

void Families::seconds(const Name& name, Labels labels, std::chrono::nanoseconds value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = std::chrono::duration<double>(value).count();
  family(name, MetricType::Counter).metric.push_back(std::move(metric));
}

void Families::histogram(const Name& name, Labels labels, const Buckets& buckets) {
  ClientMetric metric;
  metric.label = std::move(labels);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < buckets.counts.size(); ++i) {
    below += buckets.counts[i];
    metric.histogram.bucket.push_back({below, i < buckets.bounds.size() ? buckets.bounds[i] : kBeyond});
  }
  if (buckets.counts.size() <= buckets.bounds.size()) metric.histogram.bucket.push_back({below, kBeyond});
  metric.histogram.sample_count = below;
  metric.histogram.sample_sum = buckets.sum;
  family(name, MetricType::Histogram).metric.push_back(std::move(metric));
}

std::string Families::text() const { return prometheus::TextSerializer().Serialize(families_); }

MetricFamily& Families::family(const Name& name, MetricType type) {
  const auto it = std::ranges::find(families_, name.name, &MetricFamily::name);
  if (it != families_.end()) return *it;
  families_.push_back({name.name, name.help, type, {}});
  return families_.back();
}

}  // namespace gw::gwd::metrics
