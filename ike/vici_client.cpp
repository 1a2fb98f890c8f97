#include "ike/vici_client.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <format>
#include <optional>
#include <set>
#include <utility>

#include "base/frame.hpp"
#include "base/local_stream.hpp"

namespace gw::ike {

namespace asio = boost::asio;
using asio::awaitable;
using std::chrono::milliseconds;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

struct Question {
  ViciPacketType type;
  std::string name;  // of the command or event
  ViciMessage message;
  std::string stream_event;  // events of this name are part of the answer; empty: none
};

struct Answer {
  ViciPacket packet;
  std::vector<ViciMessage> events;
};

/// One thing asked of charon, waiting for its answer. Answers come in the order of the questions.
struct Pending {
  Pending(asio::any_io_executor executor, std::string event) : stream_event(std::move(event)), wake(executor) {}
  std::string stream_event;
  std::vector<ViciMessage> events;
  std::optional<Result<ViciPacket>> answer;
  bool abandoned = false;  // nobody waits any more; the answer is dropped
  asio::steady_timer wake;
};

}  // namespace

class ViciClient::Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(const asio::any_io_executor& executor)
      : executor_(executor), stream_(std::make_shared<LocalStream>(executor, "charon")) {}

  EventHandler on_event;
  ClosedHandler on_closed;

  awaitable<Status> connect(std::string path, milliseconds timeout);
  awaitable<Result<Answer>> ask(Question question, milliseconds timeout);
  /// Ends the connection; every pending operation fails with `why`.
  void end(Error why) { stream_->end(std::move(why)); }
  bool open() const { return stream_->is_open(); }
  bool registered(const std::string& stream_event) const { return stream_events_.contains(stream_event); }
  void note_registered(std::string stream_event) { stream_events_.insert(std::move(stream_event)); }

 private:
  Status receive(std::span<const std::uint8_t> bytes);
  void ended(const Error& why);
  Status dispatch(std::string_view payload);
  void deliver(ViciPacket packet);

  asio::any_io_executor executor_;
  std::shared_ptr<LocalStream> stream_;
  FrameReader frames_{kMaxViciPacket};
  std::deque<std::shared_ptr<Pending>> pending_;
  std::set<std::string> stream_events_;  // registered for stream()
};

awaitable<Status> ViciClient::Connection::connect(std::string path, milliseconds timeout) {
  // The stream keeps this object until it has ended.
  const auto self = shared_from_this();
  co_return co_await stream_->connect(std::move(path), timeout,
                                      {[self](std::span<const std::uint8_t> bytes) { return self->receive(bytes); },
                                       [self](const Error& why) { self->ended(why); }});
}

void ViciClient::Connection::ended(const Error& why) {
  for (const auto& p : std::exchange(pending_, {})) {
    p->answer = std::unexpected(why);
    p->wake.cancel();
  }
  if (const auto handler = std::exchange(on_closed, nullptr)) handler(why);
}

Status ViciClient::Connection::receive(std::span<const std::uint8_t> bytes) {
  frames_.feed(bytes);
  while (open()) {  // a handler may close
    GW_TRY_ASSIGN(const auto frame, frames_.next());
    if (!frame) break;
    GW_TRY(dispatch(*frame));
  }
  return {};
}

Status ViciClient::Connection::dispatch(std::string_view payload) {
  GW_TRY_ASSIGN(ViciPacket packet,
                parse_packet({reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()}));
  switch (packet.type) {
    case ViciPacketType::kEvent:
    case ViciPacketType::kCommandResponse:
    case ViciPacketType::kCommandUnknown:
    case ViciPacketType::kEventConfirm:
    case ViciPacketType::kEventUnknown: break;
    case ViciPacketType::kCommandRequest:
    case ViciPacketType::kEventRegister:
    case ViciPacketType::kEventUnregister: return fail(Errc::kMalformed, "a request, from charon");
  }
  if (packet.type != ViciPacketType::kEvent && pending_.empty()) {
    return fail(Errc::kMalformed, "an answer to nothing");
  }
  deliver(std::move(packet));
  return {};
}

void ViciClient::Connection::deliver(ViciPacket packet) {
  if (packet.type == ViciPacketType::kEvent) {
    if (stream_events_.contains(packet.name)) {
      if (pending_.empty() || pending_.front()->stream_event != packet.name) return;  // its asker gave up
      if (!pending_.front()->abandoned) pending_.front()->events.push_back(std::move(packet.message));
      return;
    }
    // A copy: the handler may close the client, and with it what it is stored in.
    if (const EventHandler handler = on_event) handler(packet.name, packet.message);
    return;
  }
  const auto p = std::move(pending_.front());
  pending_.pop_front();
  p->answer = std::move(packet);
  p->wake.cancel();
}

awaitable<Result<Answer>> ViciClient::Connection::ask(Question question, milliseconds timeout) {
  const auto self = shared_from_this();
  if (!open()) co_return fail(Errc::kClosed, "not connected to charon");
  auto packet = encode_packet(question.type, question.name, question.message);
  if (!packet) co_return std::unexpected(std::move(packet).error());
  question.message = {};  // its secrets are wiped now, not after the answer
  const auto p = std::make_shared<Pending>(executor_, std::move(question.stream_event));
  pending_.push_back(p);
  stream_->send(std::move(*packet));

  p->wake.expires_after(timeout);
  const auto [error] = co_await p->wake.async_wait(kToken);
  if (!p->answer) {
    p->abandoned = true;
    p->events.clear();
    if (error) co_return fail(Errc::kClosed, std::format("{}: cancelled", question.name));
    co_return fail(Errc::kTimeout, std::format("charon did not answer {} within {}", question.name, timeout));
  }
  if (!*p->answer) co_return std::unexpected(std::move(*p->answer).error());
  co_return Answer{std::move(**p->answer), std::move(p->events)};
}

ViciClient::ViciClient(asio::any_io_executor executor) : executor_(std::move(executor)) {}
ViciClient::~ViciClient() { close(); }

void ViciClient::on_event(EventHandler handler) { on_event_ = std::move(handler); }
void ViciClient::on_closed(ClosedHandler handler) { on_closed_ = std::move(handler); }
bool ViciClient::is_open() const { return connection_ && connection_->open(); }

void ViciClient::close() {
  if (!connection_) return;
  connection_->on_closed = nullptr;
  connection_->on_event = nullptr;
  connection_->end({Errc::kClosed, "connection to charon closed", {}, {}});
  connection_.reset();
}

awaitable<Status> ViciClient::connect(std::string path, milliseconds timeout) {
  close();
  const auto connection = std::make_shared<Connection>(executor_);
  connection_ = connection;
  connection->on_event = on_event_;
  connection->on_closed = on_closed_;
  co_return co_await connection->connect(std::move(path), timeout);
}

namespace {

Status known_command(const ViciPacket& answer, std::string_view command) {
  if (answer.type == ViciPacketType::kCommandResponse) return {};
  return fail(Errc::kUnsupported, std::format("charon knows no command {}", command));
}

/// "success = no" is charon's refusal.
Status accepted(const ViciMessage& answer, std::string_view command) {
  if (answer.find("success").value_or("yes") == "yes") return {};
  const std::string_view why = answer.text("errmsg");
  return fail(Errc::kRefused, std::format("{}: {}", command, why.empty() ? "charon refused without a reason" : why));
}

}  // namespace

awaitable<Result<ViciMessage>> ViciClient::request(std::string command, ViciMessage message, milliseconds timeout) {
  const auto connection = connection_;
  if (!connection) co_return fail(Errc::kClosed, "not connected to charon");
  auto answer = co_await connection->ask({ViciPacketType::kCommandRequest, command, std::move(message), {}}, timeout);
  if (!answer) co_return std::unexpected(std::move(answer).error());
  if (const Status known = known_command(answer->packet, command); !known) co_return std::unexpected(known.error());
  co_return std::move(answer->packet.message);
}

awaitable<Result<ViciMessage>> ViciClient::command(std::string command, ViciMessage message, milliseconds timeout) {
  auto answer = co_await request(command, std::move(message), timeout);
  if (!answer) co_return answer;
  if (const Status ok = accepted(*answer, command); !ok) co_return std::unexpected(ok.error());
  co_return answer;
}

awaitable<Result<std::vector<ViciMessage>>> ViciClient::stream(std::string command, std::string event,
                                                               ViciMessage message, milliseconds timeout) {
  const auto connection = connection_;
  if (!connection) co_return fail(Errc::kClosed, "not connected to charon");
  if (!connection->registered(event)) {
    connection->note_registered(event);
    if (const Status s = co_await subscribe(event, timeout); !s) co_return std::unexpected(s.error());
  }
  auto answer =
      co_await connection->ask({ViciPacketType::kCommandRequest, command, std::move(message), event}, timeout);
  if (!answer) co_return std::unexpected(std::move(answer).error());
  if (const Status known = known_command(answer->packet, command); !known) co_return std::unexpected(known.error());
  if (const Status ok = accepted(answer->packet.message, command); !ok) co_return std::unexpected(ok.error());
  co_return std::move(answer->events);
}

awaitable<Status> ViciClient::subscribe(std::string event, milliseconds timeout) {
  const auto connection = connection_;
  if (!connection) co_return fail(Errc::kClosed, "not connected to charon");
  const auto answer = co_await connection->ask({ViciPacketType::kEventRegister, event, {}, {}}, timeout);
  if (!answer) co_return std::unexpected(answer.error());
  if (answer->packet.type != ViciPacketType::kEventConfirm) {
    co_return fail(Errc::kUnsupported, std::format("charon knows no event {}", event));
  }
  co_return Status{};
}

}  // namespace gw::ike
