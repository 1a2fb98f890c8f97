// Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as Wireshark reads them: packets that begin at an IP header,
// times in nanoseconds. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gw::cli::capture {

/// The first block of a file.
std::string section_block(std::string_view application);

struct Interface {
  std::string_view name;
  std::string_view description;
  std::uint32_t snap_bytes = 0;
};
/// They are numbered from 0 on, in the order in which they are written.
std::string interface_block(const Interface& interface);

enum class PacketDirection : std::uint8_t { kUnknown = 0, kInbound = 1, kOutbound = 2 };  // as epb_flags has them

struct PacketBlock {
  std::uint32_t interface = 0;
  std::uint64_t unix_ns = 0;
  std::uint32_t length = 0;             // of the packet
  std::span<const std::uint8_t> bytes;  // that were captured
  PacketDirection direction = PacketDirection::kUnknown;
  std::string_view comment;  // none: empty
};
std::string packet_block(const PacketBlock& packet);

struct Statistics {
  std::uint32_t interface = 0;
  std::uint64_t start_unix_ns = 0;
  std::uint64_t end_unix_ns = 0;
  std::uint64_t received = 0;  // lost ones included
  std::uint64_t lost = 0;
};
std::string statistics_block(const Statistics& statistics);

/// How many of these bytes, which begin with a block, are whole blocks.
std::size_t whole_blocks(std::string_view bytes);

}  // namespace gw::cli::capture
