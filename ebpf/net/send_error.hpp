// Why the kernel did not send a packet, as a drop reason. Any thread.
#pragma once

#include "ebpf/abi/drop.h"

namespace gw::net {

/// `error`: errno of a send; what is not the network's is a refusal (a firewall's EPERM, say).
gw_drop drop_for_send_error(int error);

}  // namespace gw::net
