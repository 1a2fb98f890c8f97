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

/// `now`: as it is carried. Of two instances, endpoints stay where they are.
DocumentScenario scenario_of(const config::GatewayModel& now, const config::GatewayModel& document,
                             const routes::Rib& rib);

}  // namespace gw::gwd
