#include "ebpf/handover/giver.hpp"

#include <fcntl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "base/local_listener.hpp"
#include "base/log.hpp"
#include "base/secret.hpp"
#include "ebpf/handover/readiness.hpp"

namespace gw::handover {
namespace asio = boost::asio;
namespace {

using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr Patience kQuestion = 5s;     // to ask, once connected
constexpr Patience kInstalling = 60s;  // a full table, on a busy machine
constexpr Patience kReading = 2s;      // our clients wait meanwhile
constexpr Patience kNextRoutes = 10s;  // they do not; it installs those before
// An endpoint that has gone is still received for, for two seconds; packets wait for its new owner for 250 ms, for an
// SA for one second, and are dropped at the gap: it is put off for as long. Without end is nothing.
constexpr Patience kUnsettled = 2500ms;
constexpr Patience kLook = 10ms;
constexpr Patience kAfterError = 1s;
// Packets wait: what the other one does in the time is small, and known beforehand.
constexpr Patience kTaking = 100ms;

Result<int> permitted_pid(int fd) {
  GW_TRY_ASSIGN(const ucred who, peer_of(fd));
  if (is_privileged(who)) return who.pid;
  return fail(Errc::kPermission, std::format("user {} may not take over", who.uid));
}

}  // namespace

std::string socket_beside(const std::string& rpc_socket) {
  return (std::filesystem::path(rpc_socket).parent_path() / "handover.sock").string();
}

Status check(const fp::HandoverAsk& ask, const fp::HandoverAsk& own) {
  const auto differ = [&](std::string_view what, const auto& theirs, const auto& ours) {
    return fail(Errc::kUnsupported,
                std::format("{} is {} here and {} there: gw-fastpath {} must be stopped, and {} started", what, ours,
                            theirs, own.release(), ask.release()));
  };
  if (ask.version() != own.version()) return differ("the version of the handover", ask.version(), own.version());
  if (ask.record_version() != own.record_version())
    return differ("the version of SA records", ask.record_version(), own.record_version());
  if (ask.wan() != own.wan()) return differ("--wan", ask.wan(), own.wan());
  if (ask.vnet() != own.vnet()) return differ("--vnet", ask.vnet(), own.vnet());
  if (ask.circuit() != own.circuit()) return differ("--circuit", ask.circuit(), own.circuit());
  if (ask.instance() != own.instance()) return differ("--instance", ask.instance(), own.instance());
  if (ask.max_sas() != own.max_sas()) return differ("--max-sas", ask.max_sas(), own.max_sas());
  if (ask.bfd_port() != own.bfd_port()) return differ("--bfd-port", ask.bfd_port(), own.bfd_port());
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
  if (inherited) {
    boost::system::error_code error;
    acceptor_.assign(Protocol(), inherited.release(), error);
    if (error) return fail_errno(std::format("listening at {}", path), error.value());
  } else {  // the RPC's socket has shown that nobody else is there
    GW_TRY(listen_at(acceptor_, path, {}));
  }
  path_ = path;
  asio::co_spawn(parts_.io, accept(), asio::detached);
  return {};
}

/// One at a time: whoever comes meanwhile waits in the queue.
asio::awaitable<void> Giver::accept() {
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {  // no descriptors left, say
      log::warning("handover", "accepting: {}", error.message());
      asio::steady_timer timer(parts_.io, kAfterError);
      co_await timer.async_wait(kAwait);
      continue;
    }
    auto baton = Baton::make();
    const auto pid = permitted_pid(socket.native_handle());
    if (!pid || !baton) {
      log::warning("handover", "{}", (pid ? baton.error() : pid.error()).describe());
      continue;
    }
    Peer peer{std::make_unique<Channel>(Fd(socket.release())), *pid, std::move(*baton), {}, {}, {}};
    const auto first = co_await next(peer, kQuestion);
    if (first && first->has_start()) {
      start_successor(std::move(peer.channel), first->start());
      continue;
    }
    const Status done = first ? co_await serve(peer, *first) : std::unexpected(first.error());
    parts_.forwarding.forget_changes();
    if (done) {
      tell_requester(peer);
      co_return parts_.gone(peer.pid);
    }
    log::warning("handover", "process {} does not take over: {}", peer.pid, done.error().describe());
    if (successor_ && successor_->process.pid() == peer.pid) successor_->why = done.error().message;
  }
}

void Giver::refuse(Channel& channel, std::string why) {
  fp::HandoverFrame refusal;
  refusal.mutable_refusal()->set_why(std::move(why));
  (void)channel.send(refusal, kReading);
}

void Giver::start_successor(std::unique_ptr<Channel> requester, const fp::HandoverStart& m) {
  if (successor_)
    return refuse(*requester, std::format("process {} is about to take over already", successor_->process.pid()));
  auto process = Process::start(parts_.program, {m.options().begin(), m.options().end()});
  if (!process) return refuse(*requester, process.error().message);
  log::info("handover", "process {} runs {}, and is to take over", process->pid(), parts_.program);
  successor_.emplace(std::move(*process), std::move(requester), std::string());
  asio::co_spawn(parts_.io, watch_successor(), asio::detached);
}

/// If it ends, it has not taken over: this process would have ended before.
asio::awaitable<void> Giver::watch_successor() {
  asio::posix::stream_descriptor ended(parts_.io, ::fcntl(successor_->process.fd(), F_DUPFD_CLOEXEC, 0));
  if (const auto [error] = co_await ended.async_wait(asio::posix::descriptor_base::wait_read, kAwait); error) co_return;
  const std::string how = successor_->process.reap();
  const std::string why = successor_->why.empty() ? "its last words are in the log" : successor_->why;
  log::error("handover", "process {}, which was to take over, {}: {}; this one goes on", successor_->process.pid(), how,
             why);
  refuse(*successor_->requester, std::format("the new process {}: {}; the old one goes on", how, why));
  successor_.reset();
}

void Giver::tell_requester(const Peer& peer) {
  if (!successor_) return;
  fp::HandoverFrame frame;
  fp::HandoverDone& done = *frame.mutable_done();
  done.set_pid(peer.pid);
  done.set_release(peer.release);
  done.set_waited_us(static_cast<std::uint32_t>(peer.gap.count()));
  (void)successor_->requester->send(frame, kTaking);
}

asio::awaitable<Result<fp::HandoverFrame>> Giver::next(Peer& peer, Patience patience) {
  const auto end = parts_.clock.now() + patience;
  for (;;) {
    auto frame = peer.channel->poll();
    if (!frame) co_return std::unexpected(frame.error());
    if (*frame) co_return std::move(**frame);
    const auto left = std::chrono::duration_cast<Patience>(end - parts_.clock.now());
    if (left.count() <= 0) co_return fail(Errc::kTimeout, std::format("it says nothing for {} ms", patience.count()));
    (void)co_await wait(parts_.io, peer.channel->fd(), Until::kReadable, left);
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
    Status sent = peer.channel->send(frame, kReading, fds);
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
    Status sent = peer.channel->send(frame, kReading);
    frame.mutable_part()->Swap(&part);
    return sent;
  };
  if (Status sent = parts_.service.export_parts(sink); !sent) co_return sent;
  const std::vector<fib::Route> routes = parts_.forwarding.routes();
  constexpr std::size_t kAtOnce = 2000;
  Status sent;
  for (std::size_t at = 0; at < routes.size() && sent; at += kAtOnce) {
    // Clients have their turn while the other one installs.
    const Status room = co_await wait(parts_.io, peer.channel->fd(), Until::kWritable, kNextRoutes);
    if (!room) co_return fail(Errc::kTimeout, std::format("it reads nothing for {} ms", kNextRoutes.count()));
    sent = parts_.service.export_routes(std::span(routes).subspan(at, std::min(kAtOnce, routes.size() - at)), sink);
  }
  if (sent) sent = peer.channel->send(fp::HANDOVER_BULK_SENT, kReading);
  co_return sent;
}

/// Until nothing in here waits for what somebody else is about to do.
asio::awaitable<void> Giver::settle() {
  asio::steady_timer timer(parts_.io);
  for (Patience waited{0}; parts_.unsettled() && waited < kUnsettled; waited += kLook) {
    timer.expires_after(kLook);
    co_await timer.async_wait(kAwait);
  }
}

namespace {
Status expect(const Result<fp::HandoverFrame>& frame, fp::HandoverStep step) {
  if (!frame) return std::unexpected(frame.error());
  if (!frame->has_step() || frame->step() != step) return fail(Errc::kMalformed, "a step out of turn");
  return {};
}
}  // namespace

asio::awaitable<Status> Giver::serve(Peer& peer, const fp::HandoverFrame& question) {
  if (!question.has_ask()) co_return fail(Errc::kMalformed, "it does not ask");
  const fp::HandoverAsk& ask = question.ask();
  if (const Status fits = check(ask, parts_.self); !fits) {
    refuse(*peer.channel, fits.error().message);
    co_return fits;
  }
  peer.release = ask.release();
  log::info("handover", "process {}, gw-fastpath {}, is to take over", peer.pid, ask.release());
  fp::HandoverFrame offer;
  *offer.mutable_offer() = parts_.offer();
  offer.mutable_offer()->set_descriptors(static_cast<std::uint32_t>(
      1 + std::ranges::count_if(parts_.fds(), [](const tun::NamedFd& fd) { return fd.fd >= 0; })));
  Status done = peer.channel->send(offer, kReading);
  if (done) done = send_fds(peer);
  if (done) done = expect(co_await next(peer, kInstalling), fp::HANDOVER_BULK_WANTED);
  if (done) done = co_await send_bulk(peer);
  if (done) done = expect(co_await next(peer, kInstalling), fp::HANDOVER_BULK_IN);
  if (!done) co_return done;
  co_await settle();
  // From here on nobody else has a turn.
  co_return finish(peer);
}

Status Giver::finish(Peer& peer) {
  GW_TRY(send_fds(peer));
  GW_TRY(parts_.service.export_changes([&](fp::HandoverPart& part) {
    fp::HandoverFrame frame;
    frame.mutable_part()->Swap(&part);
    Status sent = peer.channel->send(frame, kReading);
    frame.mutable_part()->Swap(&part);
    return sent;
  }));
  GW_TRY(peer.channel->send(fp::HANDOVER_CHANGES_SENT, kReading));
  GW_TRY(expect(peer.channel->receive(kReading), fp::HANDOVER_READY));
  fp::HandoverFrame frame;
  const auto stopped = parts_.clock.now();
  parts_.stop(*frame.mutable_final());
  parts_.service.export_final(*frame.mutable_final());
  Status sent = send_fds(peer);
  (void)peer.baton.offer();
  if (sent) sent = peer.channel->send(frame, kTaking);
  wipe(*frame.mutable_final()->mutable_heartbeat()->mutable_peer()->mutable_key());
  // Whatever it says, or if it says nothing: who has the baton counts.
  if (sent) sent = expect(peer.channel->receive(kTaking), fp::HANDOVER_TAKEN);
  peer.gap = std::chrono::duration_cast<std::chrono::microseconds>(parts_.clock.now() - stopped);
  if (!peer.baton.withdraw()) return {};
  parts_.go_on();
  return sent ? fail(Errc::kMalformed, "it says that it has taken over, and has not") : sent;
}

}  // namespace gw::handover
