#include "gwd/config/yaml_loader.hpp"

#include <google/protobuf/descriptor.h>

#include <charconv>
#include <format>
#include <limits>
#include <vector>

#include "gwd/config/enum_word.hpp"
#include "gwd/config/suggest.hpp"
#include "gwd/config/yaml_tree.hpp"

namespace gw::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string in_words(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: return "a whole number";
    case FieldDescriptor::CPPTYPE_BOOL: return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM: return "a word";
    case FieldDescriptor::CPPTYPE_MESSAGE: return "a mapping (key: value)";
    default: return "text";
  }
}

std::string_view in_words(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kSequence: return "a list";
    case Node::Kind::kMap: return "a mapping";
    case Node::Kind::kScalar: return "a single value";
    case Node::Kind::kNull: return "nothing";
    case Node::Kind::kInvalid: break;
  }
  return "invalid";
}

std::string shortened(std::string_view text) {
  constexpr std::size_t kShown = 40;
  return text.size() <= kShown ? std::string(text) : std::string(text.substr(0, kShown)) + "...";
}

// Walks the tree and the schema side by side. Messages about values show them, but for those of a
// `Secret`, where a mistake may have put the secret itself into the document.
class Loader {
 public:
  Loader(const std::string& file, SourceMap& source, Findings& findings)
      : file_(file), source_(source), findings_(findings) {}

  void load_map(const Node& node, Message& into, const std::string& path) {
    const Descriptor& type = *into.GetDescriptor();
    if (node.kind != Node::Kind::kMap)
      return complain(node.at, path, std::format("is {}", in_words(node.kind)),
                      "a mapping with " + join(field_names(type)));
    std::map<std::string, Position> seen;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const Node& key = node.keys[i];
      if (!check_key(key, path, seen)) continue;
      const FieldDescriptor* field = type.FindFieldByName(key.scalar);
      if (field == nullptr) {
        unknown_key(key, type, path);
        continue;
      }
      const std::string inner = path.empty() ? key.scalar : path + "." + key.scalar;
      load_field(node.values[i], key.at, into, *field, inner);
    }
  }

 private:
  static std::vector<std::string> field_names(const Descriptor& type) {
    std::vector<std::string> names;
    names.reserve(static_cast<std::size_t>(type.field_count()));
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
    return names;
  }

  static bool holds_secrets(const Descriptor& type) { return type.name() == "Secret"; }

  void complain(Position at, std::string field, std::string message, std::string expected) {
    if (findings_.size() < kMaxFindings)
      findings_.push_back({Severity::kError, file_, at, std::move(field), std::move(message), std::move(expected)});
  }

  bool check_key(const Node& key, const std::string& path, std::map<std::string, Position>& seen) {
    if (key.kind == Node::Kind::kInvalid) return false;
    if (key.kind != Node::Kind::kScalar) {
      complain(key.at, path, std::format("a key is {}", in_words(key.kind)), "a word");
      return false;
    }
    const auto [first, is_new] = seen.emplace(key.scalar, key.at);
    if (!is_new)
      complain(key.at, path,
               std::format("duplicate key '{}', first in line {}", shortened(key.scalar), first->second.line),
               "each key once");
    return is_new;
  }

  void unknown_key(const Node& key, const Descriptor& type, const std::string& path) {
    const std::vector<std::string> names = field_names(type);
    const std::string meant = suggest(key.scalar, names);
    std::string message = "unknown key";
    if (!holds_secrets(type) || !meant.empty()) message += std::format(" '{}'", shortened(key.scalar));
    if (!meant.empty()) message += std::format(", did you mean '{}'?", meant);
    complain(key.at, path, message, (names.size() == 1 ? "" : "one of ") + join(names));
  }

  void load_field(const Node& value, Position key_at, Message& into, const FieldDescriptor& field,
                  const std::string& path) {
    source_.set(path, value.kind == Node::Kind::kScalar ? value.at : key_at);
    if (value.kind == Node::Kind::kInvalid) return;
    if (value.kind == Node::Kind::kNull)
      return complain(key_at, path, "has no value",
                      std::format("{}, or leave the key out", field.is_map()        ? "a mapping"
                                                              : field.is_repeated() ? "a list"
                                                                                    : in_words(field)));
    if (field.is_map()) return load_map_field(value, into, field, path);
    if (field.is_repeated()) return load_list(value, into, field, path);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      into.GetReflection()->MutableMessage(&into, &field);  // present even if empty
      if (value.kind != Node::Kind::kMap)
        return complain(value.at, path, std::format("is {}", in_words(value.kind)),
                        "a mapping with " + join(field_names(*field.message_type())));
      return load_map(value, *into.GetReflection()->MutableMessage(&into, &field), path);
    }
    load_scalar(value, into, field, path);
  }

  void load_list(const Node& list, Message& into, const FieldDescriptor& field, const std::string& path) {
    if (list.kind != Node::Kind::kSequence)
      return complain(list.at, path, std::format("is {}", in_words(list.kind)),
                      "a list: [ ... ] or lines that begin with '- '");
    const bool messages = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    for (std::size_t i = 0; i < list.values.size(); ++i) {
      const Node& item = list.values[i];
      const std::string inner = std::format("{}[{}]", path, i);
      source_.set(inner, item.at);
      if (item.kind == Node::Kind::kInvalid) continue;
      if (item.kind == Node::Kind::kNull)
        complain(item.at, inner, "has no value", in_words(field));
      else if (messages)
        load_map(item, *into.GetReflection()->AddMessage(&into, &field), inner);
      else
        load_scalar(item, into, field, inner);
    }
  }

  void load_map_field(const Node& map, Message& into, const FieldDescriptor& field, const std::string& path) {
    if (map.kind != Node::Kind::kMap)
      return complain(map.at, path, std::format("is {}", in_words(map.kind)), "a mapping (name: value)");
    std::map<std::string, Position> seen;
    for (std::size_t i = 0; i < map.keys.size(); ++i) {
      const Node& key = map.keys[i];
      if (!check_key(key, path, seen)) continue;
      // The schema's maps are all text -> message; their entries are messages {key = 1, value = 2}.
      const Descriptor& entry_type = *field.message_type();
      Message& entry = *into.GetReflection()->AddMessage(&into, &field);
      entry.GetReflection()->SetString(&entry, entry_type.map_key(), key.scalar);
      load_field(map.values[i], key.at, entry, *entry_type.map_value(),
                 std::format("{}[{}]", path, shortened(key.scalar)));
    }
  }

  void load_scalar(const Node& value, Message& into, const FieldDescriptor& field, const std::string& path) {
    if (value.kind != Node::Kind::kScalar)
      return complain(value.at, path, std::format("is {}", in_words(value.kind)), in_words(field));
    const Reflection& reflection = *into.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (!check_string(value, path)) return;
        if (field.is_repeated())
          reflection.AddString(&into, &field, value.scalar);
        else
          reflection.SetString(&into, &field, value.scalar);
        return;
      case FieldDescriptor::CPPTYPE_UINT32:
        if (const auto n = number(value, path, std::numeric_limits<std::uint32_t>::max())) {
          if (field.is_repeated())
            reflection.AddUInt32(&into, &field, static_cast<std::uint32_t>(*n));
          else
            reflection.SetUInt32(&into, &field, static_cast<std::uint32_t>(*n));
        }
        return;
      case FieldDescriptor::CPPTYPE_UINT64:
        if (const auto n = number(value, path, std::numeric_limits<std::uint64_t>::max()))
          reflection.SetUInt64(&into, &field, *n);
        return;
      case FieldDescriptor::CPPTYPE_BOOL:
        if (!value.quoted && (value.scalar == "true" || value.scalar == "false"))
          return reflection.SetBool(&into, &field, value.scalar == "true");
        return complain(value.at, path, std::format("'{}' is not true or false", shortened(value.scalar)),
                        "true or false");
      case FieldDescriptor::CPPTYPE_ENUM: return load_enum(value, into, field, path);
      default: return complain(value.at, path, "has a type that this version cannot read", "no such key");
    }
  }

  // Values end up in other programs' configuration, where a line break would begin a new command.
  bool check_string(const Node& value, const std::string& path) {
    constexpr std::size_t kLongest = 4096;
    if (value.scalar.size() > kLongest) {
      complain(value.at, path, std::format("has {} characters", value.scalar.size()),
               std::format("at most {}", kLongest));
      return false;
    }
    for (const char c : value.scalar) {
      if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) continue;
      complain(value.at, path, "has a line break or control character in it", "one line of text");
      return false;
    }
    return true;
  }

  std::optional<std::uint64_t> number(const Node& value, const std::string& path, std::uint64_t max) {
    const std::string expected = std::format("a whole number from 0 to {}", max);
    const std::string& text = value.scalar;
    const bool negative = text.size() > 1 && text[0] == '-';
    const std::string_view digits = std::string_view(text).substr(negative ? 1 : 0);
    const bool plain =
        !value.quoted && digits.find_first_not_of("0123456789") == std::string_view::npos && !digits.empty();
    if (!plain) {
      const bool only_quoted = value.quoted && digits.find_first_not_of("0123456789") == std::string_view::npos;
      complain(value.at, path,
               std::format("'{}' is {}", shortened(text), only_quoted ? "text because of its quotes" : "not a number"),
               expected);
      return std::nullopt;
    }
    if (digits.size() > 1 && digits[0] == '0') {
      complain(value.at, path, std::format("'{}' has a leading zero", shortened(text)), expected);
      return std::nullopt;
    }
    std::uint64_t n = 0;
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (negative || ec != std::errc() || n > max) {
      complain(value.at, path, std::format("{} is out of range", shortened(text)), expected);
      return std::nullopt;
    }
    return n;
  }

  void load_enum(const Node& value, Message& into, const FieldDescriptor& field, const std::string& path) {
    const EnumDescriptor& type = *field.enum_type();
    std::vector<std::string> words;
    for (int i = 0; i < type.value_count(); ++i) {
      words.push_back(enum_word(*type.value(i)));
      if (words.back() == value.scalar) return into.GetReflection()->SetEnum(&into, &field, type.value(i));
    }
    const std::string meant = suggest(value.scalar, words);
    complain(value.at, path,
             std::format("unknown value '{}'{}", shortened(value.scalar),
                         meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
             "one of " + join(words));
  }

  const std::string& file_;
  SourceMap& source_;
  Findings& findings_;
};

}  // namespace

Position SourceMap::find(std::string_view path) const {
  while (!path.empty()) {
    if (const auto found = positions_.find(path); found != positions_.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    path = cut == std::string_view::npos ? std::string_view() : path.substr(0, cut);
  }
  return {1, 1};
}

Findings load_message(std::string_view text, const std::string& file, Message& into, SourceMap& source) {
  Findings findings;
  const std::optional<Node> root = parse_yaml(text, findings);
  for (Finding& finding : findings) finding.file = file;
  if (root) Loader(file, source, findings).load_map(*root, into, "");
  sort_findings(findings);
  return findings;
}

Document load_document(std::string_view text, std::string file) {
  Document document;
  document.file = std::move(file);
  document.findings = load_message(text, document.file, document.config, document.source);
  return document;
}

}  // namespace gw::config
