#include "cli/render.hpp"

#include <algorithm>
#include <format>

namespace gw::cli {
namespace {

std::string since(std::uint64_t unix_ms, const View& view) {
  if (unix_ms == 0) return {};
  const auto then = WallTime(std::chrono::milliseconds(unix_ms));
  return human_duration(std::chrono::duration_cast<std::chrono::seconds>(view.now - then));
}

Colour state_colour(std::string_view state) {
  if (state == "up" || state == "Established" || state == "active") return Colour::kGood;
  if (state == "connecting" || state == "standby" || state == "esp-only") return Colour::kWarning;
  if (state == "disabled" || state == "Disabled" || state.empty()) return Colour::kDim;
  return Colour::kBad;
}

Cell state(const std::string& text) { return {text, state_colour(text)}; }

std::string yes(bool value) { return value ? "yes" : ""; }

std::string esp_of(const api::Tunnel& tunnel) {
  if (tunnel.esp_proposal().empty()) return {};
  return tunnel.esp_proposal() + (tunnel.udp_encapsulation() ? " udp" : "");
}

// "nothing" beats a table of a header only.
std::string or_nothing(const Table& table, std::string_view nothing, const View& view) {
  return table.empty() ? std::format("{}\n", nothing) : table.render(view.style);
}

// "best: AS-path length", "not used: AS-path length", "only route".
std::string why_of(const api::RouteCandidate& candidate) {
  const std::string& step = candidate.decided_by();
  std::string why =
      step.empty() || step == "only route" || candidate.place().empty() ? step : candidate.place() + ": " + step;
  if (candidate.stale()) why += why.empty() ? "stale" : ", stale";
  return candidate.stale() ? why + " (kept through a restart)" : why;
}

std::string mode_of(const api::Interface& port) { return port.attach_mode() + (port.zero_copy() ? " zero-copy" : ""); }

Cell state_of(const api::Component& component) {
  if (!component.connected()) return Cell("away", Colour::kBad);
  return component.problem().empty() ? Cell("connected", Colour::kGood) : Cell("faulty", Colour::kBad);
}

}  // namespace

std::string render(const api::StatusReply& reply, const View& view) {
  std::string out =
      std::format("{} / {}, gwd {}, up {}\n", printable(reply.gateway()), printable(reply.instance()),
                  printable(reply.version()), human_duration(std::chrono::seconds(reply.uptime_seconds())));
  out += reply.revision() == 0 ? "no configuration runs" +
                                     (reply.config_error().empty() ? "" : ": " + printable(reply.config_error())) + "\n"
                               : std::format("revision {}\n", reply.revision());
  if (reply.pending_confirm_seconds() != 0)
    out += paint(std::format("not confirmed: returns to the previous revision in {} (gwctl confirm)",
                             human_duration(std::chrono::seconds(reply.pending_confirm_seconds()))),
                 Colour::kWarning, view.style) +
           "\n";
  Table table({{"Component"}, {"State"}, {"For", Align::kRight}, {"Detail"}});
  for (const api::Component& component : reply.components())
    table.row({component.name(), state_of(component), since(component.since_unix_ms(), view),
               component.problem().empty() ? component.detail() : component.problem()});
  return out + "\n" + or_nothing(table, "no components", view);
}

namespace {

/// "echo: 20 of 20 answered, the last in 31.2 ms; of 1400 bytes 5 of 5"
std::string proof_text(const api::PathProof& proof) {
  std::string out = std::format("proven by {}; echoes: {} of {} answered", proof.method(), proof.small_answered(),
                                proof.small_sent());
  if (proof.small_answered() > 0) out += std::format(", the last in {:.1f} ms", proof.round_trip_us() / 1000.0);
  if (proof.full_sent() > 0)
    out += std::format("; of {} bytes {} of {}", proof.full_bytes(), proof.full_answered(), proof.full_sent());
  if (proof.largest_answered_bytes() > 0) out += std::format(", of {} bytes yes", proof.largest_answered_bytes());
  return out;
}

/// What a tunnel last carried both ways: long ago is a warning.
Cell proven_of(const api::Tunnel& tunnel, const View& view) {
  constexpr std::uint64_t kOldMs = 60'000;
  const api::PathProof& proof = tunnel.proof();
  if (proof.method().empty() || tunnel.state() == "disabled") return {""};
  if (proof.proven_unix_ms() == 0) return {"never", Colour::kWarning};
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(view.now.time_since_epoch()).count();
  const bool old = proof.proven_unix_ms() + kOldMs < static_cast<std::uint64_t>(now);
  return {since(proof.proven_unix_ms(), view), old ? Colour::kWarning : Colour::kNone};
}

std::string rate_of(std::uint64_t bps) { return bps == 0 ? "no limit" : human_rate(bps); }

/// "rate 500 Mbit/s in, no limit out; 1204 packets over it dropped in, 0 out"
std::string rate_text(const api::Tunnel& tunnel) {
  std::string out;
  if (tunnel.rate_in_bps() != 0 || tunnel.rate_out_bps() != 0)
    out = std::format("rate {} in, {} out", rate_of(tunnel.rate_in_bps()), rate_of(tunnel.rate_out_bps()));
  if (tunnel.over_rate_in() + tunnel.over_rate_out() > 0)
    out += std::format("{}over the rate, dropped: {} in, {} out", out.empty() ? "" : "; ", tunnel.over_rate_in(),
                       tunnel.over_rate_out());
  return out;
}

/// What is decided once, when the tunnel comes up.
void note_details(const api::Tunnel& tunnel, Table& table) {
  table.note(std::format("from {}{}{}", tunnel.local_address(), tunnel.ike_proposal().empty() ? "" : ", IKE ",
                         tunnel.ike_proposal()));
  if (!tunnel.encapsulation_reason().empty()) table.note("ESP " + tunnel.encapsulation_reason());
  if (!tunnel.proof().method().empty()) table.note(proof_text(tunnel.proof()));
}

}  // namespace

std::string render(const api::TunnelsReply& reply, const View& view) {
  Table table({{"Tunnel"},
               {"State"},
               {"Up", Align::kRight},
               {"Proven", Align::kRight},
               {"Remote"},
               {"Device"},
               {"ESP"},
               {"Mtu", Align::kRight},
               {"In", Align::kRight},
               {"Out", Align::kRight},
               {"Dropped", Align::kRight},
               {"Bgp"},
               {"Routes", Align::kRight}});
  for (const api::Tunnel& tunnel : reply.tunnels()) {
    table.row({tunnel.name(), state(tunnel.state()), since(tunnel.up_since_unix_ms(), view), proven_of(tunnel, view),
               tunnel.remote_address(), tunnel.device(), esp_of(tunnel), tunnel.mtu(), human_bytes(tunnel.in_bytes()),
               human_bytes(tunnel.out_bytes()), tunnel.dropped_packets(), state(tunnel.bgp_state()),
               tunnel.routes_received()});
    if (view.detail == Detail::kLong) note_details(tunnel, table);
    // What was dropped is news; that there is a limit is a detail.
    if (view.detail == Detail::kLong || tunnel.over_rate_in() + tunnel.over_rate_out() > 0)
      if (const std::string rate = rate_text(tunnel); !rate.empty()) table.note(rate);
    if (tunnel.path_mtu() != 0)
      table.note(std::format("the path to {} takes packets of {} bytes: {} inside", tunnel.remote_address(),
                             tunnel.path_mtu(), tunnel.mtu()));
    if (tunnel.reason().empty()) continue;
    table.note(tunnel.fault().empty() || tunnel.fault() == "NoFault"
                   ? tunnel.reason()
                   : std::format("{} ({})", tunnel.reason(), tunnel.fault()));
  }
  return or_nothing(table, "no tunnels", view);
}

std::string render(const api::SasReply& reply, const View& view) {
  Table table({{"Tunnel"},
               {"Dir"},
               {"SPI"},
               {"Source"},
               {"Destination"},
               {"Algorithm"},
               {"Esn"},
               {"Udp"},
               {"State"},
               {"Sequence", Align::kRight},
               {"Packets", Align::kRight},
               {"Bytes", Align::kRight},
               {"Age", Align::kRight}});
  for (const api::Sa& sa : reply.sas()) {
    table.row({sa.tunnel(), sa.direction(), sa.spi(), sa.source(), sa.destination(), sa.algorithm(), yes(sa.esn()),
               yes(sa.udp_encapsulation()), state(sa.state()), sa.sequence(), sa.packets(), human_bytes(sa.bytes()),
               human_duration(std::chrono::seconds(sa.age_seconds()))});
    std::string drops;
    for (const api::DropCounter& drop : sa.drops())
      drops += std::format("{}{} {}", drops.empty() ? "dropped: " : ", ", drop.packets(), drop.reason());
    if (!drops.empty()) table.note(drops);
  }
  return or_nothing(table, "no security associations", view);
}

std::string render(const api::BgpPeersReply& reply, const View& view) {
  Table table({{"Neighbor"},
               {"Asn", Align::kRight},
               {"State"},
               {"ConnectedDuration", Align::kRight},
               {"RoutesReceived", Align::kRight},
               {"MessagesSent", Align::kRight},
               {"MessagesReceived", Align::kRight},
               {"LocalAddress"},
               {"Bfd"},
               {"Session"}});
  for (const api::BgpPeer& peer : reply.peers()) {
    const bool up = peer.state() == "Established";
    table.row({peer.neighbor(), peer.asn(), state(peer.state()),
               up ? human_duration(std::chrono::seconds(peer.connected_seconds())) : "", peer.routes_received(),
               peer.messages_sent(), peer.messages_received(), peer.local_address(), peer.bfd(), peer.source()});
    if (!up && !peer.last_error().empty()) table.note(peer.last_error());
  }
  return or_nothing(table, "no BGP peers", view);
}

std::string render(const api::BgpRoutesReply& reply, const View& view) {
  Table table(
      {{"Network"}, {"NextHop"}, {"LocalAddress"}, {"SourcePeer"}, {"Origin"}, {"AsPath"}, {"Weight", Align::kRight}});
  for (const api::BgpRoute& route : reply.routes())
    table.row({route.network(), route.next_hop(), route.local_address(), route.source_peer(), route.origin(),
               route.as_path(), route.weight()});
  return or_nothing(table, "no routes", view);
}

std::string render(const api::RoutesReply& reply, const View& view) {
  Table table({{""},
               {"Prefix"},
               {"Source"},
               {"NextHop"},
               {"AsPath"},
               {"LocPref", Align::kRight},
               {"Med", Align::kRight},
               {"Weight", Align::kRight},
               {"Age", Align::kRight},
               {"Why"}});
  const bool details = view.detail == Detail::kLong;
  for (const api::EffectiveRoute& route : reply.routes()) {
    std::string prefix = route.prefix();
    for (const api::RouteCandidate& candidate : route.candidates()) {
      const std::string why = why_of(candidate);
      table.row({Cell(candidate.best() ? ">" : " ", Colour::kGood), prefix.empty() ? " " : prefix, candidate.source(),
                 candidate.next_hop(), candidate.path(), candidate.local_preference(), candidate.med(),
                 candidate.weight(), since(candidate.since_unix_ms(), view), why.empty() ? " " : why});
      prefix.clear();
      if (details && candidate.place() != "refused" && !candidate.policy().empty())
        table.note(candidate.policy() + (candidate.peer().empty() ? "" : "; from " + candidate.peer()) +
                   (candidate.site().empty() ? "" : ", site " + candidate.site()));
    }
    const bool used = std::ranges::any_of(route.candidates(), [](const auto& c) { return c.best(); });
    if (!table.empty() && !route.in_fastpath() && used) table.note("not in the fast path: the kernel forwards it");
  }
  return or_nothing(table, "no routes", view);
}

namespace {

std::string names_of(const google::protobuf::RepeatedPtrField<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out.empty() ? "-" : out;
}

}  // namespace

std::string render(const api::WhatIfReply& reply, const View& view) {
  std::string out = std::format("of {} prefixes {} would move, {} would be lost, {} would appear\n", reply.prefixes(),
                                reply.moved(), reply.lost(), reply.appeared());
  const auto list = [&out](std::string_view what, const auto& names) {
    if (!names.empty()) out += std::format("{}: {}\n", what, printable(names_of(names)));
  };
  list("sessions that would end", reply.sessions_gone());
  list("sessions that would begin anew (taken to bring the same routes)", reply.sessions_restarted());
  list("new sessions (nobody knows what they will bring)", reply.sessions_new());
  for (const api::WhatIfCutOff& cut : reply.cut_off())
    out += cut.lost() == cut.prefixes() ? std::format("site {} would be cut off: all of its {} prefixes\n",
                                                      printable(cut.site()), cut.prefixes())
                                        : std::format("site {} would lose {} of its {} prefixes\n",
                                                      printable(cut.site()), cut.lost(), cut.prefixes());
  for (const api::WhatIfLimit& limit : reply.limits())
    out += std::format("{}: {} {} routes {} (now {}), the limit of {} would be {}\n", printable(limit.source()),
                       limit.after(), limit.family(), limit.of(), limit.before(), limit.limit(), limit.state());
  if (reply.moves().empty()) return out;
  Table table({{"Prefix"}, {"What"}, {"From"}, {"To"}});
  for (const api::WhatIfMove& move : reply.moves())
    table.row({move.prefix(), move.kind(), names_of(move.from()), names_of(move.to())});
  out += '\n' + or_nothing(table, "", view);
  const std::uint64_t all = reply.moved() + reply.lost() + reply.appeared();
  if (const auto listed = static_cast<std::uint64_t>(reply.moves_size()); all > listed)
    out += std::format("and {} more\n", all - listed);
  return out;
}

std::string render(const api::CountersReply& reply, const View& view) {
  std::string out = std::format("crypto {}, up {}\n\n", printable(reply.crypto_backend()),
                                human_duration(std::chrono::seconds(reply.uptime_seconds())));
  Table ports({{"Side"}, {"Received", Align::kRight}, {"Sent", Align::kRight}});
  ports.row({"wan", reply.wan_rx_packets(), reply.wan_tx_packets()});
  ports.row({"vnet", reply.vnet_rx_packets(), reply.vnet_tx_packets()});
  if (reply.has_circuit_rx_packets()) ports.row({"circuit", reply.circuit_rx_packets(), reply.circuit_tx_packets()});
  out += ports.render(view.style) + "\n";
  Table workers({{"Worker", Align::kRight},
                 {"Tunnels", Align::kRight},
                 {"Packets", Align::kRight},
                 {"Per burst", Align::kRight},
                 {"Handed over", Align::kRight},
                 {"Taken over", Align::kRight},
                 {"Lost between", Align::kRight},
                 {"Moved", Align::kRight}});
  for (const api::WorkerCounters& w : reply.workers())
    workers.row({w.worker(), w.tunnels(), w.packets(),
                 w.bursts() == 0 ? 0 : (w.packets() + w.bursts() / 2) / w.bursts(), w.handed_over(), w.taken_over(),
                 w.handover_drops(), w.moved()});
  if (!workers.empty()) out += workers.render(view.style) + "\n";
  Table drops({{"Dropped", Align::kRight}, {"Reason"}, {"Meaning"}});
  for (const api::DropCounter& drop : reply.drops())
    if (drop.packets() != 0) drops.row({drop.packets(), drop.reason(), drop.meaning()});
  return out + or_nothing(drops, "no packet was dropped", view);
}

std::string render(const api::InterfacesReply& reply, const View& view) {
  Table table({{"Interface"},
               {"Side"},
               {"Kind"},
               {"Mode"},
               {"Driver"},
               {"MTU", Align::kRight},
               {"Queues", Align::kRight},
               {"Received", Align::kRight},
               {"Sent", Align::kRight},
               {"Dropped", Align::kRight}});
  std::string why;
  for (const api::Interface& port : reply.interfaces()) {
    std::uint64_t dropped = 0;
    for (const api::DropCounter& drop : port.drops()) dropped += drop.packets();
    table.row({port.name(), port.side(), port.kind(), mode_of(port), port.driver(), port.mtu(), port.queues(),
               port.rx_packets(), port.tx_packets(), dropped});
    why += std::format("{} is {}: {}\n", port.name(), port.kind(), port.reason());
  }
  return or_nothing(table, "no interfaces", view) + (why.empty() ? "" : "\n" + why);
}

std::string render(const api::MemoryReply& reply, const View& view) {
  Table parts({{"gw-fastpath"},
               {"In use", Align::kRight},
               {"Room for", Align::kRight},
               {"Each", Align::kRight},
               {"Memory", Align::kRight}});
  std::uint64_t reserved = 0;
  for (const api::MemoryPart& part : reply.parts()) {
    const std::uint64_t number = part.has_capacity() ? part.capacity() : part.in_use();
    if (part.has_capacity()) reserved += part.bytes();
    parts.row({part.part(), part.in_use(), part.has_capacity() ? std::to_string(part.capacity()) : "as needed",
               number == 0 ? "" : std::to_string(part.bytes() / number), human_bytes(part.bytes())});
  }
  Table processes(
      {{"Process"}, {"Resident", Align::kRight}, {"Most since start", Align::kRight}, {"Heap", Align::kRight}});
  for (const api::ProcessMemory& p : reply.processes())
    processes.row(
        {p.name(), human_bytes(p.resident_bytes()), human_bytes(p.peak_resident_bytes()), human_bytes(p.heap_bytes())});
  return parts.render(view.style) +
         std::format("\nreserved at start: {}; no traffic changes that\n\n", human_bytes(reserved)) +
         processes.render(view.style);
}

std::string render(const api::RevisionsReply& reply, const View& view) {
  Table table({{""}, {"Revision", Align::kRight}, {"Applied"}, {"Origin"}, {"Comment"}});
  for (const api::Revision& revision : reply.revisions())
    table.row({Cell(revision.running() ? "*" : " ", Colour::kGood), revision.number(),
               human_time(revision.applied_unix_ms()), revision.origin(), revision.comment()});
  return or_nothing(table, "no revisions: nothing was applied yet", view);
}

std::string render(const api::Finding& finding) {
  std::string out = finding.file();
  if (finding.line() != 0) out += std::format(":{}:{}", finding.line(), finding.column());
  if (!out.empty()) out += ": ";
  if (finding.severity() == "warning") out += "warning: ";
  if (!finding.field().empty()) out += finding.field() + ": ";
  out += finding.message();
  if (!finding.expected().empty()) out += std::format(" (expected {})", finding.expected());
  return printable(out);
}

std::string render(const api::ErrorReply& reply) {
  std::string out;
  for (const api::Finding& finding : reply.error().findings()) out += render(finding) + "\n";
  return out + printable(reply.error().message()) + "\n";
}

std::string render_changes(const api::ConfigReply& reply, const View& view) {
  std::string out;
  for (const std::string& change : reply.changes()) {
    const Colour colour = change.starts_with('+')   ? Colour::kGood
                          : change.starts_with('-') ? Colour::kBad
                                                    : Colour::kWarning;
    out += paint(printable(change), colour, view.style) + "\n";
  }
  return out.empty() ? "no changes\n" : out;
}

bool all_up(const api::StatusReply& reply) {
  return std::ranges::all_of(reply.components(),
                             [](const api::Component& c) { return c.connected() && c.problem().empty(); });
}

bool all_up(const api::TunnelsReply& reply) {
  return std::ranges::all_of(reply.tunnels(),
                             [](const api::Tunnel& t) { return t.state() == "up" || t.state() == "disabled"; });
}

bool all_up(const api::BgpPeersReply& reply) {
  return std::ranges::all_of(
      reply.peers(), [](const api::BgpPeer& p) { return p.state() == "Established" || p.state() == "Disabled"; });
}

}  // namespace gw::cli
