#include "ebpf/net/send_error.hpp"

#include <cerrno>

namespace gw::net {

gw_drop drop_for_send_error(int error) {
  switch (error) {
    case EAGAIN:   // socket buffer
    case ENOBUFS:  // queue of the interface
    case ENOMEM: return GW_DROP_TX_FULL;
    case EMSGSIZE: return GW_DROP_TOO_BIG;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case ENODEV:
    case EADDRNOTAVAIL:  // the endpoint's address moved away
      return GW_DROP_UNREACHABLE;
    default: return GW_DROP_SEND_REFUSED;
  }
}

}  // namespace gw::net
