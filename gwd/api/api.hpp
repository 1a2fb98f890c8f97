// The HTTP API of gwd (proto/gw/api/v1): a table of paths, each answered from the controllers' state and,
// for counters, from gw-fastpath now. Owner: main; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "gw/api/v1/api.pb.h"
#include "gwd/api/http_server.hpp"
#include "gwd/api/snapshot.hpp"
#include "gwd/control/config_service.hpp"
#include "gwd/control/gateway.hpp"

namespace gw::gwd {

namespace api = ::gw::api::v1;

class Api {
 public:
  Api(Gateway& gateway, ConfigService& config, const Clock& clock);

  boost::asio::awaitable<HttpResponse> handle(HttpRequest request);

 private:
  using Handler = std::function<boost::asio::awaitable<HttpResponse>(const HttpRequest&)>;
  struct Path {
    std::string_view method;
    std::string_view path;
    Handler handler;
  };

  boost::asio::awaitable<HttpResponse> status(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> tunnels(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> sas(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> bgp_peers(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> bgp_routes(const HttpRequest& request, bgp::Direction direction);
  boost::asio::awaitable<HttpResponse> routes(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> counters(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> memory(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> workers(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> interfaces(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> snapshot(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> examine(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> support(const HttpRequest& request);
  HttpResponse ha(const Status& order);
  template <class Order>
  HttpResponse ha_order(const HttpRequest& request, Status (*carry_out)(Gateway&, const Order&));
  HttpResponse validate(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> apply(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> rollback(const HttpRequest& request);
  HttpResponse running_config();
  HttpResponse revisions();
  HttpResponse diff(const HttpRequest& request);
  api::StatusReply make_status_reply() const;
  SnapshotSources snapshot_sources();

  Gateway& gateway_;
  ConfigService& config_;
  const Clock& clock_;
  MonoTime started_;
  std::vector<Path> paths_;
};

HttpResponse json_response(const google::protobuf::Message& message, unsigned status = 200);
HttpResponse error_response(const Error& error, const config::Findings& findings = {});

}  // namespace gw::gwd
