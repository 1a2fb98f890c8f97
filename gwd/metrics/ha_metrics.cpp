// Metrics of two instances that are one gateway: who has which endpoint, and the channel between them.
#include "gwd/metrics/ha_metrics.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace gw::gwd::metrics {
namespace {

void add_sync_kind(Families& out, const sync::KindCounters& kind, const Labels& labels) {
  out.gauge({"gw_sync_lag_seconds", "Age of the oldest message that the other instance has not acknowledged"}, labels,
            std::chrono::duration<double>(kind.lag).count());
  std::array<double, sync::kLagBounds.size()> bounds{};
  std::ranges::transform(sync::kLagBounds, bounds.begin(),
                         [](auto bound) { return std::chrono::duration<double>(bound).count(); });
  out.histogram({"gw_sync_acknowledged_seconds", "How long messages waited for the other instance's acknowledgement"},
                labels, {bounds, kind.lag_histogram, kind.lag_sum_seconds});
  out.gauge({"gw_sync_unacknowledged_bytes", "Kept to be sent again"}, labels,
            static_cast<double>(kind.unacknowledged_bytes));
  out.counter({"gw_sync_sent_messages", "Messages for the other instance"}, labels, kind.sent_messages);
  out.counter({"gw_sync_sent_bytes", "Bytes for the other instance"}, labels, kind.sent_bytes);
  out.counter({"gw_sync_received_messages", "Messages of the other instance"}, labels, kind.received_messages);
  out.counter({"gw_sync_received_bytes", "Bytes of the other instance"}, labels, kind.received_bytes);
  out.counter({"gw_sync_repeated_frames", "Frames that were sent again after a connection broke"}, labels,
              kind.repeated_frames);
}

void add_endpoint(Families& out, const api::HaEndpoint& endpoint, const std::string& instance) {
  const Labels labels{{"address", endpoint.address()}, {"home", endpoint.home()}, {"instance", instance}};
  // Summed over the instances it is 1: 0 is an endpoint that nobody has, 2 one that both have.
  out.flag({"gw_ha_endpoint_owned", "1 when this instance has the endpoint"}, labels, endpoint.state() == "owned");
  out.flag({"gw_ha_endpoint_at_home", "1 when the instance that should have the endpoint has it"}, labels,
           endpoint.owner() == (endpoint.preferred().empty() ? endpoint.home() : endpoint.preferred()));
  out.counter({"gw_ha_endpoint_moves", "How often the endpoint has changed its owner"}, labels, endpoint.term());
  if (endpoint.move() == "bgp")
    out.gauge(
        {"gw_ha_endpoint_announced_sessions", "To how many routers of the wan this instance announces the endpoint"},
        labels, endpoint.announced_to_size());
}

void add_alarm(Families& out, const api::HaAlarm& alarm, const std::string& instance) {
  out.flag(
      {"gw_ha_alarm", "1 for each alarm of `gwctl ha show`"},
      {{"kind", alarm.kind()}, {"address", alarm.address()}, {"severity", alarm.severity()}, {"instance", instance}},
      true);
}

}  // namespace

void add_ha(Families& out, const api::HaReply& ha, const std::string& instance) {
  const Labels labels{{"instance", instance}};
  out.flag({"gw_ha_fit", "1 when this instance may own endpoints"}, labels, ha.unfit().empty());
  out.flag({"gw_ha_drained", "1 after gwctl ha drain"}, labels, ha.drained());
  out.flag({"gw_ha_ike_synced", "1 when charon has all IKE SAs of the other instance"}, labels, ha.ike().synced());
  for (const api::HaPeer& peer : ha.peers()) {
    const auto with = [&](const char* key, const char* value) {
      return Labels{{"peer", peer.instance()}, {key, value}, {"instance", instance}};
    };
    const Name heard{"gw_ha_peer_heard", "1 when the other instance is heard: by the sync channel, in the data path"};
    out.flag(heard, with("by", "sync"), peer.sync());
    out.flag(heard, with("by", "data"), peer.data());
    const Labels of_peer{{"peer", peer.instance()}, {"instance", instance}};
    out.flag({"gw_ha_peer_fit", "1 when the other instance could take over"}, of_peer, peer.unfit().empty());
    out.flag({"gw_ha_peer_has_our_state", "1 when the other instance has all IKE SAs and routes of this one"}, of_peer,
             peer.has_all_of_ours());
  }
  for (const api::HaEndpoint& endpoint : ha.endpoints()) add_endpoint(out, endpoint, instance);
  for (const api::HaAlarm& alarm : ha.alarms()) add_alarm(out, alarm, instance);
}

void add_sync(Families& out, const sync::ChannelStats& sync, const std::string& instance) {
  const Labels labels{{"instance", instance}};
  for (std::size_t i = 0; i < sync.paths.size(); ++i) {
    const Labels path{{"path", std::to_string(i + 1)}, {"instance", instance}};
    out.gauge({"gw_sync_path_up", "1 when the path of the sync channel is connected"}, path,
              sync.paths[i].connected ? 1 : 0);
    out.gauge({"gw_sync_round_trip_seconds", "Of the last heartbeat on the path"}, path,
              std::chrono::duration<double>(sync.paths[i].round_trip).count());
  }
  out.counter({"gw_sync_sessions", "Sessions begun: everything was said again"}, labels, sync.sessions);
  out.counter({"gw_sync_failovers", "Times that data went on by the other path"}, labels, sync.failovers);
  out.counter({"gw_sync_refused", "Connections that were refused"}, labels, sync.refused);
  if (sync.certificate_ends)
    out.gauge({"gw_sync_certificate_end_timestamp_seconds", "Until when this instance's certificate is good"}, labels,
              std::chrono::duration<double>(sync.certificate_ends->time_since_epoch()).count());
  for (std::size_t i = 0; i < sync.kinds.size(); ++i)
    add_sync_kind(out, sync.kinds[i],
                  {{"kind", std::string(sync::to_string(sync::kKinds[i]))}, {"instance", instance}});
}

}  // namespace gw::gwd::metrics
