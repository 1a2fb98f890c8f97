#include "ike/vici_message.hpp"

#include <algorithm>
#include <charconv>
#include <format>
#include <utility>

#include "base/wire.hpp"

namespace gw::ike {
namespace {

// Element types of the VICI encoding.
constexpr std::uint8_t kSectionStart = 1;
constexpr std::uint8_t kSectionEnd = 2;
constexpr std::uint8_t kKeyValue = 3;
constexpr std::uint8_t kListStart = 4;
constexpr std::uint8_t kListItem = 5;
constexpr std::uint8_t kListEnd = 6;

bool named(ViciPacketType type) {
  switch (type) {
    case ViciPacketType::kCommandRequest:
    case ViciPacketType::kEventRegister:
    case ViciPacketType::kEventUnregister:
    case ViciPacketType::kEvent: return true;
    case ViciPacketType::kCommandResponse:
    case ViciPacketType::kCommandUnknown:
    case ViciPacketType::kEventConfirm:
    case ViciPacketType::kEventUnknown: return false;
  }
  return false;
}

// --- writing: a first pass checks and measures, the second cannot fail ------------------------------

std::string_view value_bytes(const Secret& s) { return s.text(); }
std::string_view value_bytes(const std::string& s) { return s; }

Result<std::size_t> measure(const ViciMessage& message, unsigned depth);

Result<std::size_t> measure_value(std::string_view key, std::string_view value) {
  if (value.size() > kMaxViciValue) {
    return fail_field(key, std::format("value of {} bytes; VICI carries {}", value.size(), kMaxViciValue));
  }
  return 2 + value.size();
}

struct Measure {
  std::string_view key;
  unsigned depth;
  Result<std::size_t> operator()(const std::string& v) const { return measure_value(key, v); }
  Result<std::size_t> operator()(const Secret& v) const { return measure_value(key, v.text()); }
  Result<std::size_t> operator()(const ViciMessage::List& list) const {
    std::size_t n = 1;
    for (const std::string& v : list) {
      GW_TRY_ASSIGN(const std::size_t bytes, measure_value(key, v));
      n += 1 + bytes;
    }
    return n;
  }
  Result<std::size_t> operator()(const ViciMessage& section) const {
    GW_TRY_ASSIGN(const std::size_t bytes, measure(section, depth + 1));
    return bytes + 1;
  }
};

Result<std::size_t> measure(const ViciMessage& message, unsigned depth) {
  if (depth > kMaxViciDepth) return fail(Errc::kLimit, "VICI message is nested too deep");
  std::size_t n = 0;
  for (const ViciItem& item : message.items()) {
    if (item.key.empty() || item.key.size() > kMaxViciName) {
      return fail_field(item.key, std::format("VICI keys have 1 to {} bytes", kMaxViciName));
    }
    GW_TRY_ASSIGN(const std::size_t bytes, std::visit(Measure{item.key, depth}, item.value));
    n += 2 + item.key.size() + bytes;
  }
  return n;
}

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  void byte(std::uint8_t v) { out_ += static_cast<char>(v); }
  void name(std::string_view v) {
    byte(static_cast<std::uint8_t>(v.size()));
    out_ += v;
  }
  void value(std::string_view v) {
    byte(static_cast<std::uint8_t>(v.size() >> 8));
    byte(static_cast<std::uint8_t>(v.size() & 0xff));
    out_ += v;
  }
  void message(const ViciMessage& m) {
    for (const ViciItem& item : m.items()) {
      std::visit([&](const auto& v) { element(item.key, v); }, item.value);
    }
  }

 private:
  void head(std::uint8_t type, std::string_view key) {
    byte(type);
    name(key);
  }
  template <class Text>
  void element(std::string_view key, const Text& v) {
    head(kKeyValue, key);
    value(value_bytes(v));
  }
  void element(std::string_view key, const ViciMessage::List& list) {
    head(kListStart, key);
    for (const std::string& v : list) {
      byte(kListItem);
      value(v);
    }
    byte(kListEnd);
  }
  void element(std::string_view key, const ViciMessage& section) {
    head(kSectionStart, key);
    message(section);
    byte(kSectionEnd);
  }

  std::string& out_;
};

// --- reading ----------------------------------------------------------------------------------------

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }

  Result<std::uint8_t> byte() {
    if (rest_.empty()) return truncated();
    const std::uint8_t v = rest_.front();
    rest_ = rest_.subspan(1);
    return v;
  }
  Result<std::string> name() {
    GW_TRY_ASSIGN(const std::size_t n, byte());
    return take(n);
  }
  Result<std::string> value() {
    if (rest_.size() < 2) return truncated();
    const std::size_t n = load_be<std::uint16_t>(rest_.data());
    rest_ = rest_.subspan(2);
    return take(n);
  }

  /// Elements up to the end of this section, or of the message at depth 0.
  Result<ViciMessage> section(unsigned depth) {
    if (depth > kMaxViciDepth) return fail(Errc::kLimit, "VICI message is nested too deep");
    ViciMessage out;
    while (!rest_.empty()) {
      GW_TRY_ASSIGN(const std::uint8_t type, byte());
      if (type == kSectionEnd) {
        if (depth == 0) return fail(Errc::kMalformed, "VICI message ends a section that never began");
        return out;
      }
      GW_TRY(element(type, depth, out));
    }
    if (depth != 0) return truncated();
    return out;
  }

 private:
  static std::unexpected<Error> truncated() { return fail(Errc::kMalformed, "VICI message is cut short"); }

  Result<std::string> take(std::size_t n) {
    if (rest_.size() < n) return truncated();
    std::string out(reinterpret_cast<const char*>(rest_.data()), n);
    rest_ = rest_.subspan(n);
    return out;
  }

  Status element(std::uint8_t type, unsigned depth, ViciMessage& out) {
    if (type != kSectionStart && type != kKeyValue && type != kListStart) {
      return fail(Errc::kMalformed, std::format("VICI element of unknown type {}", type));
    }
    GW_TRY_ASSIGN(std::string key, name());
    if (type == kSectionStart) {
      GW_TRY_ASSIGN(ViciMessage inner, section(depth + 1));
      out.add_section(std::move(key), std::move(inner));
    } else if (type == kKeyValue) {
      GW_TRY_ASSIGN(std::string text, value());
      out.add(std::move(key), std::move(text));
    } else {
      GW_TRY_ASSIGN(ViciMessage::List items, list());
      out.add_list(std::move(key), std::move(items));
    }
    return {};
  }

  Result<ViciMessage::List> list() {
    ViciMessage::List out;
    for (;;) {
      GW_TRY_ASSIGN(const std::uint8_t type, byte());
      if (type == kListEnd) return out;
      if (type != kListItem) return fail(Errc::kMalformed, "VICI list holds something other than items");
      GW_TRY_ASSIGN(std::string item, value());
      out.push_back(std::move(item));
    }
  }

  std::span<const std::uint8_t> rest_;
};

template <class T>
const T* find_as(const std::vector<ViciItem>& items, std::string_view key) {
  const auto it = std::ranges::find(items, key, &ViciItem::key);
  return it == items.end() ? nullptr : std::get_if<T>(&it->value);
}

std::optional<std::uint64_t> parse_number(std::optional<std::string_view> text, int base) {
  if (!text) return std::nullopt;
  std::uint64_t v = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), v, base);
  if (error != std::errc{} || end != text->data() + text->size() || text->empty()) return std::nullopt;
  return v;
}

struct Print {
  std::string& out;
  std::string_view key;
  std::size_t indent;
  void operator()(const std::string& v) const { out += std::format("{:{}}{} = {}\n", "", indent, key, v); }
  void operator()(const Secret&) const { out += std::format("{:{}}{} = (secret)\n", "", indent, key); }
  void operator()(const ViciMessage::List& list) const {
    out += std::format("{:{}}{} = [", "", indent, key);
    for (std::size_t i = 0; i < list.size(); ++i) out += (i == 0 ? "" : ", ") + list[i];
    out += "]\n";
  }
  void operator()(const ViciMessage& section) const {
    out += std::format("{:{}}{} {{\n", "", indent, key);
    for (const ViciItem& item : section.items()) std::visit(Print{out, item.key, indent + 2}, item.value);
    out += std::format("{:{}}}}\n", "", indent);
  }
};

}  // namespace

ViciMessage::ViciMessage() = default;
ViciMessage::~ViciMessage() = default;
ViciMessage::ViciMessage(ViciMessage&&) noexcept = default;
ViciMessage& ViciMessage::operator=(ViciMessage&&) noexcept = default;

ViciMessage& ViciMessage::add(std::string key, std::string value) {
  items_.push_back({std::move(key), std::move(value)});
  return *this;
}
ViciMessage& ViciMessage::add_secret(std::string key, Secret value) {
  items_.push_back({std::move(key), std::move(value)});
  return *this;
}
ViciMessage& ViciMessage::add_list(std::string key, List values) {
  items_.push_back({std::move(key), std::move(values)});
  return *this;
}
ViciMessage& ViciMessage::add_section(std::string key, ViciMessage section) {
  items_.push_back({std::move(key), std::move(section)});
  return *this;
}

std::optional<std::string_view> ViciMessage::find(std::string_view key) const {
  const auto* v = find_as<std::string>(items_, key);
  return v ? std::optional<std::string_view>(*v) : std::nullopt;
}
std::optional<std::uint64_t> ViciMessage::number(std::string_view key) const { return parse_number(find(key), 10); }
std::optional<std::uint64_t> ViciMessage::hex(std::string_view key) const { return parse_number(find(key), 16); }
const ViciMessage::List* ViciMessage::list(std::string_view key) const { return find_as<List>(items_, key); }
const ViciMessage* ViciMessage::section(std::string_view key) const { return find_as<ViciMessage>(items_, key); }

std::string ViciMessage::to_string() const {
  std::string out;
  for (const ViciItem& item : items_) std::visit(Print{out, item.key, 0}, item.value);
  return out;
}

Result<std::string> encode_packet(ViciPacketType type, std::string_view name, const ViciMessage& message) {
  if (named(type) && (name.empty() || name.size() > kMaxViciName)) {
    return fail(Errc::kInvalidArgument, std::format("VICI command names have 1 to {} bytes", kMaxViciName));
  }
  GW_TRY_ASSIGN(const std::size_t body, measure(message, 0));
  const std::size_t total = 1 + (named(type) ? 1 + name.size() : 0) + body;
  if (total > kMaxViciPacket) {
    return fail(Errc::kLimit, std::format("VICI packet of {} bytes; charon takes {}", total, kMaxViciPacket));
  }
  std::string out;
  out.reserve(4 + total);
  out.resize(4);
  store_be(out.data(), static_cast<std::uint32_t>(total));
  Writer writer(out);
  writer.byte(std::to_underlying(type));
  if (named(type)) writer.name(name);
  writer.message(message);
  return out;
}

Result<ViciPacket> parse_packet(std::span<const std::uint8_t> payload) {
  Reader reader(payload);
  GW_TRY_ASSIGN(const std::uint8_t type, reader.byte());
  if (type > std::to_underlying(ViciPacketType::kEvent)) {
    return fail(Errc::kMalformed, std::format("VICI packet of unknown type {}", type));
  }
  ViciPacket packet;
  packet.type = static_cast<ViciPacketType>(type);
  if (named(packet.type)) {
    GW_TRY_ASSIGN(packet.name, reader.name());
  }
  GW_TRY_ASSIGN(packet.message, reader.section(0));
  return packet;
}

}  // namespace gw::ike
