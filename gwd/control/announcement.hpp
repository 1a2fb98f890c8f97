// Tells the neighbours on a link where an address is now: gratuitous ARP (RFC 5227 3, RFC 826) and unsolicited
// neighbour advertisement (RFC 4861 7.2.6); and asks a neighbour whether it is there, without leaving a trace in its
// table. The frames are pure; announce() and ask() send them once. Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::gwd {

using MacAddress = std::array<std::uint8_t, 6>;

/// Routers differ in which one they believe.
enum class ArpOperation : std::uint8_t { kRequest = 1, kReply = 2 };

/// A broadcast Ethernet frame: sender and target address are both `address` (IPv4).
std::array<std::uint8_t, 42> arp_announcement(const IpAddress& address, const MacAddress& mac, ArpOperation operation);
/// An ICMPv6 message with the override flag and the target's link-layer address; the kernel fills in the checksum.
std::array<std::uint8_t, 32> neighbour_advertisement(const IpAddress& address, const MacAddress& mac);
/// "Who has `address`?" of nobody (RFC 5227 2.1.1, an ARP probe): who has it answers, nobody learns anything.
std::array<std::uint8_t, 42> arp_probe(const IpAddress& address, const MacAddress& mac);

/// Once, to everybody on the link. The address is on `interface` already. kNotFound: no such interface.
Status announce(const std::string& interface, const IpAddress& address);
/// Once. The answer is for the kernel. kNotFound: no such interface.
Status ask(const std::string& interface, const IpAddress& neighbour);

}  // namespace gw::gwd
