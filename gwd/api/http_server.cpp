#include "gwd/api/http_server.hpp"

#include <sys/stat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <type_traits>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kHeaderBytes = 16384;

Result<std::string> percent_decode(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out.push_back(' ');
    } else if (text[i] != '%') {
      out.push_back(text[i]);
    } else {
      const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return fail(Errc::kMalformed, "bad percent escape in the request target");
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

}  // namespace

Result<HttpRequest> parse_target(std::string_view target) {
  HttpRequest request;
  const std::size_t mark = target.find('?');
  GW_TRY_ASSIGN(request.path, percent_decode(target.substr(0, mark)));
  std::string_view rest = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    GW_TRY_ASSIGN(const std::string key, percent_decode(pair.substr(0, equals)));
    GW_TRY_ASSIGN(const std::string value,
                  percent_decode(equals == std::string_view::npos ? "" : pair.substr(equals + 1)));
    request.query[key] = value;
  }
  return request;
}

template <class Protocol>
HttpServer<Protocol>::HttpServer(asio::io_context& io, HttpHandler handler, HttpLimits limits)
    : io_(io), acceptor_(io), handler_(std::move(handler)), limits_(limits) {}

template <class Protocol>
HttpServer<Protocol>::~HttpServer() = default;

template <class Protocol>
Status HttpServer<Protocol>::listen(const typename Protocol::endpoint& endpoint) {
  boost::system::error_code error;
  const auto failed = [&](std::string_view what) {
    return fail(Errc::kIo, std::format("cannot {}: {}", what, error.message()));
  };
  acceptor_.open(endpoint.protocol(), error);
  if (error) return failed("open a listening socket");
  if constexpr (std::is_same_v<Protocol, asio::local::stream_protocol>) {
    typename Protocol::socket probe(io_);
    boost::system::error_code in_use;
    probe.connect(endpoint, in_use);
    if (!in_use) return fail(Errc::kAlreadyExists, std::format("another gwd is serving {}", endpoint.path()));
    ::unlink(endpoint.path().c_str());
    const mode_t old = ::umask(0117);  // 0660: root and the operators' group
    acceptor_.bind(endpoint, error);
    ::umask(old);
    if (error) return failed(std::format("bind {}", endpoint.path()));
  } else {
    acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    acceptor_.bind(endpoint, error);
    if (error) return failed(std::format("bind {}:{}", endpoint.address().to_string(), endpoint.port()));
  }
  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed("listen");
  asio::co_spawn(io_, accept_loop(), kEndOnException);
  return {};
}

template <class Protocol>
void HttpServer<Protocol>::stop() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
}

template <class Protocol>
asio::awaitable<void> HttpServer<Protocol>::accept_loop() {
  while (acceptor_.is_open()) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error) {
      if (!acceptor_.is_open()) break;
      asio::steady_timer pause(io_, std::chrono::milliseconds(100));  // EMFILE: do not spin
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (connections_ >= limits_.connections) {
      log::warning("api", "more than {} connections, one refused", limits_.connections);
      continue;
    }
    ++connections_;
    asio::co_spawn(io_, serve(std::move(socket)), [this](std::exception_ptr e) {
      --connections_;
      if (e) log::error("api", "a request handler threw; its connection was closed");
    });
  }
}

template <class Protocol>
asio::awaitable<void> HttpServer<Protocol>::serve(typename Protocol::socket socket) {
  beast::basic_stream<Protocol> stream(std::move(socket));
  beast::flat_buffer buffer(kHeaderBytes + limits_.body_bytes);
  for (;;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(kHeaderBytes);
    parser.body_limit(limits_.body_bytes);
    stream.expires_after(limits_.idle);
    const auto [read_error, bytes_read] = co_await http::async_read(stream, buffer, parser, kAwait);
    HttpResponse answer;
    bool keep_alive = false;
    unsigned version = 11;
    if (read_error == http::error::body_limit) {
      answer = {413, "text/plain", std::format("request body over {} bytes\n", limits_.body_bytes)};
    } else if (read_error == http::error::end_of_stream || (read_error && !parser.is_header_done())) {
      break;
    } else if (read_error) {
      break;
    } else {
      auto& raw = parser.get();
      keep_alive = raw.keep_alive();
      version = raw.version();
      auto request = parse_target(raw.target());
      if (!request) {
        answer = {400, "text/plain", request.error().message + "\n"};
      } else {
        request->method = std::string(raw.method_string());
        request->body = std::move(raw.body());
        stream.expires_never();  // the handler has its own time-outs
        answer = co_await handler_(std::move(*request));
      }
    }
    http::response<http::string_body> response(static_cast<http::status>(answer.status), version);
    response.set(http::field::server, "gwd");
    response.set(http::field::content_type, answer.content_type);
    response.keep_alive(keep_alive);
    response.body() = std::move(answer.body);
    response.prepare_payload();
    stream.expires_after(limits_.idle);
    const auto [write_error, bytes_written] = co_await http::async_write(stream, response, kAwait);
    if (write_error || !keep_alive) break;
  }
  boost::system::error_code ignored;
  stream.socket().shutdown(asio::socket_base::shutdown_both, ignored);
}

template class HttpServer<asio::local::stream_protocol>;
template class HttpServer<asio::ip::tcp>;

}  // namespace gw::gwd
