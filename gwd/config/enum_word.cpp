#include "gwd/config/enum_word.hpp"

#include <string_view>

namespace gw::config {

std::string enum_word(const google::protobuf::EnumValueDescriptor& value) {
  std::string prefix;  // of DontFragment: DONT_FRAGMENT_
  for (const char c : value.type()->name()) {
    const bool small = c >= 'a' && c <= 'z';
    if (!small && !prefix.empty()) prefix += '_';
    prefix += small ? static_cast<char>(c - 'a' + 'A') : c;
  }
  prefix += '_';
  std::string_view name = value.name();
  if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  std::string out;
  for (const char c : name) out += c == '_' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

}  // namespace gw::config
