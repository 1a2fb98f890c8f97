// gwctl: the operator's command line. Wires the commands to the real socket, clock and terminal.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <thread>

#include "cli/commands.hpp"

namespace {

gw::cli::Style terminal_style() {
  // https://no-color.org: any value but the empty one switches colours off.
  const char* no_color = std::getenv("NO_COLOR");
  const bool wanted = no_color == nullptr || *no_color == '\0';
  return wanted && ::isatty(STDOUT_FILENO) == 1 ? gw::cli::Style::kColoured : gw::cli::Style::kPlain;
}

// Bounded: a journal may be long.
std::string run_command(const std::string& command) {
  constexpr std::size_t kMost = std::size_t{4} << 20;
  const auto close = [](FILE* f) { ::pclose(f); };
  const std::unique_ptr<FILE, decltype(close)> pipe(::popen(("{ " + command + "; } 2>&1").c_str(), "re"), close);
  if (!pipe) return "cannot run: " + command + "\n";
  std::string out;
  std::array<char, 65536> buffer;
  for (std::size_t n = 1; n != 0 && out.size() < kMost;) {
    n = std::fread(buffer.data(), 1, buffer.size(), pipe.get());
    out.append(buffer.data(), n);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const char* socket = std::getenv("GWD_SOCKET");
  const gw::SystemClock clock;
  gw::cli::Surroundings surroundings{
      .out = std::cout,
      .err = std::cerr,
      .style = terminal_style(),
      .default_socket = socket != nullptr && *socket != '\0' ? socket : gw::cli::kDefaultSocket,
      .version = GW_VERSION,
      .now = [&clock] { return clock.wall(); },
      .pause =
          [](std::chrono::seconds time) {
            std::this_thread::sleep_for(time);
            return true;
          },
      .run_command = run_command,
      .run_program = gw::cli::run_program,
      .uptime =
          [&clock] { return std::chrono::duration_cast<std::chrono::milliseconds>(clock.now().time_since_epoch()); },
      .connect =
          [](const std::string& path, std::chrono::milliseconds timeout) {
            return std::make_unique<gw::cli::UnixTransport>(path, timeout);
          },
  };
  try {
    return gw::cli::run(std::vector<std::string>(argv + 1, argv + argc), surroundings);
  } catch (const std::exception& e) {
    std::cerr << "gwctl: " << e.what() << "\n";
    return gw::cli::kUsage;
  }
}
