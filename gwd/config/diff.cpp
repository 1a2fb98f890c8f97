#include "gwd/config/diff.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <format>
#include <map>

#include "gwd/config/enum_word.hpp"

namespace gw::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Both sides of a comparison.
struct Pair {
  const Message& from;
  const Message& to;
};

std::string scalar(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32: return std::to_string(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64: return std::to_string(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL: return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM: return enum_word(*reflection.GetEnum(message, &field));
    default: return reflection.GetString(message, &field);
  }
}

// What tells the elements of a list apart: a map's key, a name, an address, else the place.
std::string key_of(const Message& element, int index) {
  for (const char* name : {"key", "name", "address"}) {
    const FieldDescriptor* field = element.GetDescriptor()->FindFieldByName(name);
    if (field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return scalar(element, *field);
  }
  return std::to_string(index);
}

// A list by key, and the keys in the document's order. Map fields have none: sorted.
struct Keyed {
  std::map<std::string, const Message*> elements;
  std::vector<std::string> order;
};

Keyed keyed(const Message& message, const FieldDescriptor& field) {
  Keyed out;
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& element = reflection.GetRepeatedMessage(message, &field, i);
    const std::string key = key_of(element, i);
    if (out.elements.emplace(key, &element).second) out.order.push_back(key);
  }
  if (field.is_map()) std::ranges::sort(out.order);
  return out;
}

class Differ {
 public:
  std::vector<std::string> take() { return std::move(lines_); }

  void messages(const Pair& pair, const std::string& path) {
    const auto& type = *pair.from.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const std::string inner = path.empty() ? field.name() : path + "." + field.name();
      if (field.is_repeated() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
        list(pair, field, inner);
      else if (field.is_repeated())
        texts(pair, field, inner);
      else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
        message(pair, field, inner);
      else
        value(pair, field, inner);
    }
  }

 private:
  void message(const Pair& pair, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *pair.from.GetReflection();
    const bool before = reflection.HasField(pair.from, &field);
    const bool after = reflection.HasField(pair.to, &field);
    if (before && after)
      messages({reflection.GetMessage(pair.from, &field), reflection.GetMessage(pair.to, &field)}, path);
    else if (before || after)
      lines_.push_back((after ? "+ " : "- ") + path);
  }

  void value(const Pair& pair, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *pair.from.GetReflection();
    const bool before = reflection.HasField(pair.from, &field);
    const bool after = reflection.HasField(pair.to, &field);
    const std::string from = scalar(pair.from, field);
    const std::string to = scalar(pair.to, field);
    if (from == to) return;
    if (!before)
      lines_.push_back(std::format("+ {}: {}", path, to));
    else if (!after)
      lines_.push_back(std::format("- {}: {}", path, from));
    else
      lines_.push_back(std::format("~ {}: {} -> {}", path, from, to));
  }

  void texts(const Pair& pair, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *pair.from.GetReflection();
    const auto read = [&](const Message& message) {
      std::vector<std::string> out;
      for (int i = 0; i < reflection.FieldSize(message, &field); ++i)
        out.push_back(field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32
                          ? std::to_string(reflection.GetRepeatedUInt32(message, &field, i))
                          : reflection.GetRepeatedString(message, &field, i));
      return out;
    };
    const std::vector<std::string> from = read(pair.from);
    const std::vector<std::string> to = read(pair.to);
    for (const std::string& text : from)
      if (!std::ranges::contains(to, text)) lines_.push_back(std::format("- {}: {}", path, text));
    for (const std::string& text : to)
      if (!std::ranges::contains(from, text)) lines_.push_back(std::format("+ {}: {}", path, text));
  }

  void list(const Pair& pair, const FieldDescriptor& field, const std::string& path) {
    const Keyed from = keyed(pair.from, field);
    const Keyed to = keyed(pair.to, field);
    for (const std::string& key : from.order)
      if (!to.elements.contains(key)) lines_.push_back(std::format("- {}[{}]", path, key));
    std::vector<std::string> kept;
    for (const std::string& key : to.order) {
      const std::string inner = std::format("{}[{}]", path, key);
      const auto before = from.elements.find(key);
      if (before == from.elements.end()) {
        lines_.push_back("+ " + inner);
        continue;
      }
      kept.push_back(key);
      const Message& after = *to.elements.at(key);
      if (field.is_map())
        message({*before->second, after}, *after.GetDescriptor()->map_value(), inner);
      else
        messages({*before->second, after}, inner);
    }
    std::vector<std::string> once = from.order;
    std::erase_if(once, [&](const std::string& key) { return !to.elements.contains(key); });
    if (once != kept) lines_.push_back(std::format("~ {}: order changed", path));
  }

  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> diff(const v1::Config& from, const v1::Config& to) {
  Differ differ;
  differ.messages({from, to}, "");
  return differ.take();
}

}  // namespace gw::config
