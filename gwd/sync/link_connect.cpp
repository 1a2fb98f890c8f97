// Link, until a connection is established: who calls, who answers, and who is turned away.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/sync/link.hpp"

namespace gw::gwd::sync {
namespace asio = boost::asio;

namespace {

using std::chrono::milliseconds;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr milliseconds kConnectTime{1000};
constexpr milliseconds kIntroductionTime{2000};  // TLS and Hello; some 5 ms when nothing is wrong
constexpr milliseconds kCallPause{100};
constexpr milliseconds kRefusedPause{1000};  // an operator has to do something first
constexpr milliseconds kListenPause{1000};
constexpr milliseconds kHelloPause{10};
// The other instance needs one for each path; more are strangers' (or its own, timing out).
constexpr unsigned kMaxIntroductions = 8;

asio::awaitable<void> pause(asio::io_context& io, milliseconds time) {
  asio::steady_timer timer(io, time);
  co_await timer.async_wait(kAwait);
}

std::uint64_t random_id() {
  std::random_device random;
  const std::uint64_t id = (static_cast<std::uint64_t>(random()) << 32) | random();
  return id == 0 ? 1 : id;
}

Refusal unexpected_frame(const wire::Frame& frame, std::string_view wanted) {
  if (frame.has_bye()) return {frame.bye().reason(), "it says: " + frame.bye().message().substr(0, 300)};
  return {wire::REASON_MALFORMED, std::format("it did not begin with {}", wanted)};
}

}  // namespace

const Credentials* Link::credentials() {
  const std::string stamp = stamp_of(settings_.tls_dir, self_.instance);
  if (credentials_ && stamp == credentials_stamp_) return &*credentials_;
  auto loaded = load_credentials(settings_.tls_dir, self_, clock_.wall());
  if (loaded) {
    credentials_ = std::move(*loaded);
    credentials_stamp_ = stamp;
    credentials_problem_.clear();
  } else if (credentials_problem_ != loaded.error().message) {
    credentials_problem_ = loaded.error().message;
    log::error("sync", "{}{}", credentials_problem_, credentials_ ? "; the ones from before go on" : "");
  }
  return credentials_ ? &*credentials_ : nullptr;
}

// Another process of the other instance while the one that we know is alive: not a restart, but two machines.
Judged<void> Link::judge_incarnation(const wire::Identity& peer) const {
  if (session_.id() == 0 || peer.incarnation() == session_.peer_incarnation()) return {};
  for (const auto& path : paths_)
    if (path->current && !is_stale(*path->current))
      return refuse(wire::REASON_CLONED, std::format("another process that is {} is connected and alive: a cloned "
                                                     "machine?",
                                                     peer.instance()));
  return {};
}

/// Tells it why, and sees it off.
void Link::turn_away(const ConnectionPtr& connection, const Refusal& why) {
  connection->end(why);
  asio::co_spawn(io_, connection->write_all([] { return std::string(); }), kEndOnException);
  asio::co_spawn(
      io_,
      [](ConnectionPtr one) -> asio::awaitable<void> {
        (void)co_await one->read_all([](wire::Frame&) { return Judged<void>{}; });
        one->close();
      }(connection),
      kEndOnException);
}

// --- the one that answers ----------------------------------------------------------------------

Status Link::listen(Path& path) {
  const Tcp::endpoint end{path.addresses.local, settings_.port};
  boost::system::error_code error;
  path.acceptor.close(error);
  path.acceptor.open(end.protocol(), error);
  if (!error) path.acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) path.acceptor.bind(end, error);
  if (!error) path.acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return {};
  boost::system::error_code ignored;
  path.acceptor.close(ignored);
  return fail(Errc::kIo, std::format("cannot listen on our address {}, port {}: {}", path.addresses.local.to_string(),
                                     settings_.port, error.message()));
}

asio::awaitable<void> Link::answer_all(std::size_t index) {
  Path& path = *paths_[index];
  while (!stopping_) {
    if (!path.acceptor.is_open()) {
      if (const auto ok = listen(path); !ok) {
        note_problem(index, {wire::REASON_STOPPING, ok.error().message});
        co_await pause(io_, kListenPause);
        continue;
      }
    }
    auto [error, socket] = co_await path.acceptor.async_accept(kAwait);
    if (stopping_) break;
    if (error) {
      co_await pause(io_, kCallPause);  // no descriptors left: not in a busy loop
      continue;
    }
    boost::system::error_code gone;
    const Tcp::endpoint remote = socket.remote_endpoint(gone);
    if (gone || remote.address() != path.addresses.remote || introductions_ >= kMaxIntroductions) {
      ++refused_;
      if (!gone) log::debug("sync", "a connection from {} is not answered", remote.address().to_string());
      continue;
    }
    asio::co_spawn(io_, answer(std::move(socket), index), kEndOnException);
  }
}

asio::awaitable<void> Link::answer(Tcp::socket socket, std::size_t index) {
  const Credentials* own = credentials();
  if (own == nullptr) {
    note_problem(index, {wire::REASON_STOPPING, credentials_problem_});
    co_return;
  }
  const auto connection = std::make_shared<Connection>(std::move(socket), *own, index);
  ++introductions_;
  const auto done = co_await welcome(connection);
  --introductions_;
  if (done) co_return;
  ++refused_;
  // Once this path has a good connection, what a second one is refused for is nothing to worry about it.
  if (!paths_[index]->current)
    note_problem(index, done.error());
  else
    log::warning("sync", "path {}: a connection was refused: {}", index + 1, done.error().message);
  turn_away(connection, done.error());
}

asio::awaitable<Judged<void>> Link::welcome(const ConnectionPtr& connection) {
  connection->expire(kIntroductionTime);
  if (auto known = co_await connection->handshake(Connection::Side::kAnswerer, expected()); !known) co_return known;
  const auto frame = co_await connection->read_frame();
  if (!frame) co_return std::unexpected(frame.error());
  if (!frame->has_hello()) co_return std::unexpected(unexpected_frame(*frame, "Hello"));
  const wire::Hello& hello = frame->hello();
  const auto version = choose_version(hello);
  if (!version) co_return std::unexpected(version.error());
  if (auto ok = judge_identity(settings_.party, hello.identity()); !ok) co_return ok;
  if (auto ok = judge_incarnation(hello.identity()); !ok) co_return ok;
  if (!session_.continues(hello))
    begin_session(random_id(), hello.identity());
  else if (hello.session() == session_.id())
    if (auto ok = session_.acknowledge(hello.positions(), now()); !ok) co_return ok;
  wire::Frame reply;
  wire::Welcome& body = *reply.mutable_welcome();
  body.set_version(*version);
  *body.mutable_identity() = identity_of(settings_.party);
  body.set_session(session_.id());
  session_.positions(*body.mutable_positions());
  connection->say(reply);
  adopt(connection);
  co_return Judged<void>{};
}

// --- the one that calls ------------------------------------------------------------------------

asio::awaitable<void> Link::call_all(std::size_t index) {
  Path& path = *paths_[index];
  while (!stopping_) {
    if (path.current && !path.redial) {
      co_await path.wake.sleep(kRefusedPause);
      continue;
    }
    milliseconds rest = kCallPause;
    if (const Credentials* own = credentials(); own != nullptr) {
      const bool again = std::exchange(path.redial, false);
      const auto connection = std::make_shared<Connection>(Tcp::socket(io_), *own, index);
      if (const auto done = co_await call(connection); !done) {
        if (stopping_) break;
        const bool judged = done.error().reason != wire::REASON_STOPPING;
        path.redial = again && path.current;
        if (judged) ++refused_, rest = kRefusedPause;
        if (!path.current) note_problem(index, done.error());
        if (judged && connection->open())
          turn_away(connection, done.error());
        else
          connection->close();
      }
    } else {
      note_problem(index, {wire::REASON_STOPPING, credentials_problem_});
      rest = kRefusedPause;
    }
    if (!path.current || path.redial) co_await pause(io_, rest);
  }
}

asio::awaitable<Judged<void>> Link::call(const ConnectionPtr& connection) {
  const LinkSettings::Path& ends = paths_[connection->path()]->addresses;
  connection->expire(kConnectTime);
  if (auto ok = co_await connection->connect({{ends.local, 0}, {ends.remote, settings_.port}}); !ok) co_return ok;
  connection->expire(kIntroductionTime);
  if (auto known = co_await connection->handshake(Connection::Side::kCaller, expected()); !known) co_return known;
  while (saying_hello_ && !stopping_) co_await pause(io_, kHelloPause);
  saying_hello_ = true;
  auto done = co_await introduce(connection);
  saying_hello_ = false;
  co_return done;
}

asio::awaitable<Judged<void>> Link::introduce(const ConnectionPtr& connection) {
  connection->expire(kConnectTime);
  asio::co_spawn(io_, connection->write_all([this, one = connection.get()] { return more_for(*one); }),
                 kEndOnException);
  wire::Frame frame;
  wire::Hello& hello = *frame.mutable_hello();
  hello.set_min_version(kMinVersion);
  hello.set_max_version(kMaxVersion);
  *hello.mutable_identity() = identity_of(settings_.party);
  hello.set_path(static_cast<std::uint32_t>(connection->path()));
  hello.set_session(session_.id());
  session_.positions(*hello.mutable_positions());
  connection->say(frame);
  const auto answer = co_await connection->read_frame();
  if (!answer) co_return std::unexpected(answer.error());
  if (!answer->has_welcome()) co_return std::unexpected(unexpected_frame(*answer, "Welcome"));
  const wire::Welcome& welcome = answer->welcome();
  if (auto ok = judge_identity(settings_.party, welcome.identity()); !ok) co_return ok;
  if (auto ok = judge_incarnation(welcome.identity()); !ok) co_return ok;
  if (welcome.version() < kMinVersion || welcome.version() > kMaxVersion || welcome.session() == 0)
    co_return refuse(wire::REASON_VERSION, std::format("it chose version {}", welcome.version()));
  if (session_.id() != welcome.session())
    begin_session(welcome.session(), welcome.identity());
  else if (auto ok = session_.acknowledge(welcome.positions(), now()); !ok)
    co_return ok;
  adopt(connection);
  co_return Judged<void>{};
}

}  // namespace gw::gwd::sync
