#include "ebpf/rpc/bfd_messages.hpp"

#include "ebpf/rpc/messages.hpp"

namespace gw::rpc {
namespace {

constexpr std::size_t kMaxDevice = 15;

Result<std::uint8_t> parse_byte(std::uint32_t value, std::string_view field) {
  if (value > 255) return fail_field(field, std::format("{} is not in 0..255", value));
  return static_cast<std::uint8_t>(value);
}

Result<bfd::State> parse_state(std::uint32_t value, std::string_view field) {
  if (value > 3) return fail_field(field, std::format("{} is no BFD state", value));
  return static_cast<bfd::State>(value);
}

Result<bfd::SessionKey> parse_key(const fp::BfdSharedSession& m, Sharer sharer) {
  bfd::SessionKey key;
  GW_TRY_ASSIGN(key.peer, parse_address(m.peer(), "peer"));
  GW_TRY_ASSIGN(key.local, parse_address(m.local(), "local"));
  if (key.peer.family() != key.local.family()) return fail_field("local", "is of another family than the peer");
  const bool named = !m.device().empty() || sharer == Sharer::kPredecessor;
  if (!named || m.device().size() > kMaxDevice) return fail_field("device", "is no interface name");
  key.device = m.device();
  if (sharer == Sharer::kPredecessor && m.multihop()) key.hops = bfd::Hops::kMulti;
  return key;
}

}  // namespace

Result<bfd::SharedSession> parse_shared_session(const fp::BfdSharedSession& m, Sharer sharer) {
  using bfd::Interval;
  bfd::SharedSession s;
  GW_TRY_ASSIGN(s.key, parse_key(m, sharer));
  GW_TRY_ASSIGN(s.min_ttl, parse_byte(m.min_ttl(), "min_ttl"));
  GW_TRY_ASSIGN(s.settings.detect_multiplier, parse_byte(m.detect_multiplier(), "detect_multiplier"));
  s.settings.desired_min_tx = Interval(m.desired_min_tx_us());
  s.settings.required_min_rx = Interval(m.required_min_rx_us());
  s.settings.role = m.passive() ? bfd::Role::kPassive : bfd::Role::kActive;
  GW_TRY_ASSIGN(s.snapshot.state, parse_state(m.state(), "state"));
  GW_TRY_ASSIGN(const std::uint8_t diagnostic, parse_byte(m.diagnostic(), "diagnostic"));
  s.snapshot.diagnostic = static_cast<bfd::Diagnostic>(diagnostic);
  s.snapshot.local_discriminator = m.local_discriminator();
  bfd::Remote& r = s.snapshot.remote;
  r.discriminator = m.remote_discriminator();
  GW_TRY_ASSIGN(r.state, parse_state(m.remote_state(), "remote_state"));
  GW_TRY_ASSIGN(r.detect_multiplier, parse_byte(m.remote_detect_multiplier(), "remote_detect_multiplier"));
  r.desired_min_tx = Interval(m.remote_desired_min_tx_us());
  r.required_min_rx = Interval(m.remote_required_min_rx_us());
  if (s.snapshot.state == bfd::State::kUp &&
      (s.snapshot.local_discriminator == 0 || r.discriminator == 0 || r.detect_multiplier == 0))
    return fail_field("state", "is up, without what a session that is up has");
  return s;
}

void fill(const bfd::SharedSession& s, fp::BfdSharedSession& out) {
  out.set_peer(s.key.peer.bytes_string());
  out.set_local(s.key.local.bytes_string());
  out.set_device(s.key.device);
  out.set_multihop(s.key.hops == bfd::Hops::kMulti);
  out.set_min_ttl(s.min_ttl);
  out.set_detect_multiplier(s.settings.detect_multiplier);
  out.set_desired_min_tx_us(s.settings.desired_min_tx.count());
  out.set_required_min_rx_us(s.settings.required_min_rx.count());
  out.set_passive(s.settings.role == bfd::Role::kPassive);
  out.set_state(static_cast<std::uint32_t>(s.snapshot.state));
  out.set_diagnostic(static_cast<std::uint32_t>(s.snapshot.diagnostic));
  out.set_local_discriminator(s.snapshot.local_discriminator);
  const bfd::Remote& r = s.snapshot.remote;
  out.set_remote_discriminator(r.discriminator);
  out.set_remote_state(static_cast<std::uint32_t>(r.state));
  out.set_remote_detect_multiplier(r.detect_multiplier);
  out.set_remote_desired_min_tx_us(r.desired_min_tx.count());
  out.set_remote_required_min_rx_us(r.required_min_rx.count());
}

void fill(const bfd::Engine& engine, MonoTime now, fp::BfdList& out) {
  for (const auto& [key, entry] : engine.all()) {
    fp::BfdInfo& info = *out.add_sessions();
    info.set_peer(key.peer.bytes_string());
    info.set_local(key.local.bytes_string());
    info.set_device(key.device);
    info.set_multihop(key.hops == bfd::Hops::kMulti);
    info.set_state(std::string(to_string(entry->session.state())));
    info.set_diagnostic(std::string(to_string(entry->session.diagnostic())));
    info.set_local_discriminator(entry->session.local_discriminator());
    info.set_remote_discriminator(entry->session.remote().discriminator);
    info.set_transmit_interval_us(entry->session.transmit_interval().count());
    info.set_detection_time_us(entry->session.detection_time().count());
    info.set_in_packets(entry->counts.in_packets);
    info.set_out_packets(entry->counts.out_packets);
    info.set_since_ms(static_cast<std::uint64_t>((now - entry->since) / std::chrono::milliseconds(1)));
    info.set_known_to_bfdd(!entry->bfdd.empty());
    info.set_adopted(entry->origin == bfd::Origin::kAdopted);
  }
  for (std::size_t i = 0; i < bfd::kRefusals; ++i) {
    const auto reason = static_cast<bfd::Refusal>(i);
    if (const std::uint64_t n = engine.refused(reason); n > 0) add_drop(to_string(reason), n, *out.mutable_refused());
  }
  out.set_shared(static_cast<std::uint32_t>(engine.shared()));
}

}  // namespace gw::rpc
