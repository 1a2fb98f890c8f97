// The ports are named twice: on gw-fastpath's command line and in the document. Says where they differ. Pure.
#pragma once

#include <string>

#include "gw/fastpath/v1/fastpath.pb.h"
#include "gwd/control/forward_guard.hpp"

namespace gw::gwd {

/// Empty when gw-fastpath serves the interfaces that the document names; otherwise what is wrong and what to do.
std::string port_mismatch(const ::gw::fastpath::v1::PortList& served, const GuardPorts& document);

}  // namespace gw::gwd
