#include "gwd/api/trace.hpp"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <format>

#include "gwd/api/api.hpp"
#include "gwd/config/suggest.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

struct Advice {
  std::string_view reason;
  std::string_view what;
};
constexpr auto kAdvice = std::to_array<Advice>({
    {"no_outbound_sa", "the tunnel is not up: gwctl show tunnels says why"},
    {"unknown_spi",
     "the tunnel has no inbound SA: gwctl show tunnels says why it is not up, gwctl show sas what there is"},
    {"no_tunnel", "gwctl show tunnels: is the tunnel in this document, and enabled?"},
    {"no_route", "gwctl show routes ADDRESS; of a peer: ip route get PEER on the gateway"},
    {"standby", "the other instance owns the endpoint: ask there, and see gwctl ha show"},
    {"spoofed_source",
     "a site or the circuit speaks for an address of ours, of the VNet or of nobody: look at its routing and NAT"},
    {"transit_closed", "coexistence.transit opens the way between circuit and tunnels"},
    {"hairpin", "the route leads back where the packet came from: gwctl routes effective ADDRESS"},
    {"too_big",
     "the sender is told (ICMP): it must not be filtered on the way; or connections[].fragment, or a smaller MSS"},
    {"ts_mismatch",
     "the SA's traffic selectors do not have these addresses, protocol and ports: compare both ends' configuration"},
    {"hard_expired", "the SA is used up and IKE has not made a new one: gwctl show tunnels"},
    {"seq_exhausted", "only a rekey helps: gwctl show tunnels says whether IKE is up"},
    {"iv_exhausted", "only a rekey helps: gwctl show tunnels says whether IKE is up"},
    {"rate_tunnel", "connections[].rate is reached at this moment"},
    {"rate_gateway", "gateway.sku or gateway.rate is reached at this moment"},
    {"no_neighbour", "the neighbour does not answer: ip neigh show on the gateway, and its link"},
    {"multicast", "multicast and broadcast are not routed"},
    {"ttl", "a loop, or a sender that means only its own network"},
});

Error unknown_tunnel(const config::GatewayModel* model, const std::string& name) {
  std::vector<std::string> names;
  if (model)
    for (const auto& tunnel : model->tunnels) names.push_back(tunnel.name);
  const std::string near = config::suggest(name, names);
  std::string message = std::format("no tunnel is named '{}' here; ", name);
  message += near.empty() ? "there is " + (names.empty() ? "none" : config::join(names)) : "did you mean " + near + "?";
  return Error{Errc::kNotFound, std::move(message), "from", std::source_location::current()};
}

/// By its own name, or that of its connection where that is enough.
Result<std::uint32_t> find_tunnel(const config::GatewayModel* model, const std::string& name) {
  std::vector<const config::TunnelModel*> found;
  if (model)
    for (const auto& tunnel : model->tunnels) {
      if (tunnel.name == name) return tunnel.tunnel_id;
      if (tunnel.connection == name) found.push_back(&tunnel);
    }
  if (found.size() == 1) return found.front()->tunnel_id;
  return std::unexpected(unknown_tunnel(model, name));
}

Status parse_from(const std::string& from, const config::GatewayModel* model, fp::Trace& out) {
  constexpr std::string_view kTunnel = "tunnel:";
  if (from == "vnet") {
    out.set_from(fp::TRACE_FROM_VNET);
  } else if (from == "circuit") {
    out.set_from(fp::TRACE_FROM_CIRCUIT);
  } else if (from == "wan") {
    out.set_from(fp::TRACE_FROM_WAN);
  } else if (from.starts_with(kTunnel)) {
    out.set_from(fp::TRACE_FROM_TUNNEL);
    GW_TRY_ASSIGN(const std::uint32_t id, find_tunnel(model, from.substr(kTunnel.size())));
    out.set_tunnel_id(id);
  } else {
    return fail_field("from", std::format("'{}' is not one of vnet, circuit, wan, tunnel:NAME", from));
  }
  return {};
}

Status parse_address(const std::string& text, std::string_view field, std::string& bytes) {
  const auto address = IpAddress::parse(text);
  if (!address) return fail_field(std::string(field), address.error().message);
  bytes = address->bytes_string();
  return {};
}

Result<fp::Trace> parse(const HttpRequest& request, const config::GatewayModel* model) {
  api::TraceRequest asked;
  const auto status = google::protobuf::util::JsonStringToMessage(request.body, &asked);
  if (!status.ok())
    return fail(Errc::kMalformed, std::format("the request body is not the expected JSON: {}", status.ToString()));
  fp::Trace out;
  GW_TRY(parse_from(asked.from(), model, out));
  GW_TRY(parse_address(asked.source(), "source", *out.mutable_source()));
  GW_TRY(parse_address(asked.destination(), "destination", *out.mutable_destination()));
  out.set_protocol(asked.protocol());
  out.set_source_port(asked.source_port());
  out.set_destination_port(asked.destination_port());
  out.set_size(asked.size());
  out.set_may_be_cut(asked.may_be_cut());
  return out;
}

std::string_view word_of(fp::TraceResult result) {
  if (result == fp::TRACE_NOTE) return "note";
  return result == fp::TRACE_FAIL ? "fail" : "pass";
}

std::string_view word_of(fp::TraceVerdict verdict) {
  switch (verdict) {
    case fp::TRACE_LEAVES: return "leaves";
    case fp::TRACE_DROPPED: return "dropped";
    case fp::TRACE_DECRYPTED: return "decrypted";
    default: return "kernel";
  }
}

/// Where the route comes from that the fast path has for the destination.
void add_origin(const Gateway& gateway, const IpAddress& destination, api::TraceReply& out) {
  const routes::Rib& rib = gateway.routes().rib();
  const auto prefix = rib.longest_match(destination);
  if (!prefix) return;
  out.set_prefix(prefix->to_string());
  std::string text;
  for (const auto& one : rib.explain(*prefix)) {
    if (one.ranked.place != routes::Place::kBest && one.ranked.place != routes::Place::kMultipath) continue;
    out.add_sources(one.candidate.source->name);
    text += std::format("{}{} ({})", text.empty() ? "" : ", ", one.candidate.source->name,
                        routes::to_string(one.ranked.step));
  }
  const auto route = std::ranges::find(*out.mutable_steps(), "route", &api::TraceStep::check);
  if (route != out.mutable_steps()->end())
    route->set_detail(
        std::format("{}; {} from {}", route->detail(), prefix->to_string(), text.empty() ? "nobody" : text));
}

api::TraceReply make_reply(const Gateway& gateway, const fp::TraceReply& traced, const IpAddress& destination) {
  api::TraceReply out;
  for (const fp::TraceStep& step : traced.steps()) {
    api::TraceStep& s = *out.add_steps();
    s.set_check(step.check());
    s.set_result(std::string(word_of(step.result())));
    s.set_detail(step.detail());
  }
  out.set_verdict(std::string(word_of(traced.verdict())));
  out.set_reason(traced.reason());
  out.set_advice(std::string(advice_for(traced.reason())));
  out.set_summary(traced.summary());
  out.set_side(traced.side());
  out.set_next_hop(traced.next_hop());
  if (traced.spi() != 0) out.set_spi(std::format("{:08x}", traced.spi()));
  if (gateway.model())
    for (const auto& tunnel : gateway.model()->tunnels)
      if (traced.tunnel_id() != 0 && tunnel.tunnel_id == traced.tunnel_id()) out.set_tunnel(tunnel.name);
  add_origin(gateway, destination, out);
  return out;
}

}  // namespace

std::string_view advice_for(std::string_view reason) {
  const auto it = std::ranges::find(kAdvice, reason, &Advice::reason);
  return it == kAdvice.end() ? std::string_view{} : it->what;
}

asio::awaitable<HttpResponse> trace(Gateway& gateway, HttpRequest request) {
  auto asked = parse(request, gateway.model().get());
  if (!asked) co_return error_response(asked.error());
  const auto destination = IpAddress::from_bytes(asked->destination());
  fp::ClientFrame frame;
  *frame.mutable_trace() = std::move(*asked);
  const auto got = co_await gateway.fastpath().request(std::move(frame));
  if (!got) co_return error_response(got.error());
  co_return json_response(make_reply(gateway, got->trace(), *destination));
}

}  // namespace gw::gwd
