// gw-bench: runs benchmarks by name and prints one JSON object a line. `--list` prints "name<TAB>summary".
// `--tool` does parts of benchmarks that are in Python. Started by tests/bench/run.py; see bench.hpp for how to add
// one.
#include <algorithm>
#include <cstdio>
#include <print>
#include <string>
#include <vector>

#include "tests/bench/bench.hpp"

namespace {

constexpr int kRuns = 41;

int run(const gw::bench::Benchmark& b) {
  auto comparison = b.prepare();
  if (!comparison) {
    std::println(stderr, "gw-bench: {}: {}", b.name, comparison.error().describe());
    return 1;
  }
  const auto outcome = gw::bench::measure(*comparison, kRuns);
  if (outcome.value <= 0 || outcome.reference_value <= 0) {
    std::println(stderr, "gw-bench: {}: a side did not do its work", b.name);
    return 1;
  }
  std::println("{}", gw::bench::to_json(b, *comparison, outcome));
  std::fflush(stdout);
  return 0;
}

int run_tool(const std::vector<std::string>& arguments) {
  std::vector<gw::bench::Tool> tools;
  gw::bench::add_fib_tools(tools);
  gw::bench::add_routes_tools(tools);
  gw::bench::add_sync_tools(tools);
  const auto tool = arguments.size() < 2 ? tools.end() : std::ranges::find(tools, arguments[1], &gw::bench::Tool::name);
  if (tool == tools.end()) {
    std::println(stderr, "gw-bench: --tool needs one of:");
    for (const auto& t : tools) std::println(stderr, "  {:<24} {}", t.name, t.summary);
    return 2;
  }
  const auto done = tool->run(arguments.size() > 2 ? arguments[2] : "");
  if (!done) std::println(stderr, "gw-bench: {}: {}", tool->name, done.error().describe());
  return done ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<gw::bench::Benchmark> all;
  gw::bench::add_esp(all);
  gw::bench::add_path(all);
  gw::bench::add_xsk(all);
  gw::bench::add_workers(all);
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  if (!wanted.empty() && wanted[0] == "--tool") return run_tool(wanted);
  if (wanted == std::vector<std::string>{"--list"}) {
    for (const auto& b : all) std::println("{}\t{}", b.name, b.summary);
    return 0;
  }
  int failed = 0;
  for (const std::string& name : wanted)
    if (std::ranges::find(all, name, &gw::bench::Benchmark::name) == all.end()) {
      std::println(stderr, "gw-bench: no benchmark is called '{}'; --list shows them", name);
      return 2;
    }
  for (const auto& b : all)
    if (wanted.empty() || std::ranges::find(wanted, b.name) != wanted.end()) failed |= run(b);
  return failed;
}
