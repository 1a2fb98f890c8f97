// Why a connection of the sync channel ends because of what the other side is or said. Both sides name it: it is sent
// as a Bye. Any thread.
#pragma once

#include <expected>
#include <string>

#include "gw/ha/v1/ha.pb.h"

namespace gw::gwd::sync {

namespace wire = ::gw::ha::v1;

struct Refusal {
  wire::Reason reason = wire::REASON_MALFORMED;
  std::string message;  // for people, as seen by who refuses
};

template <class T>
using Judged = std::expected<T, Refusal>;

inline std::unexpected<Refusal> refuse(wire::Reason reason, std::string message) {
  return std::unexpected(Refusal{reason, std::move(message)});
}

}  // namespace gw::gwd::sync
