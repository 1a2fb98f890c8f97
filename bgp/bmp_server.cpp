#include "bgp/bmp_server.hpp"

#include <utility>

namespace gw::bgp {

BmpServer::BmpServer(boost::asio::any_io_executor executor, Handlers handlers)
    : handlers_(std::move(handlers)),
      server_(std::move(executor), "BMP",
              {.connected =
                   [this] {
                     session_ = BmpSession();
                     if (handlers_.connected) handlers_.connected({});
                   },
               .disconnected =
                   [this](const Error& why) {
                     if (handlers_.disconnected) handlers_.disconnected({why});
                   },
               .received = [this](std::span<const std::uint8_t> bytes) { return deliver(bytes); }}) {}

Status BmpServer::deliver(std::span<const std::uint8_t> bytes) {
  session_.feed(bytes);
  for (;;) {
    GW_TRY_ASSIGN(const auto event, session_.next());
    if (!event) return {};
    if (handlers_.event) handlers_.event(*event);
  }
}

}  // namespace gw::bgp
