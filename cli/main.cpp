// gwctl: the operator's command line. Wires the commands to the real socket, clock and terminal.
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <thread>

#include "cli/commands.hpp"

namespace {

gw::cli::Style terminal_style() {
  // https://no-color.org: any value but the empty one switches colours off.
  const char* no_color = std::getenv("NO_COLOR");
  const bool wanted = no_color == nullptr || *no_color == '\0';
  return wanted && ::isatty(STDOUT_FILENO) == 1 ? gw::cli::Style::kColoured : gw::cli::Style::kPlain;
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
