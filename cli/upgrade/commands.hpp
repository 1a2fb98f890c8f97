// The words of `gwctl upgrade`. Owner: one run of gwctl.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>
#include <vector>

#include "cli/upgrade/pair.hpp"

namespace gw::cli::upgrade {

/// What the words of one command line were; lives as long as the tree of commands.
struct Words {
  std::string file;
  std::string wait;
  std::string pair;
  std::vector<std::string> hosts;
  bool restart = false;
  bool alone = false;
  bool older = false;
};

struct Wiring {
  std::function<Tools()> tools;
  std::function<int(const std::string& message)> usage;  // reports, and has the exit code
  std::function<bool()> json;
  /// The action of a command, when its words were chosen.
  std::function<void(std::function<int()>)> chosen;
};

void add_commands(CLI::App& root, Words& words, const Wiring& wiring);

}  // namespace gw::cli::upgrade
