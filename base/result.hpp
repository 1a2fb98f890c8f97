// Errors as values. Recoverable failures (network, kernel, peer, configuration) are returned as
// Result<T>; broken invariants abort. Any package, any thread.
#pragma once

#include <cerrno>
#include <cstdint>
#include <expected>
#include <format>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace gw {

enum class Errc : std::uint8_t {
  kInvalidArgument,  // Error::field names it
  kMalformed,        // bytes that do not parse
  kUnsupported,
  kNotFound,
  kAlreadyExists,
  kLimit,       // a table, queue or quota is full
  kNeedsRekey,  // using the key could repeat a nonce
  kPermission,
  kTimeout,
  kClosed,   // the other end went away
  kRefused,  // the other end said no; message has its words
  kIo,       // the operating system said no; message has errno's text
  kInternal,
};

std::string_view to_string(Errc code);

/// What went wrong, where, and (for arguments and configuration) in which field.
struct Error {
  Errc code = Errc::kInternal;
  std::string message;
  std::string field;
  std::source_location where;

  /// "field: message", or the message alone.
  std::string describe() const;
  /// The same error with `context + ": "` in front of the message.
  Error with_context(std::string_view context) &&;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

/// return fail(Errc::kLimit, "tunnel table is full (500)");
inline std::unexpected<Error> fail(Errc code, std::string message,
                                   std::source_location where = std::source_location::current()) {
  return std::unexpected(Error{code, std::move(message), {}, where});
}

/// A fault in one named field of the input.
inline std::unexpected<Error> fail_field(std::string_view field, std::string message,
                                         Errc code = Errc::kInvalidArgument,
                                         std::source_location where = std::source_location::current()) {
  return std::unexpected(Error{code, std::move(message), std::string(field), where});
}

/// A system call failed: message is `what: strerror(err)`; EPERM/EACCES map to kPermission.
std::unexpected<Error> fail_errno(std::string_view what, int err = errno,
                                  std::source_location where = std::source_location::current());

}  // namespace gw

// GW_TRY(expr): returns the error of a Status/Result from the enclosing function.
#define GW_TRY(...)                                                                                                   \
  do {                                                                                                                \
    if (auto gw_try_result = (__VA_ARGS__); !gw_try_result) return std::unexpected(std::move(gw_try_result).error()); \
  } while (false)

// GW_TRY_ASSIGN(auto x, expr): x = value, or return the error. One a line.
#define GW_TRY_CAT2(a, b) a##b
#define GW_TRY_CAT(a, b) GW_TRY_CAT2(a, b)
#define GW_TRY_ASSIGN(decl, ...)                                                                                \
  auto GW_TRY_CAT(gw_try_, __LINE__) = (__VA_ARGS__);                                                           \
  if (!GW_TRY_CAT(gw_try_, __LINE__)) return std::unexpected(std::move(GW_TRY_CAT(gw_try_, __LINE__)).error()); \
  decl = std::move(*GW_TRY_CAT(gw_try_, __LINE__))
