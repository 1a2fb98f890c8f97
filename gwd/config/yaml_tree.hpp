// YAML text to a plain tree with positions, by yaml-cpp's event interface: unlike its node interface it
// shows duplicate keys and anchors, and lets us stop at our own limits. Internal to gwd/config. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gwd/config/finding.hpp"

namespace gw::config {

struct Node {
  enum class Kind : std::uint8_t {
    kInvalid,  // has a finding already (an alias)
    kNull,     // nothing, ~ or null
    kScalar,
    kSequence,
    kMap,
  };
  Kind kind = Kind::kInvalid;
  Position at;
  std::string scalar;
  bool quoted = false;
  std::vector<Node> keys;    // of a map, one per item
  std::vector<Node> values;  // of a map or a sequence
};

/// The document's root. None when there is nothing to go on with: syntax error, over a limit, empty.
/// `findings` get no file name.
std::optional<Node> parse_yaml(std::string_view text, Findings& findings);

}  // namespace gw::config
