// A packet from charon, and what is made of it.
#include <span>

#include "ike/sas.hpp"
#include "ike/vici_message.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto packet = gw::ike::parse_packet(std::span(data, size));
  if (!packet) return 0;
  (void)packet->message.to_string();
  (void)gw::ike::parse_ike_sa(packet->message);
  for (const auto& event : gw::ike::followed_events()) (void)gw::ike::parse_event(event, packet->message);
  return 0;
}
