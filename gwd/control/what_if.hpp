// What applying a document would do to routes: the scenario for routes/what_if, and what nobody can know beforehand.
// Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "gwd/config/model.hpp"
#include "routes/rib.hpp"

namespace gw::gwd {

struct DocumentScenario {
  routes::Scenario scenario;
  std::vector<std::string> gone;       // sessions that would end
  std::vector<std::string> restarted;  // sessions that would begin anew; taken to bring the same routes
  std::vector<std::string> unknown;    // new sessions: what they will bring is not known
};

DocumentScenario scenario_of(const config::GatewayModel& now, const config::GatewayModel& next, const routes::Rib& rib);

}  // namespace gw::gwd
