#include "gwd/api/api.hpp"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <ranges>
#include <string_view>
#include <utility>

#include "gwd/api/ha.hpp"
#include "gwd/api/replies.hpp"
#include "gwd/api/support.hpp"
#include "gwd/api/trace.hpp"
#include "gwd/api/what_if.hpp"
#include "gwd/doctor/doctor.hpp"
#include "gwd/version.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

unsigned http_status(Errc code) {
  switch (code) {
    case Errc::kInvalidArgument:
    case Errc::kMalformed: return 400;
    case Errc::kNotFound: return 404;
    case Errc::kRefused:
    case Errc::kAlreadyExists: return 409;
    case Errc::kPermission: return 403;
    case Errc::kTimeout: return 504;
    case Errc::kClosed: return 503;
    default: return 500;
  }
}

Error make_error(Errc code, std::string message) {
  return Error{code, std::move(message), {}, std::source_location::current()};
}

HttpResponse config_response(const ConfigResult<ConfigOutcome>& result) {
  if (!result) return error_response(result.error().error, result.error().findings);
  api::ConfigReply reply;
  reply.set_revision(result->revision);
  reply.set_confirm_seconds(static_cast<std::uint32_t>(result->confirm_within.count()));
  for (const auto& change : result->changes) reply.add_changes(change);
  for (const auto& warning : result->warnings) fill_finding(*reply.add_warnings(), warning);
  return json_response(reply);
}

template <class Message>
Result<Message> parse_body(const HttpRequest& request) {
  Message message;
  if (request.body.empty()) return message;
  const auto status = google::protobuf::util::JsonStringToMessage(request.body, &message);
  if (!status.ok())
    return fail(Errc::kMalformed, std::format("the request body is not the expected JSON: {}", status.ToString()));
  return message;
}

Result<std::uint32_t> number_query(const HttpRequest& request, const std::string& key) {
  const auto it = request.query.find(key);
  if (it == request.query.end() || it->second.empty()) return 0U;
  std::uint32_t value = 0;
  const char* end = it->second.data() + it->second.size();
  if (const auto [rest, ec] = std::from_chars(it->second.data(), end, value); ec != std::errc() || rest != end)
    return fail_field(key, std::format("'{}' is not a revision number", it->second));
  return value;
}

}  // namespace

HttpResponse json_response(const google::protobuf::Message& message, unsigned status) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  HttpResponse response{.status = status};
  if (!google::protobuf::util::MessageToJsonString(message, &response.body, options).ok())
    return {500, "text/plain", "cannot print the reply\n"};
  response.body += '\n';
  return response;
}

HttpResponse error_response(const Error& error, const config::Findings& findings) {
  api::ErrorReply reply;
  auto& out = *reply.mutable_error();
  out.set_code(std::string(to_string(error.code)));
  out.set_message(error.describe());
  for (const auto& finding : findings) fill_finding(*out.add_findings(), finding);
  return json_response(reply, http_status(error.code));
}

Api::Api(Gateway& gateway, ConfigService& config, const Clock& clock)
    : gateway_(gateway), config_(config), clock_(clock), started_(clock.now()) {
  const auto now = [](auto function) {
    return [function](const HttpRequest& request) -> asio::awaitable<HttpResponse> { co_return function(request); };
  };
  paths_ = {
      {"GET", "/v1/status", [this](const auto& r) { return status(r); }},
      {"GET", "/v1/tunnels", [this](const auto& r) { return tunnels(r); }},
      {"GET", "/v1/sas", [this](const auto& r) { return sas(r); }},
      {"GET", "/v1/bgp/peers", [this](const auto& r) { return bgp_peers(r); }},
      {"GET", "/v1/bgp/learned", [this](const auto& r) { return bgp_routes(r, bgp::Direction::kReceived); }},
      {"GET", "/v1/bgp/advertised", [this](const auto& r) { return bgp_routes(r, bgp::Direction::kAdvertised); }},
      {"GET", "/v1/routes", [this](const auto& r) { return routes(r); }},
      {"GET", "/v1/routes/what-if", [this](const auto& r) { return what_if(gateway_, config_, r); }},
      {"POST", "/v1/routes/what-if", [this](const auto& r) { return what_if(gateway_, config_, r); }},
      {"GET", "/v1/counters", [this](const auto& r) { return counters(r); }},
      {"GET", "/v1/memory", [this](const auto& r) { return memory(r); }},
      {"GET", "/v1/workers", [this](const auto& r) { return workers(r); }},
      {"POST", "/v1/trace", [this](const auto& r) { return trace(gateway_, r); }},
      {"GET", "/v1/interfaces", [this](const auto& r) { return interfaces(r); }},
      {"GET", "/v1/snapshot", [this](const auto& r) { return snapshot(r); }},
      {"GET", "/v1/doctor", [this](const auto& r) { return examine(r); }},
      {"GET", "/v1/support", [this](const auto& r) { return support(r); }},
      {"GET", "/v1/ha", now([this](const auto&) { return ha({}); })},
      {"POST", "/v1/ha/drain", now([this](const auto&) { return ha(ha_drain(gateway_)); })},
      {"POST", "/v1/ha/undrain", now([this](const auto&) { return ha(ha_undrain(gateway_)); })},
      {"POST", "/v1/ha/move", now([this](const auto& r) { return ha_order<api::HaMoveRequest>(r, ha_move); })},
      {"POST", "/v1/ha/takeover",
       now([this](const auto& r) { return ha_order<api::HaTakeoverRequest>(r, ha_takeover); })},
      {"POST", "/v1/config/validate", now([this](const auto& r) { return validate(r); })},
      {"POST", "/v1/config/apply", [this](const auto& r) { return apply(r); }},
      {"POST", "/v1/config/confirm", now([this](const auto&) { return config_response(config_.confirm()); })},
      {"POST", "/v1/config/rollback", [this](const auto& r) { return rollback(r); }},
      {"GET", "/v1/config", now([this](const auto&) { return running_config(); })},
      {"GET", "/v1/config/revisions", now([this](const auto&) { return revisions(); })},
      {"GET", "/v1/config/diff", now([this](const auto& r) { return diff(r); })},
  };
}

asio::awaitable<HttpResponse> Api::handle(HttpRequest request) {
  bool path_known = false;
  for (const Path& path : paths_) {
    if (path.path != request.path) continue;
    path_known = true;
    if (path.method == request.method) co_return co_await path.handler(request);
  }
  HttpResponse response = error_response(
      make_error(Errc::kNotFound, path_known ? std::format("{} is not for {}", request.path, request.method)
                                             : std::format("no such path: {}", request.path)));
  if (path_known) response.status = 405;
  co_return response;
}

HttpResponse Api::ha(const Status& order) {
  if (!order) return error_response(order.error());
  const auto reply = make_ha_reply(gateway_, config_, clock_);
  return reply ? json_response(*reply) : error_response(reply.error());
}

template <class Order>
HttpResponse Api::ha_order(const HttpRequest& request, Status (*carry_out)(Gateway&, const Order&)) {
  const auto order = parse_body<Order>(request);
  return ha(order ? carry_out(gateway_, *order) : Status(std::unexpected(order.error())));
}

api::StatusReply Api::make_status_reply() const {
  api::StatusReply reply;
  if (const ModelPtr& model = gateway_.model()) {
    reply.set_gateway(model->gateway);
    reply.set_instance(model->instance);
  }
  reply.set_version(std::string(kVersion));
  reply.set_revision(config_.running_revision());
  reply.set_config_error(config_.start_error());
  reply.set_pending_confirm_seconds(static_cast<std::uint32_t>(config_.confirm_left().count()));
  reply.set_uptime_seconds(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - started_).count()));
  for (const auto& component : gateway_.components()) {
    auto& out = *reply.add_components();
    out.set_name(component.name);
    out.set_connected(component.connected);
    out.set_detail(component.detail);
    out.set_problem(component.problem);
    if (component.since) out.set_since_unix_ms(unix_ms(*component.since));
  }
  return reply;
}

asio::awaitable<HttpResponse> Api::status(const HttpRequest&) { co_return json_response(make_status_reply()); }

SnapshotSources Api::snapshot_sources() {
  return {gateway_, config_, clock_, [this] { return make_status_reply(); }};
}

asio::awaitable<HttpResponse> Api::tunnels(const HttpRequest&) {
  fp::ClientFrame frame;
  frame.mutable_list_tunnels();
  const auto listed = co_await gateway_.fastpath().request(std::move(frame));
  co_return json_response(make_tunnels_reply(gateway_, listed ? listed->tunnels() : fp::TunnelList{}));
}

asio::awaitable<HttpResponse> Api::sas(const HttpRequest&) {
  fp::ClientFrame frame;
  frame.mutable_list_sas();
  const auto listed = co_await gateway_.fastpath().request(std::move(frame));
  if (!listed) co_return error_response(listed.error());
  co_return json_response(make_sas_reply(gateway_, listed->sas()));
}

asio::awaitable<HttpResponse> Api::bgp_peers(const HttpRequest&) {
  co_return json_response(make_bgp_peers_reply(gateway_));
}

// Of one peer, or of all of them one after the other.
asio::awaitable<HttpResponse> Api::bgp_routes(const HttpRequest& request, bgp::Direction direction) {
  std::vector<IpAddress> peers;
  if (const auto wanted = request.query.find("peer"); wanted != request.query.end() && !wanted->second.empty()) {
    const auto known = std::ranges::find(gateway_.bgp().sessions(), wanted->second,
                                         [](const auto& entry) { return entry.second.name; });
    const auto address =
        known != gateway_.bgp().sessions().end() ? Result<IpAddress>(known->first) : IpAddress::parse(wanted->second);
    if (!address) co_return error_response(address.error());
    peers.push_back(*address);
  } else {
    for (const auto& [address, session] : gateway_.bgp().sessions()) peers.push_back(address);
  }
  api::BgpRoutesReply reply;
  for (const IpAddress& peer : peers) {
    const auto rows = co_await gateway_.bgp().routes(peer, direction);
    if (!rows) co_return error_response(rows.error());
    for (const auto& row : *rows) {
      auto& out = *reply.add_routes();
      out.set_network(row.network.to_string());
      out.set_next_hop(row.next_hop);
      out.set_local_address(row.local_address);
      out.set_source_peer(row.source_peer);
      out.set_origin(direction == bgp::Direction::kAdvertised ? advertised_origin(gateway_, row) : row.origin);
      out.set_as_path(row.as_path);
      out.set_weight(row.weight);
    }
  }
  co_return json_response(reply);
}

// Every prefix, exactly one, or (for an address) the longest match.
asio::awaitable<HttpResponse> Api::routes(const HttpRequest& request) {
  const routes::Rib& rib = gateway_.routes().rib();
  std::vector<Prefix> prefixes;
  if (const auto wanted = request.query.find("prefix"); wanted == request.query.end() || wanted->second.empty()) {
    prefixes = rib.prefixes();
  } else if (wanted->second.contains('/')) {
    const auto prefix = Prefix::parse(wanted->second);
    if (!prefix) co_return error_response(prefix.error());
    prefixes.push_back(*prefix);
  } else {
    const auto address = IpAddress::parse(wanted->second);
    if (!address) co_return error_response(address.error());
    if (const auto match = rib.longest_match(*address)) prefixes.push_back(*match);
  }
  api::RoutesReply reply;
  for (const Prefix& prefix : prefixes) add_effective_route(gateway_, clock_, prefix, *reply.mutable_routes());
  co_return json_response(reply);
}

asio::awaitable<HttpResponse> Api::counters(const HttpRequest&) {
  fp::ClientFrame frame;
  frame.mutable_get_counters();
  const auto got = co_await gateway_.fastpath().request(std::move(frame));
  if (!got) co_return error_response(got.error());
  co_return json_response(make_counters_reply(gateway_, got->counters()));
}

asio::awaitable<HttpResponse> Api::memory(const HttpRequest&) {
  fp::ClientFrame frame;
  frame.mutable_get_memory();
  const auto got = co_await gateway_.fastpath().request(std::move(frame));
  if (!got) co_return error_response(got.error());
  co_return json_response(make_memory_reply(got->memory(), process_memory()));
}

asio::awaitable<HttpResponse> Api::workers(const HttpRequest&) {
  fp::ClientFrame frame;
  frame.mutable_get_counters();
  const auto got = co_await gateway_.fastpath().request(std::move(frame));
  if (!got) co_return error_response(got.error());
  co_return json_response(make_workers_reply(got->counters()));
}

asio::awaitable<HttpResponse> Api::interfaces(const HttpRequest&) {
  fp::ClientFrame frame;
  frame.mutable_list_ports();
  const auto got = co_await gateway_.fastpath().request(std::move(frame));
  if (!got) co_return error_response(got.error());
  co_return json_response(make_interfaces_reply(got->ports()));
}

asio::awaitable<HttpResponse> Api::snapshot(const HttpRequest&) {
  co_return json_response(co_await take_snapshot(snapshot_sources()));
}

asio::awaitable<HttpResponse> Api::examine(const HttpRequest&) {
  co_return json_response(doctor::report(co_await take_snapshot(snapshot_sources())));
}

asio::awaitable<HttpResponse> Api::support(const HttpRequest&) {
  co_return json_response(co_await make_support_reply(snapshot_sources()));
}

HttpResponse Api::validate(const HttpRequest& request) {
  const auto body = parse_body<api::ConfigRequest>(request);
  if (!body) return error_response(body.error());
  return config_response(config_.validate({body->document(), body->file()}));
}

asio::awaitable<HttpResponse> Api::apply(const HttpRequest& request) {
  const auto body = parse_body<api::ConfigRequest>(request);
  if (!body) co_return error_response(body.error());
  co_return config_response(co_await config_.apply_on_both(
      {body->document(), body->file()}, {.confirm_within = std::chrono::seconds(body->confirm_seconds()),
                                         .comment = body->comment(),
                                         .alone = body->alone()}));
}

asio::awaitable<HttpResponse> Api::rollback(const HttpRequest& request) {
  const auto body = parse_body<api::RollbackRequest>(request);
  if (!body) co_return error_response(body.error());
  co_return config_response(co_await config_.rollback_on_both(body->revision(), {.alone = body->alone()}));
}

HttpResponse Api::running_config() {
  const auto running = config_.running();
  if (!running) return error_response(running.error());
  if (!*running) return error_response(make_error(Errc::kNotFound, "no configuration has been applied yet"));
  api::ConfigReply reply;
  reply.set_revision((*running)->number);
  reply.set_document((*running)->document);
  reply.set_confirm_seconds(static_cast<std::uint32_t>(config_.confirm_left().count()));
  return json_response(reply);
}

HttpResponse Api::revisions() {
  const auto list = config_.revisions();
  if (!list) return error_response(list.error());
  api::RevisionsReply reply;
  for (const auto& revision : *list) {
    auto& out = *reply.add_revisions();
    out.set_number(revision.number);
    out.set_applied_unix_ms(unix_ms(revision.applied));
    out.set_comment(revision.comment);
    out.set_running(revision.running);
    out.set_origin(std::string(config::to_string(revision.origin)));
  }
  return json_response(reply);
}

HttpResponse Api::diff(const HttpRequest& request) {
  const auto from = number_query(request, "from");
  if (!from) return error_response(from.error());
  const auto to = number_query(request, "to");
  if (!to) return error_response(to.error());
  return config_response(config_.diff({*from, *to}));
}

}  // namespace gw::gwd
