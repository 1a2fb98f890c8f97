// A benchmark compares a subject with its reference in the same run: both are called in turn, many times, and
// what counts is the median, so that a busy neighbour harms both alike. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace gw::bench {

/// What one call of a side did. Rates are items per second.
struct Sample {
  std::uint64_t items = 0;
  std::chrono::nanoseconds took{};
};
using Side = std::function<Sample()>;

struct Outcome {
  double value = 0;            // median rate of the subject
  double reference_value = 0;  // median rate of the reference
  double ratio = 0;            // median of the ratios of neighbouring calls
  int runs = 0;
  double spread = 0;  // distance of the ratio's quartiles, relative to the ratio
};

struct Comparison {
  std::string reference;  // what the subject is compared with
  std::string unit;       // "packets/s"
  Side subject;
  Side other;
};

struct Benchmark {
  std::string name;
  std::string summary;
  std::function<Result<Comparison>()> prepare;  // sets up both sides; what they capture lives as long as they
};

/// Calls both sides in turn, `runs` times after a warm-up, changing who is first.
Outcome measure(const Comparison& c, int runs);

/// One line of JSON: name, value, unit, reference, reference_value, ratio, runs, spread.
std::string to_json(const Benchmark& b, const Comparison& c, const Outcome& o);

/// The calling thread runs there only.
void pin_to(std::size_t cpu);
/// It, and what it starts from now on, runs on the others, if there are any.
void keep_off(std::size_t cpu);

// Every file of benchmarks adds its own here; main.cpp calls them.
void add_esp(std::vector<Benchmark>& all);
void add_workers(std::vector<Benchmark>& all);
void add_path(std::vector<Benchmark>& all);
void add_xsk(std::vector<Benchmark>& all);

/// What the benchmarks in Python need from C++: `gw-bench --tool NAME [ARGUMENT]`. Prints JSON, or writes files.
struct Tool {
  std::string name;
  std::string summary;
  std::function<Status(const std::string& argument)> run;
};
void add_fib_tools(std::vector<Tool>& all);
void add_routes_tools(std::vector<Tool>& all);
void add_sync_tools(std::vector<Tool>& all);

}  // namespace gw::bench
