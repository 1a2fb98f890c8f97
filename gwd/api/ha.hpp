// The API's part about two instances: what is shown of them, and the operator's orders (proto/gw/api/v1/ha.proto).
// Owner: Api; thread: control.
#pragma once

#include "base/result.hpp"
#include "gw/api/v1/ha.pb.h"
#include "gwd/control/config_service.hpp"
#include "gwd/control/gateway.hpp"

namespace gw::gwd {

namespace api = ::gw::api::v1;

/// kNotFound: the document has no other instance to share state with.
Result<api::HaReply> make_ha_reply(const Gateway& gateway, const ConfigService& config, const Clock& clock);

Status ha_drain(Gateway& gateway);
Status ha_undrain(Gateway& gateway);
/// kNotFound: no such endpoint or instance; kRefused with the reason.
Status ha_move(Gateway& gateway, const api::HaMoveRequest& request);
Status ha_takeover(Gateway& gateway, const api::HaTakeoverRequest& request);

}  // namespace gw::gwd
