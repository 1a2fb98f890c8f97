#include "ebpf/abi/drop_names.hpp"

#include <algorithm>
#include <array>

namespace gw {
namespace {

// In the order of enum gw_drop; the unit test checks that each has a distinct name and one sentence.
constexpr auto kInfo = std::to_array<DropInfo>({
    {"none", "The packet was not dropped."},
    {"truncated", "The packet ends before a header that it announces."},
    {"malformed_outer", "The outer IP or UDP header contradicts itself or the SA's addresses."},
    {"outer_fragment", "A fragment of an encrypted packet arrived where fragments are not reassembled."},
    {"unknown_spi", "No inbound SA is installed for this SPI and destination."},
    {"ike_flood", "More IKE packets than the rate limit allows: of the source, or of all that are no tunnel's peer."},
    {"no_tunnel", "The route or device names a tunnel that is not configured."},
    {"no_outbound_sa", "The tunnel has no outbound SA to send with."},
    {"redirect_failed", "XDP could not hand the packet to a worker's socket or another port."},
    {"replay", "The sequence number was seen before or lies left of the replay window."},
    {"icv", "The integrity check failed: the packet is forged, damaged, or made with another key."},
    {"pad", "The packet is authentic but its ESP padding is wrong."},
    {"next_header", "The packet is authentic but carries neither IPv4 nor IPv6."},
    {"dummy", "The packet is authentic cover traffic (next header 59) without content."},
    {"malformed_inner", "The packet is authentic but the IP packet in it is malformed."},
    {"ecn", "The network marked congestion on a packet whose sender does not understand it (RFC 6040)."},
    {"ts_mismatch", "The inner addresses, protocol or ports are outside the SA's traffic selectors."},
    {"hard_expired", "The SA has reached its hard byte or packet lifetime."},
    {"seq_exhausted", "The SA has used its last sequence number; only a rekey helps."},
    {"iv_exhausted", "The SA has used its last nonce under this key; only a rekey helps."},
    {"no_headroom", "The buffer has too little room around the packet for the ESP headers."},
    {"crypto_failed", "The crypto library refused to encrypt the packet."},
    {"too_big", "The packet does not fit the tunnel's or link's MTU."},
    {"ttl", "The TTL or hop limit ran out."},
    {"no_route", "The forwarding table has no route for the destination."},
    {"not_forwardable", "The packet is one that is not forwarded (broadcast, link-local, loopback or options)."},
    {"no_neighbour", "The next hop's MAC address is not known, and the kernel could not send the packet, either."},
    {"tx_full", "The transmit ring of the outgoing port is full."},
    {"tun_full", "The tunnel's device takes no more packets at the moment."},
    {"handover_full", "The ring to the worker that owns the SA is full."},
    {"no_frame", "No packet buffer was free."},
    {"recursion",
     "The tunnel's own encrypted packet was routed back into the tunnel: the route to the peer leads there."},
    {"spoofed_source", "A packet came from an address of ours, of the VNet, or of no machine at all."},
    {"fragment_overlap", "Fragments of one outer packet contradict each other: all of them are refused (RFC 5722)."},
    {"fragment_timeout", "The rest of a fragmented outer packet did not come in time."},
    {"fragment_limit", "The fragment had to give way: its sender has too many unfinished packets, or too many pieces."},
    {"multicast", "Multicast and broadcast stay in the network they were sent in."},
    {"nat_keepalive", "A NAT keepalive: it has done its work when it arrives."},
    {"unreachable", "The kernel has no way to the peer out of the wan interface, or no longer the tunnel's address."},
    {"send_refused", "The kernel refused to send an encrypted packet: a firewall rule, or a limit of the interface."},
    {"ike_away", "An IKE packet came while charon was not connected; the peer sends it again."},
    {"ike_queue_full", "IKE packets came faster than charon takes them; the peer sends them again."},
    {"ike_send_failed", "The kernel refused to send an IKE packet of charon's (no route?)."},
    {"not_ike", "A datagram to UDP 4500 was neither IKE nor ESP of an SA that is installed."},
    {"kernel_reassembly",
     "The kernel could not put a fragmented packet together; it does that for gso ports, and counts for all programs."},
    {"fragment_repeated", "The fragment was there already, byte for byte: networks repeat packets now and then."},
    {"tun_down", "The tunnel's device is down: somebody set it so."},
    {"transit_closed", "The packet came by the circuit and wanted into a tunnel, or the reverse: transit is closed."},
    {"hairpin", "The way forward leads back to the neighbour or tunnel that the packet came from."},
    {"standby", "This instance does not own the tunnel's endpoint at this moment; the other one does."},
    {"move_full",
     "The tunnel's endpoint was being moved to the other instance, and no more packets could wait for it."},
    {"move_late",
     "The packet waited for the tunnel's endpoint to be moved to the other instance, and that took too long."},
    {"rate_tunnel", "The tunnel is over the rate that its connection is configured with."},
    {"rate_gateway", "All tunnels together are over the gateway's rate (its SKU), and this one is over its share."},
});
static_assert(kInfo.size() == GW_DROP_COUNT, "every drop reason needs a name and a meaning");

constexpr DropInfo kUnknown{"unknown", "The reason is not known to this version."};

}  // namespace

const DropInfo& drop_info(gw_drop reason) {
  const auto index = static_cast<std::size_t>(reason);
  return index < kInfo.size() ? kInfo[index] : kUnknown;
}

std::optional<gw_drop> drop_by_name(std::string_view name) {
  const auto it = std::ranges::find(kInfo, name, &DropInfo::name);
  if (it == kInfo.end()) return std::nullopt;
  return static_cast<gw_drop>(it - kInfo.begin());
}

}  // namespace gw
