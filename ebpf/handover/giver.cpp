#include "ebpf/handover/giver.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "base/log.hpp"

namespace gw::handover {
namespace asio = boost::asio;
namespace {

using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr Patience kQuestion = 5s;     // to ask, once connected
constexpr Patience kInstalling = 60s;  // a full table, on a busy machine
constexpr Patience kReading = 2s;      // our clients wait meanwhile
// Packets wait: what the other one does in the time is small, and known beforehand.
constexpr Patience kTaking = 100ms;

/// Root, or who runs this. None: who it is cannot be told.
Result<int> permitted_pid(int fd) {
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return fail_errno("asking who connects");
  if (who.uid == 0 || who.uid == ::geteuid()) return who.pid;
  return fail(Errc::kPermission, std::format("user {} may not take over", who.uid));
}

}  // namespace

std::string socket_beside(const std::string& rpc_socket) {
  return (std::filesystem::path(rpc_socket).parent_path() / "handover.sock").string();
}

Status check(const fp::HandoverAsk& ask, const fp::HandoverAsk& own) {
  const auto differ = [&](std::string_view what, const auto& theirs, const auto& ours) {
    return fail(Errc::kUnsupported, std::format("{} is {} here and {} there: gw-fastpath {} must be stopped, and {} started",
                                                what, ours, theirs, own.release(), ask.release()));
  };
  if (ask.version() != own.version()) return differ("the version of the handover", ask.version(), own.version());
  if (ask.record_version() != own.record_version())
    return differ("the version of SA records", ask.record_version(), own.record_version());
  if (ask.wan() != own.wan()) return differ("--wan", ask.wan(), own.wan());
  if (ask.vnet() != own.vnet()) return differ("--vnet", ask.vnet(), own.vnet());
  if (ask.circuit() != own.circuit()) return differ("--circuit", ask.circuit(), own.circuit());
  if (ask.instance() != own.instance()) return differ("--instance", ask.instance(), own.instance());
  if (ask.max_sas() != own.max_sas()) return differ("--max-sas", ask.max_sas(), own.max_sas());
  if (ask.max_tunnels() != own.max_tunnels()) return differ("--max-tunnels", ask.max_tunnels(), own.max_tunnels());
  return {};
}

Giver::Giver(Parts parts) : parts_(std::move(parts)), acceptor_(parts_.io) {}

Giver::~Giver() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove(path_, ignored);
}

void Giver::abandon() { path_.clear(); }

Status Giver::listen(const std::string& path, Fd inherited) {
  boost::system::error_code error;
  constexpr std::size_t kRoom = 108;  // sockaddr_un
  if (path.size() >= kRoom) return fail_field("socket", std::format("path is too long: {}", path));
  if (inherited) {
    acceptor_.assign(Protocol(), inherited.release(), error);
  } else {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);  // the RPC's socket has shown that nobody else is there
    acceptor_.open(Protocol(), error);
    const mode_t before = ::umask(0177);
    if (!error) acceptor_.bind(Protocol::endpoint(path), error);
    ::umask(before);
    if (!error) acceptor_.listen(4, error);
  }
  if (error) return fail_errno(std::format("listening at {}", path), error.value());
  path_ = path;
  asio::co_spawn(parts_.io, accept(), asio::detached);
  return {};
}

/// One at a time: whoever comes meanwhile waits in the queue.
asio::awaitable<void> Giver::accept() {
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error) co_return;
    auto baton = Baton::make();
    const auto pid = permitted_pid(socket.native_handle());
    if (!pid || !baton) {
      log::warning("handover", "{}", (pid ? baton.error() : pid.error()).describe());
      continue;
    }
    Peer peer{Channel(Fd(socket.release())), *pid, std::move(*baton), {}};
    const Status done = co_await serve(peer);
    parts_.forwarding.forget_changes();
    if (done) co_return parts_.gone(peer.pid);
    log::warning("handover", "process {} does not take over: {}", peer.pid, done.error().describe());
  }
}

asio::awaitable<Result<fp::HandoverFrame>> Giver::next(Peer& peer, Patience patience) {
  asio::posix::stream_descriptor readable(parts_.io, peer.channel.fd());
  asio::steady_timer timer(parts_.io);
  bool late = false;
  timer.expires_after(patience);
  timer.async_wait([&](const boost::system::error_code& error) {
    if (error) return;
    late = true;
    readable.cancel();
  });
  for (;;) {
    auto frame = peer.channel.poll();
    if (!frame || *frame || late) {
      timer.cancel();
      (void)readable.release();
      // Whoever cancelled has run: it has nothing of ours any more when we return.
      co_await asio::post(parts_.io, asio::use_awaitable);
      if (!frame) co_return std::unexpected(frame.error());
      if (*frame) co_return std::move(**frame);
      co_return fail(Errc::kTimeout, std::format("it says nothing for {} ms", patience.count()));
    }
    co_await readable.async_wait(asio::posix::descriptor_base::wait_read, kAwait);
  }
}

Status Giver::send_fds(Peer& peer) {
  std::vector<tun::NamedFd> all = parts_.fds();
  all.push_back({"baton", peer.baton.fd()});
  constexpr std::size_t kAtOnce = 100;
  fp::HandoverFrame frame;
  std::vector<int> fds;
  const auto flush = [&]() -> Status {
    if (fds.empty()) return {};
    Status sent = peer.channel.send(frame, kReading, fds);
    frame.Clear();
    fds.clear();
    return sent;
  };
  for (const tun::NamedFd& one : all) {
    if (one.fd < 0 || !peer.sent.emplace(one.name, one.fd).second) continue;
    frame.mutable_descriptors()->add_names(one.name);
    fds.push_back(one.fd);
    if (fds.size() == kAtOnce) GW_TRY(flush());
  }
  return flush();
}

asio::awaitable<Status> Giver::send_bulk(Peer& peer) {
  parts_.forwarding.record_changes();
  const auto sink = [&](fp::HandoverPart& part) {
    fp::HandoverFrame frame;
    frame.mutable_part()->Swap(&part);
    Status sent = peer.channel.send(frame, kReading);
    frame.mutable_part()->Swap(&part);
    return sent;
  };
  if (Status sent = parts_.service.export_parts(sink); !sent) co_return sent;
  const std::vector<fib::Route> routes = parts_.forwarding.routes();
  asio::posix::stream_descriptor writable(parts_.io, peer.channel.fd());
  constexpr std::size_t kAtOnce = 2000;
  Status sent;
  for (std::size_t at = 0; at < routes.size() && sent; at += kAtOnce) {
    // Clients have their turn while the other one installs.
    co_await writable.async_wait(asio::posix::descriptor_base::wait_write, kAwait);
    sent = parts_.service.export_routes(std::span(routes).subspan(at, std::min(kAtOnce, routes.size() - at)), sink);
  }
  (void)writable.release();
  if (sent) sent = peer.channel.send(fp::HANDOVER_BULK_SENT, kReading);
  co_return sent;
}

namespace {
Status expect(const Result<fp::HandoverFrame>& frame, fp::HandoverStep step) {
  if (!frame) return std::unexpected(frame.error());
  if (!frame->has_step() || frame->step() != step) return fail(Errc::kMalformed, "a step out of turn");
  return {};
}
}  // namespace

asio::awaitable<Status> Giver::serve(Peer& peer) {
  const auto ask = co_await next(peer, kQuestion);
  if (!ask) co_return std::unexpected(ask.error());
  if (!ask->has_ask()) co_return fail(Errc::kMalformed, "it does not ask");
  if (const Status fits = check(ask->ask(), parts_.self); !fits) {
    fp::HandoverFrame refusal;
    refusal.mutable_refusal()->set_why(fits.error().message);
    (void)peer.channel.send(refusal, kReading);
    co_return fits;
  }
  log::info("handover", "process {}, gw-fastpath {}, is to take over", peer.pid, ask->ask().release());
  fp::HandoverFrame offer;
  *offer.mutable_offer() = parts_.offer();
  offer.mutable_offer()->set_descriptors(static_cast<std::uint32_t>(
      1 + std::ranges::count_if(parts_.fds(), [](const tun::NamedFd& fd) { return fd.fd >= 0; })));
  Status done = peer.channel.send(offer, kReading);
  if (done) done = send_fds(peer);
  if (done) done = expect(co_await next(peer, kInstalling), fp::HANDOVER_BULK_WANTED);
  if (done) done = co_await send_bulk(peer);
  if (done) done = expect(co_await next(peer, kInstalling), fp::HANDOVER_BULK_IN);
  if (!done) co_return done;
  // From here on nobody else has a turn.
  co_return finish(peer);
}

Status Giver::finish(Peer& peer) {
  GW_TRY(send_fds(peer));
  GW_TRY(parts_.service.export_changes([&](fp::HandoverPart& part) {
    fp::HandoverFrame frame;
    frame.mutable_part()->Swap(&part);
    Status sent = peer.channel.send(frame, kReading);
    frame.mutable_part()->Swap(&part);
    return sent;
  }));
  GW_TRY(peer.channel.send(fp::HANDOVER_CHANGES_SENT, kReading));
  GW_TRY(expect(peer.channel.receive(kReading), fp::HANDOVER_READY));
  fp::HandoverFrame frame;
  parts_.stop(*frame.mutable_final());
  parts_.service.export_final(*frame.mutable_final());
  Status sent = send_fds(peer);
  (void)peer.baton.offer();
  if (sent) sent = peer.channel.send(frame, kTaking);
  // Whatever it says, or if it says nothing: who has the baton counts.
  if (sent) sent = expect(peer.channel.receive(kTaking), fp::HANDOVER_TAKEN);
  if (!peer.baton.withdraw()) return {};
  parts_.go_on();
  return sent ? fail(Errc::kMalformed, "it says that it has taken over, and has not") : sent;
}

}  // namespace gw::handover
