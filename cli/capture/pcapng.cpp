#include "cli/capture/pcapng.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace gw::cli::capture {
namespace {

// Everything is in this machine's byte order: the section's magic number says which.
constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kByteOrderMagic = 0x1a2b3c4d;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kInterfaceStatistics = 5;
constexpr std::uint32_t kEnhancedPacket = 6;
constexpr std::uint16_t kLinkTypeRaw = 101;  // IPv4 or IPv6, by its version
constexpr std::size_t kMostComment = 65000;

enum Option : std::uint16_t {
  kEnd = 0,
  kComment = 1,
  kSectionApplication = 4,
  kInterfaceName = 2,
  kInterfaceDescriptionText = 3,
  kTimeResolution = 9,
  kPacketFlags = 2,
  kStatisticsStart = 2,
  kStatisticsEnd = 3,
  kStatisticsReceived = 4,
  kStatisticsDropped = 5,
};

class Block {
 public:
  explicit Block(std::uint32_t type) {
    add(type);
    add(std::uint32_t{0});  // the length, at the end
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  Block& add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Block& add_padded(std::string_view text) {
    bytes_ += text;
    bytes_.append(-text.size() & 3, '\0');
    return *this;
  }
  Block& option(Option code, std::string_view value) {
    add(std::uint16_t{code});
    add(static_cast<std::uint16_t>(value.size()));
    has_options_ = true;
    return add_padded(value);
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  Block& option(Option code, T value) {
    return option(code, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }
  Block& time_option(Option code, std::uint64_t ns) {
    const std::uint32_t halves[2] = {static_cast<std::uint32_t>(ns >> 32), static_cast<std::uint32_t>(ns)};
    return option(code, std::string_view(reinterpret_cast<const char*>(halves), sizeof halves));
  }
  std::string finish() {
    if (has_options_) add(std::uint32_t{kEnd});
    const auto length = static_cast<std::uint32_t>(bytes_.size() + sizeof(std::uint32_t));
    add(length);
    std::memcpy(bytes_.data() + sizeof(std::uint32_t), &length, sizeof length);
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
  bool has_options_ = false;
};

}  // namespace

std::string section_block(std::string_view application) {
  constexpr std::uint64_t kUnknownLength = ~std::uint64_t{0};
  Block block(kSectionHeader);
  block.add(kByteOrderMagic).add(std::uint16_t{1}).add(std::uint16_t{0}).add(kUnknownLength);
  return block.option(kSectionApplication, application).finish();
}

std::string interface_block(const Interface& interface) {
  Block block(kInterfaceDescription);
  block.add(kLinkTypeRaw).add(std::uint16_t{0}).add(interface.snap_bytes);
  block.option(kInterfaceName, interface.name).option(kInterfaceDescriptionText, interface.description);
  return block.option(kTimeResolution, std::uint8_t{9}).finish();
}

std::string packet_block(const PacketBlock& packet) {
  Block block(kEnhancedPacket);
  block.add(packet.interface);
  block.add(static_cast<std::uint32_t>(packet.unix_ns >> 32)).add(static_cast<std::uint32_t>(packet.unix_ns));
  block.add(static_cast<std::uint32_t>(packet.bytes.size())).add(packet.length);
  block.add_padded({reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size()});
  block.option(kPacketFlags, static_cast<std::uint32_t>(packet.direction));
  if (!packet.comment.empty()) block.option(kComment, packet.comment.substr(0, kMostComment));
  return block.finish();
}

std::string statistics_block(const Statistics& statistics) {
  Block block(kInterfaceStatistics);
  block.add(statistics.interface);
  block.add(static_cast<std::uint32_t>(statistics.end_unix_ns >> 32));
  block.add(static_cast<std::uint32_t>(statistics.end_unix_ns));
  block.time_option(kStatisticsStart, statistics.start_unix_ns).time_option(kStatisticsEnd, statistics.end_unix_ns);
  return block.option(kStatisticsReceived, statistics.received).option(kStatisticsDropped, statistics.lost).finish();
}

std::size_t whole_blocks(std::string_view bytes) {
  constexpr std::size_t kLeast = 12;
  std::size_t at = 0;
  while (bytes.size() - at >= kLeast) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at + sizeof(std::uint32_t), sizeof length);
    if (length < kLeast || length > bytes.size() - at) break;
    at += length;
  }
  return at;
}

}  // namespace gw::cli::capture
