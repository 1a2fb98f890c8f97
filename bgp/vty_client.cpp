#include "bgp/vty_client.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <format>
#include <optional>
#include <utility>

#include "base/local_stream.hpp"

namespace gw::bgp {

namespace asio = boost::asio;
using asio::awaitable;
using std::chrono::milliseconds;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

/// Some commands sent together, waiting for as many replies.
struct Batch {
  Batch(asio::any_io_executor executor, std::size_t size) : expected(size), wake(executor) {}
  std::size_t expected;
  std::vector<VtyReply> replies;
  std::optional<Error> failure;
  bool complete() const { return replies.size() == expected; }
  asio::steady_timer wake;
};

/// bgpd writes its complaint as a line starting with '%'; without one, the status says what there is to say.
std::string words_of(const VtyReply& reply) {
  std::string_view text = reply.output;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text.empty() ? std::string(describe_status(reply.status)) : std::string(text);
}

std::unexpected<Error> refused(std::string_view command, const VtyReply& reply) {
  return fail(Errc::kRefused, std::format("'{}': {}", command, words_of(reply)));
}

}  // namespace

class VtyClient::Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(const asio::any_io_executor& executor)
      : executor_(executor), stream_(std::make_shared<LocalStream>(executor, "FRR")) {}

  ClosedHandler on_closed;

  awaitable<Status> connect(std::string path, milliseconds timeout);
  awaitable<Result<std::vector<VtyReply>>> run(Commands commands, milliseconds timeout);
  /// Ends the connection; every batch in flight fails with `why`.
  void end(Error why) { stream_->end(std::move(why)); }
  bool open() const { return stream_->is_open(); }

 private:
  Status receive(std::span<const std::uint8_t> bytes);
  void ended(const Error& why);
  Status dispatch();

  asio::any_io_executor executor_;
  std::shared_ptr<LocalStream> stream_;
  VtyReader reader_;
  std::deque<std::shared_ptr<Batch>> batches_;
};

awaitable<Status> VtyClient::Connection::connect(std::string path, milliseconds timeout) {
  // The stream keeps this object until it has ended.
  const auto self = shared_from_this();
  const Status connected =
      co_await stream_->connect(std::move(path), timeout,
                                {[self](std::span<const std::uint8_t> bytes) { return self->receive(bytes); },
                                 [self](const Error& why) { self->ended(why); }});
  if (!connected) co_return connected;
  Commands enable;
  enable.emplace_back("enable");
  const auto replies = co_await run(std::move(enable), timeout);
  if (!replies) co_return std::unexpected(replies.error());
  if (!replies->front().ok()) co_return refused("enable", replies->front());
  co_return Status{};
}

void VtyClient::Connection::ended(const Error& why) {
  for (const auto& batch : std::exchange(batches_, {})) {
    batch->failure = why;
    batch->wake.cancel();
  }
  if (const auto handler = std::exchange(on_closed, nullptr)) handler(why);
}

Status VtyClient::Connection::receive(std::span<const std::uint8_t> bytes) {
  reader_.feed({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return dispatch();
}

Status VtyClient::Connection::dispatch() {
  for (;;) {
    GW_TRY_ASSIGN(auto reply, reader_.next());
    if (!reply) return {};
    if (batches_.empty()) return fail(Errc::kMalformed, "a reply to nothing");
    Batch& batch = *batches_.front();
    batch.replies.push_back(std::move(*reply));
    if (!batch.complete()) continue;
    batch.wake.cancel();
    batches_.pop_front();
  }
}

awaitable<Result<std::vector<VtyReply>>> VtyClient::Connection::run(Commands commands, milliseconds timeout) {
  const auto self = shared_from_this();
  if (!open()) co_return fail(Errc::kClosed, "bgpd (FRR) does not answer: systemctl status frr, journalctl -u frr");
  if (commands.empty()) co_return std::vector<VtyReply>{};
  std::size_t size = 0;
  for (const Command& c : commands) size += c.text.size() + c.secret.size() + 1;
  std::string bytes;
  bytes.reserve(size);  // one allocation: wiping it leaves no copy
  for (const Command& c : commands) {
    if (const Status ok = append_command(bytes, c); !ok) {
      wipe(bytes);
      co_return std::unexpected(ok.error());
    }
  }
  const auto batch = std::make_shared<Batch>(executor_, commands.size());
  const std::string what = commands.front().printable();
  std::vector<std::size_t> secret;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (!commands[i].secret.empty()) secret.push_back(i);
  }
  commands.clear();
  batches_.push_back(batch);
  stream_->send(std::move(bytes));

  batch->wake.expires_after(timeout);
  const auto [error] = co_await batch->wake.async_wait(kToken);
  if (batch->failure) co_return std::unexpected(*batch->failure);
  if (!batch->complete()) {
    // What comes later could not be told apart.
    Error why{error ? Errc::kClosed : Errc::kTimeout,
              std::format("'{}' and {} more: {} of the replies after {}", what, batch->expected - 1,
                          batch->replies.size(), timeout),
              {},
              {}};
    end(why);
    co_return std::unexpected(std::move(why));
  }
  // FRR repeats a command that it refuses, secret and all.
  for (const std::size_t i : secret) wipe(batch->replies[i].output);
  co_return std::move(batch->replies);
}

VtyClient::VtyClient(asio::any_io_executor executor) : executor_(std::move(executor)) {}
VtyClient::~VtyClient() { close(); }

void VtyClient::on_closed(ClosedHandler handler) { on_closed_ = std::move(handler); }
bool VtyClient::is_open() const { return connection_ && connection_->open(); }

void VtyClient::close() {
  if (!connection_) return;
  connection_->on_closed = nullptr;
  connection_->end({Errc::kClosed, "connection to FRR closed", {}, {}});
  connection_.reset();
}

awaitable<Status> VtyClient::connect(std::string path, milliseconds timeout) {
  close();
  const auto connection = std::make_shared<Connection>(executor_);
  connection_ = connection;
  connection->on_closed = on_closed_;
  co_return co_await connection->connect(std::move(path), timeout);
}

awaitable<Result<std::vector<VtyReply>>> VtyClient::run(Commands commands, milliseconds timeout) {
  const auto connection = connection_;
  if (!connection) co_return fail(Errc::kClosed, "bgpd (FRR) does not answer: systemctl status frr, journalctl -u frr");
  co_return co_await connection->run(std::move(commands), timeout);
}

awaitable<Result<std::string>> VtyClient::show(std::string command, milliseconds timeout) {
  Commands commands;
  commands.emplace_back(command);
  auto replies = co_await run(std::move(commands), timeout);
  if (!replies) co_return std::unexpected(std::move(replies).error());
  if (!replies->front().ok()) co_return refused(command, replies->front());
  co_return std::move(replies->front().output);
}

awaitable<Status> VtyClient::configure(Commands commands, milliseconds timeout) {
  if (commands.empty()) co_return Status{};
  std::vector<std::string> names{"configure terminal"};
  for (const Command& c : commands) names.push_back(c.printable());
  names.emplace_back("end");
  commands.insert(commands.begin(), Command("configure terminal"));
  commands.emplace_back("end");
  const auto replies = co_await run(std::move(commands), timeout);
  if (!replies) co_return std::unexpected(replies.error());
  for (std::size_t i = 0; i < replies->size(); ++i) {
    if (!(*replies)[i].ok()) co_return refused(names[i], (*replies)[i]);
  }
  co_return Status{};
}

}  // namespace gw::bgp
