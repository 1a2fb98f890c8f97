// Runs another program of this machine, without a shell, and waits for its end. Blocks the calling thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gw::cli {

enum class Output : std::uint8_t {
  kCaptured,
  kShown,  // on this program's own, while it runs; its errors are captured as well
};

struct Command {
  std::vector<std::string> argv;
  std::string input = {};  // a file; empty: nothing
  Output output = Output::kCaptured;
};

struct Ran {
  int status = 0;  // 127: could not be run; above 128: killed by signal status - 128
  std::string out;
  std::string err;
  bool ok() const { return status == 0; }
  /// What it said when it failed.
  const std::string& said() const { return err.empty() ? out : err; }
};

Ran run_program(const Command& command);

}  // namespace gw::cli
