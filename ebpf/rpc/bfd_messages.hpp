// BFD sessions between protobuf and our own types: what two instances tell each other of them, and the list for people.
// Pure. Faults name the field as the sender wrote it.
#pragma once

#include "base/result.hpp"
#include "ebpf/bfd/engine.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::rpc {

namespace fp = ::gw::fastpath::v1;

Result<bfd::SharedSession> parse_shared_session(const fp::BfdSharedSession& message);
void fill(const bfd::SharedSession& session, fp::BfdSharedSession& out);
void fill(const bfd::Engine& engine, MonoTime now, fp::BfdList& out);

}  // namespace gw::rpc
