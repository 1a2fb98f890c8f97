#include "cli/client.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <format>
#include <optional>

namespace gw::cli {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Socket = asio::local::stream_protocol::socket;
using boost::system::error_code;

constexpr std::uint64_t kMaxReplyBytes = 256ULL * 1024 * 1024;  // a full table's routes as JSON

std::unexpected<Error> failed(const error_code& ec, std::string_view what) {
  Errc code = Errc::kIo;
  if (ec == asio::error::connection_refused)
    code = Errc::kRefused;
  else if (ec == boost::system::errc::no_such_file_or_directory)
    code = Errc::kNotFound;
  else if (ec == asio::error::access_denied)
    code = Errc::kPermission;
  else if (ec == http::error::end_of_stream || ec == asio::error::eof || ec == asio::error::connection_reset ||
           ec == asio::error::broken_pipe)
    code = Errc::kClosed;
  else if (ec.category() == http::make_error_code(http::error::bad_version).category())
    code = Errc::kMalformed;
  return fail(code, std::format("{}: {}", what, ec.message()));
}

// Runs what was started until it completes or time is up; then the socket is closed, which ends it.
class Deadline {
 public:
  Deadline(asio::io_context& io, Socket& socket, std::chrono::milliseconds timeout)
      : io_(io), socket_(socket), timeout_(timeout), end_(std::chrono::steady_clock::now() + timeout) {}

  Status run(const std::optional<error_code>& result, std::string_view what) {
    io_.restart();
    io_.run_until(end_);
    if (!result) {
      error_code ignored;
      socket_.close(ignored);  // NOLINT: the error is of no use
      io_.run();
      return fail(Errc::kTimeout, std::format("{}: no answer within {} s", what,
                                              std::chrono::duration_cast<std::chrono::seconds>(timeout_).count()));
    }
    if (*result) return failed(*result, what);
    return {};
  }

 private:
  asio::io_context& io_;
  Socket& socket_;
  std::chrono::milliseconds timeout_;
  std::chrono::steady_clock::time_point end_;
};

http::request<http::string_body> to_http(const Request& request) {
  http::request<http::string_body> out{request.method == Method::kGet ? http::verb::get : http::verb::post,
                                       request.target, 11};
  out.set(http::field::host, "gwd");
  out.set(http::field::connection, "close");
  if (request.method == Method::kPost) out.set(http::field::content_type, "application/json");
  out.body() = request.body;
  out.prepare_payload();
  return out;
}

}  // namespace

Result<Reply> UnixTransport::send(const Request& request) {
  if (socket_.size() >= sizeof(sockaddr_un::sun_path))
    return fail_field("--socket", std::format("the path has {} characters (expected at most {})", socket_.size(),
                                              sizeof(sockaddr_un::sun_path) - 1));
  asio::io_context io;
  Socket socket(io);
  Deadline deadline(io, socket, timeout_);
  std::optional<error_code> result;
  const auto done = [&result](const error_code& ec, std::size_t = 0) { result = ec; };
  socket.async_connect(socket_, done);
  GW_TRY(deadline.run(result, "connecting"));

  result.reset();
  auto message = to_http(request);
  http::async_write(socket, message, done);
  GW_TRY(deadline.run(result, "sending the request"));

  result.reset();
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxReplyBytes);
  http::async_read(socket, buffer, parser, done);
  GW_TRY(deadline.run(result, "reading the reply"));
  return Reply{parser.get().result_int(), std::move(parser.get().body())};
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").contains(c);
    if (plain)
      out += c;
    else
      out += std::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

}  // namespace gw::cli
