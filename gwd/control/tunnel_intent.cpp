#include "gwd/control/tunnel_intent.hpp"

#include "gwd/control/encapsulation.hpp"

namespace gw::gwd {
namespace {

ike::Lifetime to_lifetime(const config::RekeyTimes& times) {
  return {.rekey = times.rekey, .jitter = times.jitter, .hard = times.hard};
}

}  // namespace

ike::TunnelIntent to_intent(const config::TunnelModel& model, ike::Encapsulation by_default) {
  ike::TunnelIntent intent;
  intent.name = model.name;
  intent.tunnel_id = model.tunnel_id;
  intent.local = {model.local, model.local_identity};
  intent.remote = {model.remote, model.remote_identity};
  intent.psk = model.psk.clone();
  intent.version = model.ike.version == 1 ? ike::IkeVersion::kV1 : ike::IkeVersion::kV2;
  intent.ike_proposals = {{model.ike.encryption, model.ike.integrity, model.ike.dh_group}};
  intent.esp_proposals = model.esp.proposals;
  intent.tfc_padding = model.esp.tfc_padding;
  intent.ike_lifetime = to_lifetime(model.ike.times);
  intent.ipsec_lifetime = to_lifetime(model.esp.times);
  intent.ipsec_lifetime_kb = model.esp.hard_bytes / 1024;
  intent.dpd_delay = model.dpd_delay;
  intent.replay_window = model.esp.replay_window;
  intent.initiate = model.initiate == config::Initiate::kInitiatorOnly   ? ike::InitiateMode::kInitiatorOnly
                    : model.initiate == config::Initiate::kResponderOnly ? ike::InitiateMode::kResponderOnly
                                                                         : ike::InitiateMode::kDefault;
  intent.encapsulation = resolve_encapsulation(model.encapsulation, by_default);
  intent.esn = model.esp.esn ? ike::Esn::kOffer : ike::Esn::kNever;
  return intent;
}

bool same_sas(const config::TunnelModel& a, const config::TunnelModel& b) {
  return a.tunnel_id == b.tunnel_id && a.local == b.local && a.remote == b.remote &&
         a.local_identity == b.local_identity && a.remote_identity == b.remote_identity &&
         (a.psk == b.psk || !a.fault.empty()) && a.ike.proposals == b.ike.proposals &&
         a.esp.proposals == b.esp.proposals && a.esp.replay_window == b.esp.replay_window &&
         a.esp.tfc_padding == b.esp.tfc_padding && a.encapsulation == b.encapsulation;
}

bool same_connection(const config::TunnelModel& a, const config::TunnelModel& b) {
  return same_sas(a, b) && a.ike == b.ike && a.esp == b.esp && a.dpd_delay == b.dpd_delay && a.initiate == b.initiate &&
         a.disabled == b.disabled && a.fault == b.fault;
}

}  // namespace gw::gwd
