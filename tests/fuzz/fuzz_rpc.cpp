// A request to gw-fastpath, from bytes to our own types: whatever a client sends is refused with words, or is something
// that the rest of the program can rely on. An SA that was accepted is made, too, and takes a packet.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/frame.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/rpc/messages.hpp"

namespace gw::rpc {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

template <class T>
bool refused(const Result<T>& result) {
  if (result) return false;
  require(!result.error().message.empty() || !result.error().field.empty());
  fp::Status status;
  fill(result.error(), status);
  require(status.code() != fp::OK);
  return true;
}

// The program's OpenSSL allocates at first use: one backend for all inputs.
esp::CryptoBackend& backend() {
  static const auto made = esp::make_backend(esp::BackendChoice::kAuto).value();
  return *made;
}

void try_packet(esp::InboundSa& sa) {
  std::vector<std::uint8_t> bytes(128, 0x5a);
  store_be(bytes.data(), sa.spi());
  esp::Packet packet{.base = bytes.data(), .capacity = 128};
  packet.length = 128;
  packet.in = &sa;
  esp::Codec codec(backend());
  const auto result = codec.decapsulate({&packet, 1}, 1);
  require(result.dropped == 1 && packet.drop != GW_DROP_NONE);
}

void add_sa(const fp::AddSa& message) {
  const auto request = parse_add_sa(message, {.legacy = true, .test = true});
  if (refused(request)) return;
  require(request->parameters.spi >= 256 && request->tunnel_id != 0 && !request->algorithm.empty());
  require(!request->parameters.local.empty() && !request->parameters.remote.empty());
  esp::RuntimeRecord record{};
  if (request->direction == esp::Direction::kInbound) {
    const auto sa = esp::InboundSa::create(request->parameters, backend(), record);
    if (!refused(sa)) try_packet(**sa);
  } else {
    require(esp::begin_outbound(record, 1).has_value());
    const auto sa = esp::OutboundSa::create(request->parameters, backend(), record);
    (void)refused(sa);
  }
}

std::optional<fib::TunnelRef> find_tunnel(std::uint32_t id) {
  if (id == 0 || id > 20) return std::nullopt;
  return fib::TunnelRef{id, static_cast<std::uint16_t>(id), 1400};
}

void handle(const fp::ClientFrame& request) {
  switch (request.body_case()) {
    case fp::ClientFrame::kAddSa: return add_sa(request.add_sa());
    case fp::ClientFrame::kUpdateSa: return (void)refused(parse_update_sa(request.update_sa()));
    case fp::ClientFrame::kDelSa: return (void)refused(parse_sa_id(request.del_sa().id()));
    case fp::ClientFrame::kPutTunnel: {
      const auto settings = parse_put_tunnel(request.put_tunnel());
      if (refused(settings)) return;
      require(settings->id != 0 && settings->mtu >= 576 && settings->device.size() < 16 && !settings->device.empty());
      require(settings->device.find_first_of("/: %\n\t\\") == std::string::npos);
      return;
    }
    case fp::ClientFrame::kUpdateRoutes: {
      const auto update = parse_update_routes(request.update_routes(), {find_tunnel, CircuitPort::kThere});
      if (refused(update)) return;
      for (const fib::Route& route : update->add) {
        require(route.hop.kind != GW_NEXT_HOP_TUNNELS || !route.hop.tunnels.empty());
        require(route.hop.kind != GW_NEXT_HOP_CIRCUIT || !route.hop.gateways.empty());
        require(route.hop.gateways.size() <= GW_NEXT_HOP_MAX_GATEWAYS);
        fp::Route back;
        fill(route, back);
        require(back.prefix().size() == 4 || back.prefix().size() == 16);
      }
      return;
    }
    default: return;
  }
}

}  // namespace
}  // namespace gw::rpc

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // It would report every string that is not UTF-8.
  [[maybe_unused]] static const auto before = google::protobuf::SetLogHandler(nullptr);
  gw::FrameReader reader(1 << 16);
  reader.feed(std::span(data, size));
  for (;;) {
    const auto frame = reader.next();
    if (!frame || !*frame) return 0;
    gw::rpc::fp::ClientFrame request;
    if (request.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) gw::rpc::handle(request);
  }
}
