#include "ebpf/capture/server.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "base/frame.hpp"
#include "base/local_listener.hpp"
#include "base/log.hpp"
#include "ebpf/rpc/messages.hpp"

namespace gw::capture {
namespace asio = boost::asio;
namespace {

using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kQuestion = 5s;
constexpr auto kAfterError = 1s;
constexpr std::size_t kMostAsking = 8;
constexpr std::size_t kMostAskBytes = 4096;
// All rings together, of as many workers as there may be; and each: milliseconds of small packets at a worker's highest
// rate.
constexpr std::size_t kAllRingsBytes = std::size_t{32} << 20;
constexpr std::size_t kLeastRingBytes = kAllRingsBytes / worker::kMaxWorkers;
constexpr std::size_t kMostRingBytes = std::size_t{8} << 20;

/// A few hundred bytes to a client that has just come: they fit its socket.
void refuse(asio::local::stream_protocol::socket& socket, const Error& why) {
  fp::CaptureFrame frame;
  rpc::fill(why, *frame.mutable_refusal());
  std::string bytes;
  append_frame(bytes, frame.SerializeAsString());
  (void)::send(socket.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

Server::Server(Parts parts) : parts_(std::move(parts)), acceptor_(parts_.io) {}
Server::~Server() { stop(); }

Status Server::listen(const std::string& path) {
  GW_TRY(listen_at(acceptor_, path, {}));  // the RPC's socket has shown that nobody else is there
  path_ = path;
  asio::co_spawn(parts_.io, accept(), asio::detached);
  return {};
}

void Server::stop() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  detach();
  running_.reset();
  std::error_code gone;
  if (!path_.empty()) std::filesystem::remove(std::exchange(path_, {}), gone);
}

asio::awaitable<void> Server::accept() {
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
    if (error) {  // no descriptors left, say
      log::warning("capture", "accepting: {}", error.message());
      asio::steady_timer timer(parts_.io, kAfterError);
      co_await timer.async_wait(kAwait);
      continue;
    }
    if (asking_ >= kMostAsking) continue;
    asio::co_spawn(parts_.io, serve(std::move(socket)), asio::detached);
  }
}

asio::awaitable<void> Server::serve(Protocol::socket socket) {
  ++asking_;
  const auto ask = co_await read_ask(socket);
  --asking_;
  if (!ask) {
    refuse(socket, ask.error());
    co_return;
  }
  const auto client = peer_of(socket.native_handle());
  const Status started = client ? start(socket, *ask, *client) : std::unexpected(client.error());
  if (started) co_return;
  log::info("capture", "refused: {}", started.error().describe());
  refuse(socket, started.error());
}

asio::awaitable<Result<fp::CaptureAsk>> Server::read_ask(Protocol::socket& socket) {
  asio::steady_timer timer(parts_.io, kQuestion);
  timer.async_wait([&socket](const boost::system::error_code& error) {
    boost::system::error_code ignored;
    if (!error) socket.cancel(ignored);
  });
  FrameReader reader(kMostAskBytes);
  std::array<std::uint8_t, 1024> buffer;
  Result<fp::CaptureAsk> ask = fail(Errc::kMalformed, "it does not ask");
  for (;;) {
    const auto [error, n] = co_await socket.async_read_some(asio::buffer(buffer), kAwait);
    if (error) break;
    reader.feed(std::span(buffer).first(n));
    const auto payload = reader.next();
    if (payload && !*payload) continue;
    fp::CaptureAsk parsed;
    if (payload && parsed.ParseFromArray((*payload)->data(), static_cast<int>((*payload)->size()))) ask = parsed;
    break;
  }
  timer.cancel();
  co_await asio::post(parts_.io, asio::use_awaitable);  // the timer's handler has run, if it was about to
  co_return ask;
}

Result<Session::Lanes> Server::make_lanes(const Request& request) const {
  std::vector<std::uint32_t> ids(parts_.workers.shared().tunnels());
  for (std::size_t slot = 0; slot < ids.size(); ++slot)
    ids[slot] = parts_.tunnels.id_of(static_cast<worker::TunnelSlot>(slot)).value_or(0);
  const std::size_t count = request.worker ? 1 : parts_.workers.count();
  const std::size_t ring = std::bit_floor(std::clamp(kAllRingsBytes / count, kLeastRingBytes, kMostRingBytes));
  Session::Lanes lanes;
  for (std::uint32_t worker = 0; worker < parts_.workers.count(); ++worker) {
    if (request.worker && *request.worker != worker) continue;
    GW_TRY_ASSIGN(auto lane, Lane::make(request.wanted, ring));
    lane->tunnel_ids = ids;
    lanes.emplace_back(worker, std::move(lane));
  }
  return lanes;
}

fp::CaptureStarted Server::describe() const {
  fp::CaptureStarted started;
  started.set_interface(parts_.interface);
  started.set_kind(parts_.kind);
  for (const auto& [id, tunnel] : parts_.tunnels.all()) {
    if (!tunnel.settings) continue;
    fp::CaptureTunnel& one = *started.add_tunnels();
    one.set_tunnel_id(id);
    one.set_name(tunnel.settings->name);
  }
  return started;
}

Status Server::start(Protocol::socket& socket, const fp::CaptureAsk& ask, const ucred& client) {
  if (!is_privileged(client)) return fail(Errc::kPermission, "a capture shows clear packets: it is root's alone");
  if (running_) {
    const auto left = std::chrono::ceil<std::chrono::seconds>(running_->end - parts_.clock.now());
    return fail(Errc::kAlreadyExists,
                std::format("there is a capture already, by process {}; it ends by itself in {} s", running_->pid,
                            std::max<std::int64_t>(left.count(), 0)));
  }
  const Choice choice{parts_.workers.count(), [this](const std::string& name) -> std::optional<std::uint32_t> {
                        for (const auto& [id, tunnel] : parts_.tunnels.all())
                          if (tunnel.settings && tunnel.settings->name == name) return id;
                        return std::nullopt;
                      }};
  GW_TRY_ASSIGN(const Request request, parse_ask(ask, choice));
  if (request.keys == EspKeys::kWanted && client.uid != 0)
    return fail_field("esp_keys", "keys are root's alone", Errc::kPermission);
  GW_TRY_ASSIGN(Session::Lanes lanes, make_lanes(request));
  running_ = std::make_unique<Running>();
  running_->pid = client.pid;
  running_->request = request;
  running_->end = parts_.clock.now() + request.time;
  running_->session =
      std::make_unique<Session>(Session::Parts{.socket = Fd(socket.release()),
                                               .lanes = std::move(lanes),
                                               .time = request.time,
                                               .clock = parts_.clock,
                                               .started = describe(),
                                               .wants_detach =
                                                   [this] {
                                                     asio::post(parts_.io, [this] {
                                                       give_keys();  // those of SAs that came meanwhile
                                                       detach();
                                                     });
                                                   },
                                               .over = [this] { asio::post(parts_.io, [this] { finish(); }); }});
  for (auto& [worker, lane] : running_->session->lanes())
    parts_.workers[static_cast<worker::WorkerIndex>(worker)].call(
        [&lane](worker::DataPath& d) { d.tap().attach(*lane); });
  give_keys();
  running_->session->start();
  log::info("capture", "process {} captures for at most {} s", client.pid, request.time.count());
  return {};
}

/// If they are wanted. Whoever has them is in the log.
void Server::give_keys() {
  if (!running_ || running_->request.keys != EspKeys::kWanted) return;
  if (const std::size_t count = add_keys(); count > 0)
    log::warning("capture", "process {} of root is given the keys of {} SAs", running_->pid, count);
}

/// Those that the session was not given before, in frames; how many.
std::size_t Server::add_keys() {
  constexpr int kInAFrame = 1000;
  const std::uint32_t tunnel = running_->request.wanted.tunnel;
  fp::CaptureFrame frame;
  std::size_t count = 0;
  const auto add = [&] {
    if (frame.keys().sas_size() == 0) return;
    running_->session->add_keys(frame);
    for (fp::AddSa& sa : *frame.mutable_keys()->mutable_sas()) rpc::wipe_keys(sa);
    frame.mutable_keys()->clear_sas();
  };
  for (const auto& [key, entry] : parts_.sas.table().entries()) {
    if (entry.request.empty() || (tunnel != 0 && entry.tunnel_id != tunnel)) continue;
    if (!running_->keys_given.insert(key).second) continue;
    fp::AddSa& sa = *frame.mutable_keys()->add_sas();
    (void)sa.ParseFromArray(entry.request.bytes().data(), static_cast<int>(entry.request.size()));
    sa.clear_local_selectors();
    sa.clear_remote_selectors();
    ++count;
    if (frame.keys().sas_size() == kInAFrame) add();
  }
  add();
  return count;
}

/// Workers write no more when this returns.
void Server::detach() {
  if (!running_ || !std::exchange(running_->attached, false)) return;
  for (auto& [worker, lane] : running_->session->lanes())
    parts_.workers[static_cast<worker::WorkerIndex>(worker)].call([](worker::DataPath& d) { d.tap().detach(); });
  running_->session->detached();
}

void Server::finish() {
  if (!running_) return;
  log::info("capture", "that of process {} has ended", running_->pid);
  running_.reset();
}

}  // namespace gw::capture
