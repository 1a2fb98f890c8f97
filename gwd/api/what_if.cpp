#include "gwd/api/what_if.hpp"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "gwd/api/api.hpp"
#include "gwd/api/replies.hpp"
#include "gwd/api/slices.hpp"
#include "gwd/control/what_if.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

std::string_view word_of(routes::MoveKind kind) {
  switch (kind) {
    case routes::MoveKind::kMoves: return "moves";
    case routes::MoveKind::kLost: return "lost";
    case routes::MoveKind::kAppears: return "appears";
  }
  return "moves";
}

void fill_moves(const routes::WhatIf& what, const routes::Rib& rib, api::WhatIfReply& out) {
  for (const routes::Move& move : what.moves) {
    auto& m = *out.add_moves();
    m.set_prefix(move.prefix.to_string());
    m.set_kind(std::string(word_of(move.kind)));
    for (const routes::Path& path : move.from) m.add_from(rib.source(path.source).name);
    for (const routes::Path& path : move.to) m.add_to(rib.source(path.source).name);
  }
  for (const routes::Arrival& arrival : what.arrivals) {
    auto& m = *out.add_moves();
    m.set_prefix(arrival.prefix.to_string());
    m.set_kind(std::string(word_of(arrival.from.empty() ? routes::MoveKind::kAppears : routes::MoveKind::kMoves)));
    for (const routes::Path& path : arrival.from) m.add_from(rib.source(path.source).name);
    m.add_to(arrival.source);
  }
}

void fill(const routes::WhatIf& what, const routes::Rib& rib, api::WhatIfReply& out) {
  out.set_prefixes(what.prefixes);
  out.set_moved(what.moved);
  out.set_lost(what.lost);
  out.set_appeared(what.appeared);
  fill_moves(what, rib, out);
  for (const routes::LimitBreak& limit : what.limits) {
    auto& l = *out.add_limits();
    l.set_source(rib.source(limit.source).name);
    l.set_family(limit.family == Family::kV4 ? "ipv4" : "ipv6");
    l.set_before(limit.before);
    l.set_after(limit.after);
    l.set_limit(limit.limit);
    l.set_of(limit.of == routes::LimitOf::kTold ? "told" : "learned");
    l.set_state(limit.state == routes::LimitState::kReached ? "reached" : "near");
  }
  for (const routes::CutOff& cut : what.cut_off) {
    auto& c = *out.add_cut_off();
    c.set_site(cut.site);
    c.set_prefixes(cut.prefixes);
    c.set_lost(cut.lost);
  }
}

Result<api::WhatIfRequest> parse(const HttpRequest& request) {
  api::WhatIfRequest out;
  if (request.method == "POST") {
    const auto status = google::protobuf::util::JsonStringToMessage(request.body, &out);
    if (!status.ok())
      return fail(Errc::kMalformed, std::format("the request body is not the expected JSON: {}", status.ToString()));
    return out;
  }
  if (const auto names = request.query.find("peer_down"); names != request.query.end())
    for (const auto part : std::views::split(names->second, ','))
      out.add_peers_down(std::string(std::string_view(part)));
  out.set_circuit_down(request.query.contains("circuit_down"));
  return out;
}

Status add_what_is_down(const api::WhatIfRequest& request, const routes::Rib& rib, routes::Scenario& scenario) {
  for (const std::string& name : request.peers_down()) {
    const auto source = rib.find_source(name);
    if (!source)
      return fail(Errc::kNotFound, std::format("no source of routes is named '{}'; gwctl show bgp peers", name));
    scenario.down.push_back(*source);
  }
  if (request.circuit_down()) scenario.kinds_down.push_back(routes::SourceKind::kCircuit);
  return {};
}

/// What policy refuses now may be withdrawn without a word (routes::Withdrawals); bgpd's Adj-RIB-In knows.
asio::awaitable<bool> is_ghost(Gateway& gateway, const std::string& name, const Prefix& prefix) {
  const routes::Rib& rib = gateway.routes().rib();
  const auto source = rib.find_source(name);
  if (!source || rib.source(*source).type == routes::PeerType::kLocal) co_return false;
  const auto received = co_await gateway.bgp().has_received(rib.source(*source).peer_address, prefix);
  co_return received && !*received;
}

void count_less(std::string_view kind, api::WhatIfReply& reply) {
  if (kind == word_of(routes::MoveKind::kAppears)) reply.set_appeared(reply.appeared() - 1);
  if (kind == word_of(routes::MoveKind::kMoves)) reply.set_moved(reply.moved() - 1);
}

/// Of the moves that are listed: those to routes that nobody has any more.
asio::awaitable<void> leave_out_ghosts(Gateway& gateway, api::WhatIfReply& reply) {
  google::protobuf::RepeatedPtrField<api::WhatIfMove> kept;
  for (api::WhatIfMove& move : *reply.mutable_moves()) {
    const auto prefix = Prefix::parse(move.prefix());
    std::vector<std::string> to;
    for (const std::string& name : move.to())
      if (std::ranges::contains(move.from(), name) || !prefix || !co_await is_ghost(gateway, name, *prefix))
        to.push_back(name);
    if (!move.to().empty() && (to.empty() || std::ranges::equal(to, move.from()))) {
      count_less(move.kind(), reply);
      continue;
    }
    move.mutable_to()->Assign(to.begin(), to.end());
    *kept.Add() = std::move(move);
  }
  reply.mutable_moves()->Swap(&kept);
}

template <class Names>
void copy_names(const std::vector<std::string>& from, Names& to) {
  for (const std::string& name : from) *to.Add() = name;
}

}  // namespace

asio::awaitable<HttpResponse> what_if(Gateway& gateway, const ConfigService& config, HttpRequest request) {
  const auto asked = parse(request);
  if (!asked) co_return error_response(asked.error());
  const routes::Rib& rib = gateway.routes().rib();
  api::WhatIfReply reply;
  DocumentScenario document;
  if (!asked->document().empty() && gateway.model()) {
    const auto candidate = config.candidate({asked->document(), asked->file()});
    if (!candidate) co_return error_response(candidate.error().error, candidate.error().findings);
    document = scenario_of(*gateway.model(), *candidate->model, rib);
    for (const auto& warning : candidate->warnings) fill_finding(*reply.add_warnings(), warning);
  }
  routes::Scenario& scenario = document.scenario;
  if (const auto known = add_what_is_down(*asked, rib, scenario); !known) co_return error_response(known.error());
  if (!scenario.policy && scenario.down.empty() && scenario.kinds_down.empty())
    co_return error_response(
        fail(Errc::kInvalidArgument, "what if what? -f, --peer-down or --circuit-down is needed").error());
  const bool judges_anew = scenario.policy != nullptr;
  routes::WhatIfWalk walk(rib, std::move(scenario));
  co_await in_slices(walk);
  fill(walk.finish(), rib, reply);
  if (judges_anew) co_await leave_out_ghosts(gateway, reply);
  copy_names(document.gone, *reply.mutable_sessions_gone());
  copy_names(document.restarted, *reply.mutable_sessions_restarted());
  copy_names(document.unknown, *reply.mutable_sessions_new());
  co_return json_response(reply);
}

}  // namespace gw::gwd
