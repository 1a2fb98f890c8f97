// BFD sessions between protobuf and our own types: what two instances tell each other of them, and the list for people.
// Pure. Faults name the field as the sender wrote it.
#pragma once

#include "base/result.hpp"
#include "ebpf/bfd/engine.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::rpc {

namespace fp = ::gw::fastpath::v1;

/// Who says it: the other instance, whose own sessions (without a device) are not ours; or a process before this one.
enum class Sharer : std::uint8_t { kOtherInstance, kPredecessor };
Result<bfd::SharedSession> parse_shared_session(const fp::BfdSharedSession& message,
                                                Sharer sharer = Sharer::kOtherInstance);
void fill(const bfd::SharedSession& session, fp::BfdSharedSession& out);
void fill(const bfd::Engine& engine, MonoTime now, fp::BfdList& out);

}  // namespace gw::rpc
