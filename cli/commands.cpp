#include "cli/commands.hpp"

#include "cli/program.hpp"

namespace gw::cli {

int run(const std::vector<std::string>& words, const Surroundings& surroundings) {
  return Program(surroundings).run(words);
}

}  // namespace gw::cli
