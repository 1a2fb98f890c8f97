// gateway.yaml's text to the protobuf Config, by reflection over the schema: a YAML key is a field's name.
// Every fault is a Finding with line and column; all of them are collected. The text is hostile: size,
// depth and number of values are bounded, anchors and aliases are refused. Pure; any thread.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>

#include "gw/config/v1/config.pb.h"
#include "gwd/config/finding.hpp"

namespace gw::config {

/// 500 connections are about 200 KiB.
inline constexpr std::size_t kMaxDocumentBytes = 4 * 1024 * 1024;
inline constexpr std::size_t kMaxDepth = 32;
inline constexpr std::size_t kMaxValues = 200'000;
/// Later faults of one document are only counted.
inline constexpr std::size_t kMaxFindings = 100;

/// From a field's path ("connections[0].ipsec.encryption") to where its value stands in the text.
class SourceMap {
 public:
  void set(std::string path, Position at) { positions_.insert_or_assign(std::move(path), at); }
  /// The field's place, or that of the nearest enclosing one (for what is missing).
  Position find(std::string_view path) const;
  bool has(std::string_view path) const { return positions_.contains(path); }

 private:
  std::map<std::string, Position, std::less<>> positions_;
};

struct Document {
  std::string file;  // as findings name it
  v1::Config config;
  SourceMap source;
  Findings findings;  // faults of loading; `config` is complete only without errors
};

/// Loads a whole document. `file` only names it; nothing is read.
Document load_document(std::string_view text, std::string file);

/// The same for any message, for tests of the loader itself.
Findings load_message(std::string_view text, const std::string& file, google::protobuf::Message& into,
                      SourceMap& source);

}  // namespace gw::config
