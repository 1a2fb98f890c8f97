#include "gwd/sync/etcd_client.hpp"

#include <openssl/evp.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <format>
#include <utility>

#include "base/ip.hpp"

namespace gw::gwd::sync {
namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;

namespace {

constexpr auto kUse = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kAnswerBytes = 1 << 20;  // some dozen keys; more is not etcd

struct Call {
  EtcdClient::Address address;
  std::string path;
  std::string body;
};

std::unexpected<Error> failed(const Call& call, std::string_view what, const boost::system::error_code& error) {
  return fail(Errc::kIo, std::format("{}:{}: {}: {}", call.address.host, call.address.port, what, error.message()));
}

Result<json::object> read_answer(const Call& call, const http::response<http::string_body>& response) {
  boost::system::error_code error;
  json::value value = json::parse(response.body(), error);
  if (error || !value.is_object())
    return fail(Errc::kMalformed, std::format("{}:{} answers no JSON to {} (status {})", call.address.host,
                                              call.address.port, call.path, response.result_int()));
  if (response.result() == http::status::ok) return std::move(value.as_object());
  const json::value* words = value.as_object().if_contains("message");
  if (words == nullptr) words = value.as_object().if_contains("error");
  return fail(Errc::kRefused,
              std::format("{}:{}: {}", call.address.host, call.address.port,
                          words != nullptr && words->is_string() ? std::string(words->as_string())
                                                                 : std::format("status {}", response.result_int())));
}

template <class Stream>
asio::awaitable<Result<json::object>> exchange(Stream& stream, const Call& call) {
  http::request<http::string_body> request(http::verb::post, call.path, 11, call.body);
  request.set(http::field::host, call.address.host);
  request.set(http::field::content_type, "application/json");
  request.keep_alive(false);
  request.prepare_payload();
  if (const auto [error, bytes] = co_await http::async_write(stream, request, kUse); error)
    co_return failed(call, "write", error);
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kAnswerBytes);
  if (const auto [error, bytes] = co_await http::async_read(stream, buffer, parser, kUse); error)
    co_return failed(call, "read", error);
  co_return read_answer(call, parser.get());
}

asio::awaitable<Result<json::object>> attempt(const Call& call, std::shared_ptr<asio::ssl::context> tls) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  const auto [unresolved, found] = co_await resolver.async_resolve(call.address.host, call.address.port, kUse);
  if (unresolved) co_return failed(call, "resolve", unresolved);
  asio::ip::tcp::socket socket(executor);
  if (const auto [error, end] = co_await asio::async_connect(socket, found, kUse); error)
    co_return failed(call, "connect", error);
  if (!call.address.tls) co_return co_await exchange(socket, call);
  asio::ssl::stream<asio::ip::tcp::socket> stream(std::move(socket), *tls);
  stream.set_verify_callback(asio::ssl::host_name_verification(call.address.host));
  // RFC 6066 3: names only. (The macro for this has an old-style cast.)
  if (std::string name = call.address.host; !IpAddress::parse(name))
    SSL_ctrl(stream.native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
  if (const auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::client, kUse); error)
    co_return failed(call, "TLS", error);
  co_return co_await exchange(stream, call);
}

Result<std::shared_ptr<asio::ssl::context>> make_tls(const config::EtcdModel& settings) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  boost::system::error_code error;
  context->set_verify_mode(asio::ssl::verify_peer);
  if (!settings.ca_file.empty() && context->load_verify_file(settings.ca_file, error))
    return fail(Errc::kMalformed, std::format("{}: {}", settings.ca_file, error.message()));
  if (settings.ca_file.empty()) (void)context->set_default_verify_paths(error);
  if (!settings.cert_file.empty() && context->use_certificate_chain_file(settings.cert_file, error))
    return fail(Errc::kMalformed, std::format("{}: {}", settings.cert_file, error.message()));
  if (!settings.key_file.empty() && context->use_private_key_file(settings.key_file, asio::ssl::context::pem, error))
    return fail(Errc::kMalformed, std::format("{}: {}", settings.key_file, error.message()));
  return context;
}

}  // namespace

Result<EtcdClient::Address> EtcdClient::parse(std::string_view url) {
  Address address;
  std::string_view rest = url;
  if (rest.starts_with("https://")) address.tls = true;
  if (!address.tls && !rest.starts_with("http://"))
    return fail(Errc::kMalformed, std::format("'{}' begins with neither http:// nor https://", url));
  rest.remove_prefix(address.tls ? 8 : 7);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto colon = rest.rfind(':');
  const bool has_port = colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos;
  address.port = has_port ? rest.substr(colon + 1) : "2379";
  std::string_view host = has_port ? rest.substr(0, colon) : rest;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty() || address.port.empty()) return fail(Errc::kMalformed, std::format("'{}' has no host or port", url));
  address.host = host;
  return address;
}

Result<EtcdClient> EtcdClient::make(const config::EtcdModel& settings) {
  EtcdClient client;
  for (const std::string& url : settings.endpoints) {
    GW_TRY_ASSIGN(Address address, parse(url));
    client.addresses_.push_back(std::move(address));
  }
  if (client.addresses_.empty()) return fail(Errc::kInvalidArgument, "etcd has no addresses");
  GW_TRY_ASSIGN(client.tls_, make_tls(settings));
  return client;
}

asio::awaitable<Result<json::object>> EtcdClient::call(std::string path, json::object body) {
  using namespace asio::experimental::awaitable_operators;
  const std::string text = json::serialize(body);
  const auto tls = tls_;
  Result<json::object> answer = fail(Errc::kInternal, "no address");
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    const std::size_t which = (good_ + i) % addresses_.size();
    const Call call{addresses_[which], path, text};
    asio::steady_timer limit(co_await asio::this_coro::executor, kTimeout);
    auto first = co_await (attempt(call, tls) || limit.async_wait(kUse));
    if (first.index() == 1) {
      answer = fail(Errc::kTimeout, std::format("{}:{} does not answer within {} ms", call.address.host,
                                                call.address.port, kTimeout.count()));
      continue;
    }
    answer = std::move(std::get<0>(first));
    good_ = which;
    if (answer) co_return answer;
  }
  co_return answer;
}

std::string to_base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

Result<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > kAnswerBytes) return fail(Errc::kMalformed, "no base64");
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) return fail(Errc::kMalformed, "no base64");
  const auto padding = text.ends_with("==") ? 2U : text.ends_with('=') ? 1U : 0U;
  bytes.resize(static_cast<std::size_t>(length) - padding);
  return bytes;
}

}  // namespace gw::gwd::sync
