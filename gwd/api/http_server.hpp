// A small HTTP/1.1 server on Boost.Beast for the API (Unix socket) and the metrics (loopback TCP): limits
// and time-outs on everything, one coroutine per connection. Thread: the io_context's only one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace gw::gwd {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded, without the query: "/v1/tunnels"
  std::map<std::string, std::string> query;
  std::string body;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
};

using HttpHandler = std::function<boost::asio::awaitable<HttpResponse>(HttpRequest)>;

struct HttpLimits {
  std::size_t body_bytes = std::size_t{10} << 20;  // the largest document (4 MiB), escaped
  std::size_t connections = 64;
  std::chrono::seconds idle{30};
};

/// Splits a request target into path and query, percent-decoded; kMalformed on a bad escape.
Result<HttpRequest> parse_target(std::string_view target);

template <class Protocol>
class HttpServer {
 public:
  HttpServer(boost::asio::io_context& io, HttpHandler handler, HttpLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds and serves until stop(). A Unix socket that nobody listens on any more is replaced.
  Status listen(const typename Protocol::endpoint& endpoint);
  void stop();

 private:
  boost::asio::awaitable<void> accept_loop();
  boost::asio::awaitable<void> serve(typename Protocol::socket socket);

  boost::asio::io_context& io_;
  typename Protocol::acceptor acceptor_;
  HttpHandler handler_;
  HttpLimits limits_;
  std::size_t connections_ = 0;
};

extern template class HttpServer<boost::asio::local::stream_protocol>;
extern template class HttpServer<boost::asio::ip::tcp>;
using UnixHttpServer = HttpServer<boost::asio::local::stream_protocol>;
using TcpHttpServer = HttpServer<boost::asio::ip::tcp>;

}  // namespace gw::gwd
