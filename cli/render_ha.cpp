#include "cli/render_ha.hpp"

#include <algorithm>
#include <format>

namespace gw::cli {
namespace {

constexpr std::string_view kWarning = "warning";  // nothing is down because of it

Cell heard(bool now, std::uint64_t age_ms) {
  if (now) return {"heard", Colour::kGood};
  return {age_ms == 0 ? std::string("silent") : std::format("silent for {:.1f} s", double(age_ms) / 1000),
          Colour::kBad};
}

Cell yes(bool is) { return is ? Cell{"yes", Colour::kGood} : Cell{"no", Colour::kWarning}; }

Cell owner_of(const api::HaEndpoint& endpoint) {
  if (endpoint.owner().empty()) return {"nobody", Colour::kBad};
  return {printable(endpoint.owner()), endpoint.owner() == belongs_to(endpoint) ? Colour::kGood : Colour::kWarning};
}

std::string note_of(const api::HaEndpoint& endpoint) {
  std::string note = printable(endpoint.cause());
  if (!endpoint.moving_to().empty()) note += std::format("; moving: {}", printable(endpoint.moving_to()));
  if (endpoint.failback_in_ms() != 0)
    note += std::format("; back to {} in {}", printable(belongs_to(endpoint)),
                        human_duration(std::chrono::seconds((endpoint.failback_in_ms() + 999) / 1000)));
  if (endpoint.stays()) note += "; stays until it is moved";
  return note;
}

/// Only for those that move by BGP: others are announced to whoever is on the link.
std::string announced_by_bgp(const api::HaEndpoint& endpoint) {
  std::string to;
  for (const std::string& session : endpoint.announced_to())
    to += std::format("{}{}", to.empty() ? "announced to " : ", ", printable(session));
  return to;
}

std::string peers(const api::HaReply& reply, const View& view) {
  Table table({{"Other"}, {"Sync"}, {"Data path"}, {"Could take over"}, {"Has our state"}, {"We have its"}});
  for (const api::HaPeer& peer : reply.peers()) {
    table.row({printable(peer.instance()), heard(peer.sync(), peer.sync_age_ms()),
               heard(peer.data(), peer.data_age_ms()), yes(peer.unfit().empty()), yes(peer.has_all_of_ours()),
               yes(peer.we_have_all_of_its())});
    if (!peer.unfit().empty()) table.note("could not: " + printable(peer.unfit()));
  }
  return table.render(view.style);
}

std::string endpoints(const api::HaReply& reply, const View& view) {
  Table table({{"Endpoint"}, {"Home"}, {"Owner"}, {"Here"}, {"Term", Align::kRight}, {"For", Align::kRight}});
  for (const api::HaEndpoint& endpoint : reply.endpoints()) {
    table.row({printable(endpoint.address()), printable(endpoint.home()), owner_of(endpoint),
               printable(endpoint.state()), endpoint.term(),
               human_duration(std::chrono::seconds(endpoint.since_ms() / 1000))});
    if (const std::string note = note_of(endpoint); !note.empty()) table.note(note);
    if (const std::string to = announced_by_bgp(endpoint); !to.empty()) table.note(to);
  }
  return table.render(view.style);
}

std::string paths(const api::HaReply& reply, const View& view) {
  Table table({{"Sync path"}, {"State"}, {"Round trip", Align::kRight}, {"Detail"}});
  for (const api::HaPath& path : reply.paths())
    table.row({std::format("{} - {}", printable(path.local()), printable(path.remote())),
               path.connected() ? Cell{"connected", Colour::kGood} : Cell{"down", Colour::kBad},
               path.connected() ? std::format("{:.1f} ms", double(path.round_trip_us()) / 1000) : "",
               printable(path.problem())});
  return table.render(view.style);
}

std::string streams(const api::HaReply& reply, const View& view) {
  Table table({{"State of"},
               {"Sent", Align::kRight},
               {"", Align::kRight},
               {"Received", Align::kRight},
               {"", Align::kRight},
               {"Lag", Align::kRight}});
  for (const api::HaStream& stream : reply.streams())
    table.row({stream.kind(), stream.sent_messages(), human_bytes(stream.sent_bytes()), stream.received_messages(),
               human_bytes(stream.received_bytes()), std::format("{:.1f} ms", double(stream.lag_us()) / 1000)});
  return table.render(view.style);
}

}  // namespace

// A gwd of an older release says nothing of who is preferred.
const std::string& belongs_to(const api::HaEndpoint& endpoint) {
  return endpoint.preferred().empty() ? endpoint.home() : endpoint.preferred();
}

std::string render(const api::HaReply& reply, const View& view) {
  const std::string preferred =
      reply.preferred().empty() ? "" : std::format(", {} preferred", printable(reply.preferred()));
  std::string out = std::format("{}, {}{}, lease {}{}\n", printable(reply.instance()), reply.mode(), preferred,
                                reply.lease(), reply.drained() ? ", drained (gwctl ha undrain)" : "");
  if (!reply.unfit().empty())
    out += paint(std::format("cannot own endpoints: {}", printable(reply.unfit())), Colour::kBad, view.style) + "\n";
  for (const api::HaAlarm& alarm : reply.alarms())
    out += paint(std::format("{}{}{}: {}", alarm.kind(), alarm.address().empty() ? "" : " ", alarm.address(),
                             printable(alarm.text())),
                 alarm.severity() == kWarning ? Colour::kWarning : Colour::kBad, view.style) +
           "\n";
  out += "\n" + endpoints(reply, view) + "\n" + peers(reply, view) + "\n" + paths(reply, view);
  if (!reply.ike().charon())
    out +=
        paint("charon has no plugin gw-ha connected: IKE SAs would not be taken over", Colour::kWarning, view.style) +
        "\n";
  if (view.detail == Detail::kLong) out += "\n" + streams(reply, view);
  return out;
}

bool all_up(const api::HaReply& reply) {
  const auto bad = [](const api::HaAlarm& alarm) { return alarm.severity() != kWarning; };
  return reply.unfit().empty() && std::ranges::none_of(reply.alarms(), bad) && reply.ike().charon() &&
         std::ranges::all_of(reply.peers(),
                             [](const api::HaPeer& p) { return p.sync() && p.data() && p.unfit().empty(); }) &&
         std::ranges::all_of(reply.endpoints(), [](const api::HaEndpoint& e) { return !e.owner().empty(); });
}

}  // namespace gw::cli
