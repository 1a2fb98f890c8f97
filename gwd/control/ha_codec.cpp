#include "gwd/control/ha_codec.hpp"

#include <format>
#include <utility>

#include "gw/ha/v1/machine.pb.h"

namespace gw::gwd {
namespace {

namespace pb = ::gw::ha::v1;
using ha::Link;

// The last enumerator: what is beyond is of a later release.
constexpr auto kLastReason = ha::Reason::kIkeAway;

Result<IpAddress> read_address(const std::string& bytes) {
  return IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

/// A later release may have more reasons. That there is one counts; a report without it would be silence.
ha::Reason read_reason(std::uint32_t number) {
  return number > static_cast<std::uint32_t>(kLastReason) ? ha::Reason::kUnknown : static_cast<ha::Reason>(number);
}

struct StepWriter {
  pb::Step& out;
  void start(pb::Step::Kind kind, const IpAddress& address, ha::Epoch epoch) {
    out.set_kind(kind);
    out.set_address(address.bytes_string());
    out.set_epoch(epoch);
  }
  void operator()(const ha::Prepare& m) { start(pb::Step::PREPARE, m.address, m.epoch); }
  void operator()(const ha::Ready& m) { start(pb::Step::READY, m.address, m.epoch); }
  void operator()(const ha::HandOver& m) {
    start(pb::Step::HAND_OVER, m.address, m.epoch);
    out.set_takeover(m.how == ha::Handover::kTakeover);
    out.set_until_moved(m.stay == ha::Stay::kUntilMoved);
  }
  void operator()(const ha::Taken& m) { start(pb::Step::TAKEN, m.address, m.epoch); }
  void operator()(const ha::Cancel& m) { start(pb::Step::CANCEL, m.address, m.epoch); }
  void operator()(const ha::Refuse& m) {
    start(pb::Step::REFUSE, m.address, m.epoch);
    out.set_reason(static_cast<std::uint32_t>(m.reason));
  }
  void operator()(const ha::Request& m) {
    start(pb::Step::REQUEST, m.address, m.epoch);
    out.set_until_moved(m.stay == ha::Stay::kUntilMoved);
  }
};

Result<ha::Message> read_step(const pb::Step& step) {
  GW_TRY_ASSIGN(const IpAddress address, read_address(step.address()));
  const ha::Epoch epoch = step.epoch();
  const ha::Stay stay = step.until_moved() ? ha::Stay::kUntilMoved : ha::Stay::kUntilPreferred;
  switch (step.kind()) {
    case pb::Step::PREPARE: return ha::Prepare{address, epoch};
    case pb::Step::READY: return ha::Ready{address, epoch};
    case pb::Step::HAND_OVER:
      return ha::HandOver{address, epoch, step.takeover() ? ha::Handover::kTakeover : ha::Handover::kPlanned, stay};
    case pb::Step::TAKEN: return ha::Taken{address, epoch};
    case pb::Step::CANCEL: return ha::Cancel{address, epoch};
    case pb::Step::REFUSE: return ha::Refuse{address, epoch, read_reason(step.reason())};
    case pb::Step::REQUEST: return ha::Request{address, epoch, stay};
    default:
      return fail(Errc::kUnsupported, std::format("step {} is unknown to this release", static_cast<int>(step.kind())));
  }
}

}  // namespace

std::string encode(const ha::Report& report) {
  pb::Report out;
  out.set_incarnation(report.incarnation);
  out.set_unfit(static_cast<std::uint32_t>(report.unfit));
  out.set_in_sync(report.in_sync == Link::kUp);
  out.set_hears_data(report.hears_data == Link::kUp);
  for (const ha::Claim& claim : report.claims) {
    pb::Claim& c = *out.add_claims();
    c.set_address(claim.address.bytes_string());
    c.set_epoch(claim.epoch);
    c.set_owned(claim.ownership == ha::Ownership::kOwned);
  }
  return out.SerializeAsString();
}

Result<ha::Report> decode_report(std::string_view bytes) {
  pb::Report in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(Errc::kMalformed, "a report that does not parse");
  ha::Report report{.incarnation = in.incarnation(),
                    .in_sync = in.in_sync() ? Link::kUp : Link::kDown,
                    .hears_data = in.hears_data() ? Link::kUp : Link::kDown};
  report.unfit = read_reason(in.unfit());
  for (const pb::Claim& claim : in.claims()) {
    GW_TRY_ASSIGN(const IpAddress address, read_address(claim.address()));
    report.claims.push_back({address, claim.epoch(), claim.owned() ? ha::Ownership::kOwned : ha::Ownership::kStandby});
  }
  return report;
}

std::string encode(const ha::Message& message) {
  pb::Control out;
  std::visit(StepWriter{*out.mutable_step()}, message);
  return out.SerializeAsString();
}

std::string encode(const Forwards& forwards) {
  pb::Control out;
  out.mutable_forwards()->set_address(forwards.address.bytes_string());
  out.mutable_forwards()->set_epoch(forwards.epoch);
  return out.SerializeAsString();
}

std::string encode(const HeartbeatKey& key) {
  pb::Control out;
  std::string& bytes = *out.mutable_heartbeat_key()->mutable_key();
  bytes = key.key.text();
  std::string encoded = out.SerializeAsString();
  wipe(bytes);
  return encoded;
}

Result<HaControl> decode_control(std::string_view bytes) {
  pb::Control in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(Errc::kMalformed, "a control message that does not parse");
  switch (in.body_case()) {
    case pb::Control::kStep: return read_step(in.step());
    case pb::Control::kHeartbeatKey: {
      std::string& key = *in.mutable_heartbeat_key()->mutable_key();
      if (key.size() != HeartbeatKey::kBytes)
        return fail(Errc::kMalformed, std::format("a heartbeat key of {} bytes", key.size()));
      HeartbeatKey out{SharedSecret(Secret(std::string_view(key)))};
      wipe(key);
      return out;
    }
    case pb::Control::kForwards: {
      GW_TRY_ASSIGN(const IpAddress address, read_address(in.forwards().address()));
      return Forwards{address, in.forwards().epoch()};
    }
    default: return fail(Errc::kUnsupported, "a control message that this release does not know");
  }
}

}  // namespace gw::gwd
