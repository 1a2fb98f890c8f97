// POST /v1/trace: names become what gw-fastpath knows, its answer gets the route's origin and advice. Thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string_view>

#include "gwd/api/http_server.hpp"
#include "gwd/control/gateway.hpp"

namespace gw::gwd {

boost::asio::awaitable<HttpResponse> trace(Gateway& gateway, HttpRequest request);
/// What an operator does about packets that are dropped for this reason; empty: the reason says it all.
std::string_view advice_for(std::string_view reason);

}  // namespace gw::gwd
