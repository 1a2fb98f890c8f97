// `gwctl routes what-if`: a document, sessions that are down, or both, on the live routes. Nothing is touched, and
// nothing waits: a full table is looked at in slices. Thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "gwd/api/http_server.hpp"
#include "gwd/control/config_service.hpp"
#include "gwd/control/gateway.hpp"

namespace gw::gwd {

/// GET with a query, or POST with a WhatIfRequest.
boost::asio::awaitable<HttpResponse> what_if(Gateway& gateway, const ConfigService& config, HttpRequest request);

}  // namespace gw::gwd
