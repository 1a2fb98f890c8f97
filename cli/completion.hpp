// Shell completion, made from the tree of commands and options itself. Pure; any thread.
#pragma once

#include <CLI/App.hpp>
#include <string>

namespace gw::cli {

enum class Shell : std::uint8_t { kBash, kZsh };

/// A script for `source <(gwctl completion bash)`.
std::string completion_script(const CLI::App& app, Shell shell);

}  // namespace gw::cli
