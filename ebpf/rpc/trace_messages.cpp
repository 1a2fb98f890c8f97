// Trace and TraceReply of fastpath.proto.
#include <format>

#include "ebpf/abi/drop_names.hpp"
#include "ebpf/rpc/messages.hpp"

namespace gw::rpc {
namespace {

using From = control::TraceQuery::From;

Result<From> parse_from(const fp::Trace& m) {
  switch (m.from()) {
    case fp::TRACE_FROM_VNET: return From::kVnet;
    case fp::TRACE_FROM_CIRCUIT: return From::kCircuit;
    case fp::TRACE_FROM_TUNNEL: return From::kTunnel;
    case fp::TRACE_FROM_WAN: return From::kWan;
    default: return fail_field("from", "is not one of vnet, circuit, tunnel, wan");
  }
}

Result<std::uint16_t> parse_port(std::uint32_t port, std::string_view field) {
  if (port > 65535) return fail_field(std::string(field), std::format("{} is beyond 65535", port));
  return static_cast<std::uint16_t>(port);
}

fp::TraceResult result_of(control::TraceStep::Result result) {
  switch (result) {
    case control::TraceStep::Result::kPass: return fp::TRACE_PASS;
    case control::TraceStep::Result::kFail: return fp::TRACE_FAIL;
    case control::TraceStep::Result::kNote: break;
  }
  return fp::TRACE_NOTE;
}

fp::TraceVerdict verdict_of(control::Trace::Verdict verdict) {
  switch (verdict) {
    case control::Trace::Verdict::kLeaves: return fp::TRACE_LEAVES;
    case control::Trace::Verdict::kDropped: return fp::TRACE_DROPPED;
    case control::Trace::Verdict::kDecrypted: return fp::TRACE_DECRYPTED;
    case control::Trace::Verdict::kKernel: break;
  }
  return fp::TRACE_KERNEL;
}

}  // namespace

Result<control::TraceQuery> parse_trace(const fp::Trace& m) {
  control::TraceQuery q;
  GW_TRY_ASSIGN(q.from, parse_from(m));
  q.tunnel_id = m.tunnel_id();
  GW_TRY_ASSIGN(q.source, parse_address(m.source(), "source"));
  GW_TRY_ASSIGN(q.destination, parse_address(m.destination(), "destination"));
  if (m.protocol() > 255) return fail_field("protocol", std::format("{} is beyond 255", m.protocol()));
  q.protocol = static_cast<std::uint8_t>(m.protocol());
  GW_TRY_ASSIGN(q.source_port, parse_port(m.source_port(), "source_port"));
  GW_TRY_ASSIGN(q.destination_port, parse_port(m.destination_port(), "destination_port"));
  q.size = m.size();
  using Cutting = control::TraceQuery::Cutting;
  q.cutting = m.may_be_cut() ? Cutting::kAllowed : Cutting::kForbidden;
  GW_TRY(control::check_query(q));
  return q;
}

void fill(const control::Trace& trace, fp::TraceReply& out) {
  for (const control::TraceStep& step : trace.steps) {
    fp::TraceStep& s = *out.add_steps();
    s.set_check(std::string(step.check));
    s.set_result(result_of(step.result));
    s.set_detail(step.detail);
  }
  out.set_verdict(verdict_of(trace.verdict));
  if (trace.reason != GW_DROP_NONE) out.set_reason(std::string(drop_info(trace.reason).name));
  out.set_side(trace.side);
  out.set_next_hop(trace.next_hop);
  out.set_tunnel_id(trace.tunnel_id);
  out.set_spi(trace.spi);
  out.set_summary(trace.summary);
}

}  // namespace gw::rpc
