// HTTP over gwd's Unix socket: one request, one connection, a time-out on the whole. Blocks the calling
// thread, the only one there is.
#pragma once

#include <chrono>
#include <string>

#include "base/result.hpp"

namespace gw::cli {

enum class Method : std::uint8_t { kGet, kPost };

struct Request {
  Method method = Method::kGet;
  std::string target;  // "/v1/tunnels", percent-encoded
  std::string body;    // JSON
};

struct Reply {
  unsigned status = 0;
  std::string body;
};

/// Whatever answers requests: gwd, or a test.
class Transport {
 public:
  virtual ~Transport() = default;
  /// An error means that gwd was not reached or did not answer in time; its own refusals are replies.
  virtual Result<Reply> send(const Request& request) = 0;
};

class UnixTransport final : public Transport {
 public:
  UnixTransport(std::string socket, std::chrono::milliseconds timeout)
      : socket_(std::move(socket)), timeout_(timeout) {}
  /// kNotFound: no socket; kPermission; kRefused: nobody listens; kTimeout; kClosed; kMalformed: not HTTP.
  Result<Reply> send(const Request& request) override;

 private:
  std::string socket_;
  std::chrono::milliseconds timeout_;
};

/// For a value in a query: everything but unreserved characters is escaped (RFC 3986 2.3).
std::string percent_encode(std::string_view text);

}  // namespace gw::cli
