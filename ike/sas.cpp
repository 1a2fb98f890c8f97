#include "ike/sas.hpp"

#include <format>
#include <limits>
#include <optional>

namespace gw::ike {
namespace {

/// A number that fits, or 0.
template <class T>
T narrowed(std::optional<std::uint64_t> v) {
  return v && *v <= std::numeric_limits<T>::max() ? static_cast<T>(*v) : T{0};
}

std::chrono::seconds seconds_of(const ViciMessage& m, std::string_view key) {
  return std::chrono::seconds(narrowed<std::uint32_t>(m.number(key)));
}

std::vector<std::string> list_of(const ViciMessage& m, std::string_view key) {
  const auto* list = m.list(key);
  return list ? *list : std::vector<std::string>{};
}

/// "AES_GCM_16-256"
std::string algorithm(const ViciMessage& m, std::string_view name, std::string_view key_size) {
  std::string out(m.text(name));
  if (const auto bits = m.find(key_size)) out += std::format("-{}", *bits);
  return out;
}

ChildSa parse_child(const ViciMessage& m) {
  ChildSa c;
  c.name = m.text("name");
  c.unique_id = narrowed<std::uint32_t>(m.number("uniqueid"));
  c.reqid = narrowed<std::uint32_t>(m.number("reqid"));
  c.state = m.text("state");
  c.udp_encapsulation = m.yes("encap");
  c.spi_in = narrowed<std::uint32_t>(m.hex("spi-in"));
  c.spi_out = narrowed<std::uint32_t>(m.hex("spi-out"));
  c.if_id = narrowed<std::uint32_t>(m.hex("if-id-in"));
  c.encryption = algorithm(m, "encr-alg", "encr-keysize");
  c.dh_group = m.text("dh-group");
  c.esn = m.text("esn") == "1" || m.yes("esn");
  c.bytes_in = m.number("bytes-in").value_or(0);
  c.packets_in = m.number("packets-in").value_or(0);
  c.bytes_out = m.number("bytes-out").value_or(0);
  c.packets_out = m.number("packets-out").value_or(0);
  c.installed_for = seconds_of(m, "install-time");
  c.rekey_in = seconds_of(m, "rekey-time");
  c.expires_in = seconds_of(m, "life-time");
  c.local_selectors = list_of(m, "local-ts");
  c.remote_selectors = list_of(m, "remote-ts");
  return c;
}

/// The first section: its key is the connection's name.
const ViciItem* first_section(const ViciMessage& m) {
  for (const ViciItem& item : m.items()) {
    if (std::holds_alternative<ViciMessage>(item.value)) return &item;
  }
  return nullptr;
}

IkeSa parse_ike(std::string_view name, const ViciMessage& m) {
  IkeSa sa;
  sa.name = name;
  sa.unique_id = narrowed<std::uint32_t>(m.number("uniqueid"));
  sa.state = m.text("state");
  sa.local = {std::string(m.text("local-host")), narrowed<std::uint16_t>(m.number("local-port")),
              std::string(m.text("local-id"))};
  sa.remote = {std::string(m.text("remote-host")), narrowed<std::uint16_t>(m.number("remote-port")),
               std::string(m.text("remote-id"))};
  sa.initiator = m.yes("initiator");
  sa.initiator_spi = m.text("initiator-spi");
  sa.responder_spi = m.text("responder-spi");
  sa.nat_local = m.yes("nat-local");
  sa.nat_remote = m.yes("nat-remote");
  sa.proposal = algorithm(m, "encr-alg", "encr-keysize");
  for (const char* part : {"integ-alg", "prf-alg", "dh-group"}) {
    if (const auto v = m.find(part)) sa.proposal += std::format("/{}", *v);
  }
  sa.established_for = seconds_of(m, "established");
  sa.rekey_in = seconds_of(m, "rekey-time");
  return sa;
}

void add_children(IkeSa& sa, const ViciMessage& m) {
  const ViciMessage* children = m.section("child-sas");
  if (!children) return;
  for (const ViciItem& item : children->items()) {
    if (const auto* child = std::get_if<ViciMessage>(&item.value)) sa.children.push_back(parse_child(*child));
  }
}

std::unexpected<Error> no_sa(std::string_view event) {
  return fail(Errc::kMalformed, std::format("{} without an SA in it", event));
}

Result<ViciEvent> parse_ike_rekey(const ViciItem& item) {
  const auto& m = std::get<ViciMessage>(item.value);
  const ViciMessage* before = m.section("old");
  const ViciMessage* after = m.section("new");
  if (!before || !after) return no_sa("ike-rekey");
  return IkeRekey{parse_ike(item.key, *before), parse_ike(item.key, *after)};
}

Result<ViciEvent> parse_child_rekey(const ViciItem& item) {
  const auto& m = std::get<ViciMessage>(item.value);
  const ViciMessage* children = m.section("child-sas");
  const ViciItem* child = children ? first_section(*children) : nullptr;
  if (!child) return no_sa("child-rekey");
  const auto& both = std::get<ViciMessage>(child->value);
  const ViciMessage* before = both.section("old");
  const ViciMessage* after = both.section("new");
  if (!before || !after) return no_sa("child-rekey");
  return ChildRekey{parse_ike(item.key, m), parse_child(*before), parse_child(*after)};
}

LogLine parse_log(const ViciMessage& m) {
  LogLine line;
  line.group = m.text("group");
  line.level = static_cast<int>(narrowed<std::uint8_t>(m.number("level")));
  // charon calls an IKE_SA without a connection "(unnamed)".
  if (m.text("ikesa-name") != "(unnamed)") line.tunnel = m.text("ikesa-name");
  line.unique_id = narrowed<std::uint32_t>(m.number("ikesa-uniqueid"));
  line.thread = narrowed<unsigned>(m.number("thread"));
  line.text = m.text("msg");
  return line;
}

}  // namespace

Result<IkeSa> parse_ike_sa(const ViciMessage& message) {
  const ViciItem* item = first_section(message);
  if (!item) return no_sa("list-sa");
  const auto& m = std::get<ViciMessage>(item->value);
  IkeSa sa = parse_ike(item->key, m);
  add_children(sa, m);
  return sa;
}

const std::vector<std::string>& followed_events() {
  static const std::vector<std::string> kEvents{"ike-updown", "child-updown", "ike-rekey", "child-rekey", "log"};
  return kEvents;
}

Result<ViciEvent> parse_event(std::string_view event, const ViciMessage& message) {
  if (event == "log") return parse_log(message);
  const ViciItem* item = first_section(message);
  if (!item) return no_sa(event);
  const Updown direction = message.yes("up") ? Updown::kUp : Updown::kDown;
  if (event == "ike-updown") return IkeUpdown{direction, parse_ike(item->key, std::get<ViciMessage>(item->value))};
  if (event == "child-updown") {
    GW_TRY_ASSIGN(IkeSa sa, parse_ike_sa(message));
    return ChildUpdown{direction, std::move(sa)};
  }
  if (event == "ike-rekey") return parse_ike_rekey(*item);
  if (event == "child-rekey") return parse_child_rekey(*item);
  return fail(Errc::kUnsupported, std::format("event {} is not followed", event));
}

}  // namespace gw::ike
