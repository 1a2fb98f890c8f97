// The message format of charon's VICI interface: a tree of sections, key/values and lists, and the
// packets that carry it. Pure codec: bytes in, values out; the reader trusts nothing.
// Standard: strongSwan src/libcharon/plugins/vici/README.md. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace gw::ike {

inline constexpr std::size_t kMaxViciPacket = std::size_t{512} * 1024;  // vici_socket.h: VICI_MESSAGE_SIZE_MAX
inline constexpr std::size_t kMaxViciName = 255;
inline constexpr std::size_t kMaxViciValue = 65535;
inline constexpr unsigned kMaxViciDepth = 16;  // charon's own trees are 5 deep

struct ViciItem;

/// A section: ordered items. Move-only, because it may hold secrets.
class ViciMessage {
 public:
  using List = std::vector<std::string>;

  ViciMessage();
  ~ViciMessage();
  ViciMessage(ViciMessage&&) noexcept;
  ViciMessage& operator=(ViciMessage&&) noexcept;

  // Building. A key or value beyond VICI's limits is found by encode().
  ViciMessage& add(std::string key, std::string value);
  ViciMessage& add_secret(std::string key, Secret value);
  ViciMessage& add_list(std::string key, List values);
  ViciMessage& add_section(std::string key, ViciMessage section);

  // Reading. A key that is absent or of another kind is nullopt / nullptr / "".
  std::optional<std::string_view> find(std::string_view key) const;
  std::string_view text(std::string_view key) const { return find(key).value_or(std::string_view{}); }
  std::optional<std::uint64_t> number(std::string_view key) const;  // decimal
  std::optional<std::uint64_t> hex(std::string_view key) const;     // as VICI prints SPIs and if_ids
  bool yes(std::string_view key) const { return text(key) == "yes"; }
  const List* list(std::string_view key) const;
  const ViciMessage* section(std::string_view key) const;
  const std::vector<ViciItem>& items() const { return items_; }
  bool empty() const { return items_.empty(); }

  /// For logs and tests: nested "key = value"; secrets print as "(secret)".
  std::string to_string() const;

 private:
  std::vector<ViciItem> items_;
};

struct ViciItem {
  std::string key;
  std::variant<std::string, ViciMessage::List, ViciMessage, Secret> value;
};

enum class ViciPacketType : std::uint8_t {
  kCommandRequest = 0,
  kCommandResponse = 1,
  kCommandUnknown = 2,
  kEventRegister = 3,
  kEventUnregister = 4,
  kEventConfirm = 5,
  kEventUnknown = 6,
  kEvent = 7,
};

struct ViciPacket {
  ViciPacketType type = ViciPacketType::kCommandRequest;
  std::string name;  // of the command or event; the other types have none
  ViciMessage message;
};

/// Length prefix included. One allocation of the right size, so that wiping the result leaves no copy.
Result<std::string> encode_packet(ViciPacketType type, std::string_view name, const ViciMessage& message);
/// One packet without its length prefix.
Result<ViciPacket> parse_packet(std::span<const std::uint8_t> payload);

}  // namespace gw::ike
