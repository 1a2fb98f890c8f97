// What charon says about its SAs, as types: list-sas, and the events ike-updown, child-updown, ike-rekey,
// child-rekey, log. Pure; a field that charon left out keeps its default. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "ike/vici_message.hpp"

namespace gw::ike {

struct ChildSa {
  std::string name;  // the tunnel's
  std::uint32_t unique_id = 0;
  std::uint32_t reqid = 0;
  std::string state;  // INSTALLED, REKEYING, REKEYED, DELETING...
  bool udp_encapsulation = false;
  std::uint32_t spi_in = 0;  // host order
  std::uint32_t spi_out = 0;
  std::uint32_t if_id = 0;
  std::string encryption;  // "AES_GCM_16-256"
  std::string dh_group;    // of its rekey; empty: none
  bool esn = false;
  std::uint64_t bytes_in = 0;
  std::uint64_t packets_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t packets_out = 0;
  std::chrono::seconds installed_for{0};
  std::chrono::seconds rekey_in{0};
  std::chrono::seconds expires_in{0};
  std::vector<std::string> local_selectors;
  std::vector<std::string> remote_selectors;
};

struct IkePeer {
  std::string address;
  std::uint16_t port = 0;
  std::string identity;
};

struct IkeSa {
  std::string name;  // the tunnel's
  std::uint32_t unique_id = 0;
  std::string state;  // ESTABLISHED, CONNECTING, REKEYING...
  IkePeer local;
  IkePeer remote;
  bool initiator = false;
  std::string initiator_spi;  // 16 hex digits
  std::string responder_spi;
  bool nat_local = false;
  bool nat_remote = false;
  std::string proposal;  // "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"
  std::chrono::seconds established_for{0};
  std::chrono::seconds rekey_in{0};
  std::vector<ChildSa> children;
};

/// One message of a list-sas stream; empty name: not an SA.
Result<IkeSa> parse_ike_sa(const ViciMessage& message);

enum class Updown : std::uint8_t { kUp, kDown };

struct IkeUpdown {
  Updown direction = Updown::kDown;
  IkeSa sa;
};
struct ChildUpdown {
  Updown direction = Updown::kDown;
  IkeSa sa;  // children: those that go up or down
};
struct IkeRekey {
  IkeSa before;
  IkeSa after;
};
struct ChildRekey {
  IkeSa sa;  // without children
  ChildSa before;
  ChildSa after;
};
struct LogLine {
  std::string group;  // IKE, CFG, NET...
  int level = 0;
  std::string tunnel;  // empty while charon does not know the connection yet
  std::uint32_t unique_id = 0;
  unsigned thread = 0;  // of charon: lines of one exchange share it
  std::string text;
};
using ViciEvent = std::variant<IkeUpdown, ChildUpdown, IkeRekey, ChildRekey, LogLine>;

/// The events to subscribe() to for a full picture.
const std::vector<std::string>& followed_events();
/// kUnsupported for an event not among followed_events().
Result<ViciEvent> parse_event(std::string_view event, const ViciMessage& message);

}  // namespace gw::ike
