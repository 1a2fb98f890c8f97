// Calls to etcd's v3 API by its JSON gateway (HTTP/1.1, POST), over TLS when the address says https. One connection for
// each call: a handful a second, and none that hangs unnoticed. Thread: the io_context's only one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "gwd/config/ha_model.hpp"

namespace gw::gwd::sync {

class EtcdClient {
 public:
  /// For each address of etcd; the next one is tried then.
  static constexpr std::chrono::milliseconds kTimeout{1000};

  /// kNotFound, kMalformed: a certificate or key file, by name.
  static Result<EtcdClient> make(const config::EtcdModel& settings);

  /// etcd's answer, or why none of its addresses gave one. kRefused: etcd's own words.
  boost::asio::awaitable<Result<boost::json::object>> call(std::string path, boost::json::object body);

  struct Address {
    bool tls = false;
    std::string host;
    std::string port;
  };
  /// "https://192.0.2.1:2379"; the document's rules have seen it.
  static Result<Address> parse(std::string_view url);

 private:
  EtcdClient() = default;

  std::vector<Address> addresses_;
  std::size_t good_ = 0;  // the one that answered last
  std::shared_ptr<boost::asio::ssl::context> tls_;
};

/// Keys and values of the JSON gateway.
std::string to_base64(std::string_view bytes);
Result<std::string> from_base64(std::string_view text);

}  // namespace gw::gwd::sync
