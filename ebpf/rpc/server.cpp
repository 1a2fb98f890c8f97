#include "ebpf/rpc/server.hpp"

#include <sys/un.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>

#include "base/frame.hpp"
#include "base/local_listener.hpp"
#include "base/log.hpp"
#include "base/secret.hpp"
#include "ebpf/rpc/messages.hpp"

namespace gw::rpc {
namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;
namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

fp::Response refusal(std::uint64_t id, fp::Code code, std::string message) {
  fp::Response response;
  response.set_id(id);
  response.mutable_status()->set_code(code);
  response.mutable_status()->set_message(std::move(message));
  return response;
}

}  // namespace

class Server::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Server& server, Protocol::socket socket) : server_(server), socket_(std::move(socket)) {}

  void start() {
    asio::co_spawn(
        server_.io_, [self = shared_from_this()] { return self->read(); },
        [self = shared_from_this()](std::exception_ptr) { self->server_.sessions_.erase(self); });
  }
  void close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }
  const Client& client() const { return client_; }

  void send(const fp::ServerFrame& frame) {
    if (!open()) return;
    if (unsent_.size() + sending_.size() > kMaxUnsent) {
      log::warning("rpc", "{} does not read; disconnected", client_.name);
      return close();
    }
    append_frame(unsent_, frame.SerializeAsString());
    write();
  }
  bool open() const { return socket_.is_open(); }

 private:
  asio::awaitable<void> read() {
    FrameReader reader;
    std::array<std::uint8_t, 16384> buffer;
    for (;;) {
      const auto [error, n] = co_await socket_.async_read_some(asio::buffer(buffer), kAwait);
      if (error || !open()) {
        wipe(buffer.data(), n);
        break;
      }
      reader.feed(std::span(buffer).first(n));
      wipe(buffer.data(), n);
      if (!take_frames(reader)) break;
    }
    if (!client_.name.empty()) log::info("rpc", "{} disconnected", client_.name);
    close();
  }

  /// False: the stream is beyond repair.
  bool take_frames(FrameReader& reader) {
    for (;;) {
      const auto payload = reader.next();
      if (!payload) {
        log::warning("rpc", "{}: {}", client_.name.empty() ? "a client" : client_.name, payload.error().describe());
        return false;
      }
      if (!*payload) return true;
      on_frame(**payload);
      if (!open()) return false;
    }
  }

  void on_frame(std::string_view payload) {
    fp::ClientFrame request;
    fp::ServerFrame answer;
    const bool parsed = request.ParseFromArray(payload.data(), static_cast<int>(payload.size()));
    if (!parsed)
      *answer.mutable_response() = refusal(request.id(), fp::MALFORMED, "the frame does not parse");
    else
      *answer.mutable_response() = answer_to(request);
    if (request.has_add_sa()) wipe_keys(*request.mutable_add_sa());
    if (request.has_put_peer()) wipe(*request.mutable_put_peer()->mutable_key());
    if (answer.ByteSizeLong() > kMaxAnswerBytes)
      *answer.mutable_response() = refusal(request.id(), fp::LIMIT, "the answer is larger than a frame");
    send(answer);
  }

  fp::Response answer_to(const fp::ClientFrame& request) {
    if (request.id() == 0) return refusal(0, fp::MALFORMED, "a request's id is not 0");
    if (request.body_case() == fp::ClientFrame::BODY_NOT_SET)
      return refusal(request.id(), fp::MALFORMED, "the request has no body that this version knows");
    if (!request.has_hello() && client_.role == fp::ROLE_UNSPECIFIED)
      return refusal(request.id(), fp::MALFORMED, "the first request is Hello");
    fp::Response response = server_.handler_.handle(client_, request);
    response.set_id(request.id());
    if (request.has_hello() && response.status().code() == fp::OK) server_.end_predecessors(*this);
    return response;
  }

  void write() {
    if (!sending_.empty() || unsent_.empty()) return;
    std::swap(sending_, unsent_);
    asio::async_write(socket_, asio::buffer(sending_),
                      [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                        self->sending_.clear();
                        if (error)
                          self->close();
                        else
                          self->write();
                      });
  }

  Server& server_;
  Protocol::socket socket_;
  Client client_;
  std::string unsent_;
  std::string sending_;
};

Server::Server(asio::io_context& io, Handler& handler) : io_(io), handler_(handler), acceptor_(io) {}
Server::~Server() { stop(); }

Status Server::listen(const std::string& path, Fd inherited) {
  boost::system::error_code error;
  if (inherited) {
    acceptor_.assign(Protocol(), inherited.release(), error);
    if (error) return fail_errno(std::format("listening at {}", path), error.value());
    path_ = path;
    asio::co_spawn(io_, accept(), asio::detached);
    return {};
  }
  std::error_code ignored;
  if (const auto parent = std::filesystem::path(path).parent_path(); !parent.empty())
    std::filesystem::create_directories(parent, ignored);
  if (path.size() >= sizeof(sockaddr_un::sun_path))
    return fail_field("socket", std::format("path is too long: {}", path));
  const Protocol::endpoint endpoint(path);
  Protocol::socket probe(io_);
  if (!probe.connect(endpoint, error))
    return fail(Errc::kAlreadyExists, std::format("another gw-fastpath answers at {}", path));
  // Root and the services of the gateway (ADR 18).
  GW_TRY(listen_at(acceptor_, path, {.mode = 0660, .backlog = asio::socket_base::max_listen_connections}));
  path_ = path;
  asio::co_spawn(io_, accept(), asio::detached);
  return {};
}

asio::awaitable<void> Server::accept() {
  asio::steady_timer pause(io_);
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
    if (error) {  // out of descriptors: give others a chance to end
      log::error("rpc", "accepting a client: {}", error.message());
      pause.expires_after(std::chrono::milliseconds(100));
      co_await pause.async_wait(kAwait);
      continue;
    }
    auto session = std::make_shared<Session>(*this, std::move(socket));
    sessions_.insert(session);
    session->start();
  }
}

void Server::stop() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  for (const auto& session : sessions_) session->close();
  std::error_code gone;
  if (!path_.empty()) std::filesystem::remove(std::exchange(path_, {}), gone);
}

// There is one charon, one gwd, and one sync loop of it. What an older connection of theirs still has in its buffer was
// written before they gave it up; carried out now it would come after what they sent since.
void Server::end_predecessors(const Session& session) {
  const fp::Role role = session.client().role;
  if (role != fp::ROLE_IKE && role != fp::ROLE_CONTROL && role != fp::ROLE_SYNC) return;
  for (const auto& other : sessions_) {
    if (other.get() == &session || !other->open() || other->client().role != role) continue;
    log::warning("rpc", "{} has connected again; its older connection is closed", session.client().name);
    other->close();
  }
}

void Server::publish(const fp::Event& event, std::initializer_list<fp::Role> roles) {
  fp::ServerFrame frame;
  *frame.mutable_event() = event;
  for (const auto& session : sessions_) {
    const fp::Role role = session->client().role;
    // Hundreds of frames a second that say nothing to others.
    if (event.has_peer_sync() && role != fp::ROLE_SYNC) continue;
    if (role == fp::ROLE_OBSERVER || std::ranges::find(roles, role) != roles.end()) session->send(frame);
  }
}

}  // namespace gw::rpc
