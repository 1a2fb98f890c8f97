#include "base/result.hpp"

#include <system_error>

namespace gw {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::kInvalidArgument: return "invalid_argument";
    case Errc::kMalformed: return "malformed";
    case Errc::kUnsupported: return "unsupported";
    case Errc::kNotFound: return "not_found";
    case Errc::kAlreadyExists: return "already_exists";
    case Errc::kLimit: return "limit";
    case Errc::kNeedsRekey: return "needs_rekey";
    case Errc::kPermission: return "permission";
    case Errc::kTimeout: return "timeout";
    case Errc::kClosed: return "closed";
    case Errc::kRefused: return "refused";
    case Errc::kIo: return "io";
    case Errc::kInternal: return "internal";
  }
  return "internal";
}

std::string Error::describe() const { return field.empty() ? message : std::format("{}: {}", field, message); }

Error Error::with_context(std::string_view context) && {
  message.insert(0, std::format("{}: ", context));
  return std::move(*this);
}

std::unexpected<Error> fail_errno(std::string_view what, int err, std::source_location where) {
  const Errc code = err == EPERM || err == EACCES ? Errc::kPermission : Errc::kIo;
  return std::unexpected(Error{code, std::format("{}: {}", what, std::generic_category().message(err)), {}, where});
}

}  // namespace gw
