// Reading of FRR's JSON that never trusts it: what is absent or of another type is empty. Of bgp/'s .cpp files only.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <format>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace gw::bgp::json_read {

namespace json = boost::json;

inline Result<json::value> parse(std::string_view text, std::string_view what) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 64;
  json::value value = json::parse(text, error, {}, options);
  if (error) return fail(Errc::kMalformed, std::format("{}: not JSON: {}", what, error.message()));
  return value;
}

inline Result<json::object> parse_object(std::string_view text, std::string_view what) {
  GW_TRY_ASSIGN(json::value value, parse(text, what));
  if (!value.is_object()) return fail(Errc::kMalformed, std::format("{}: not a JSON object", what));
  return std::move(value.as_object());
}

inline const json::object* object_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v ? v->if_object() : nullptr;
}

inline std::uint64_t number_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  if (!v) return 0;
  if (v->is_uint64()) return v->as_uint64();
  if (v->is_int64() && v->as_int64() > 0) return static_cast<std::uint64_t>(v->as_int64());
  return 0;
}

inline std::string text_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v && v->is_string() ? std::string(v->as_string()) : std::string();
}

}  // namespace gw::bgp::json_read
