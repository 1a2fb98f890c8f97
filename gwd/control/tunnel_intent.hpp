// From a tunnel of the document to what charon is told of it, and what a change of it means for charon. Pure; any
// thread.
#pragma once

#include "gwd/config/model.hpp"
#include "ike/connection.hpp"

namespace gw::gwd {

ike::TunnelIntent to_intent(const config::TunnelModel& model, ike::Encapsulation by_default);

/// Whether SAs that charon has by `a` are good for `b`: they do not follow a changed model by themselves, as timers and
/// BGP do. A key that could not be read is no other key.
bool same_sas(const config::TunnelModel& a, const config::TunnelModel& b);
/// Whether charon need not be told of `b` after `a`.
bool same_connection(const config::TunnelModel& a, const config::TunnelModel& b);

}  // namespace gw::gwd
