// How the model is shared: immutable, and never copied, because it holds secrets. Thread: control.
#pragma once

#include <memory>

#include "gwd/config/model.hpp"

namespace gw::gwd {

using ModelPtr = std::shared_ptr<const config::GatewayModel>;
/// Points into a model and keeps it alive.
using TunnelPtr = std::shared_ptr<const config::TunnelModel>;

}  // namespace gw::gwd
