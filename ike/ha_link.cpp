#include "ike/ha_link.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <filesystem>
#include <format>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/secret.hpp"
#include "ike/plugin/ha/ha_wire.h"

namespace gw::ike {

namespace asio = boost::asio;
using asio::awaitable;
using std::chrono::milliseconds;

enum class HaLink::Order : std::uint8_t {
  kTake = GW_HA_TAKE,
  kRelease = GW_HA_RELEASE,
  kSendAll = GW_HA_SEND_ALL,
  kAlone = GW_HA_ALONE,
};

/// One take() or release() that waits for charon.
struct HaLink::Waiting {
  Order order;
  IpAddress address;
  asio::steady_timer wake;
  std::optional<Result<Moved>> answer = std::nullopt;
};

/// One take() that waits for the other instance's last word.
struct HaLink::LastWord {
  IpAddress address;
  asio::steady_timer wake;
};

/// Between two HaLinks: this byte, then what it says. gw-ha has its own version in each of its messages; an unknown
/// frame is refused and skipped, so that a later release may have more.
enum HaLink::Frame : char {
  kSync = 1,       // a sync message of gw-ha's
  kSendMeAll = 2,  // nothing
  kReleased = 3,   // an address, 4 or 16 bytes: charon has let go of it, all that it said before has been sent
  kTaken = 4,      // an address: it was taken; an earlier kReleased is no longer true
};

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
// The other instance answers in some milliseconds, with 1,000 tunnels in 100; its charon may be away as well.
constexpr milliseconds kPatience{1000};
// A full sync of 4,000 tunnels is 6 MB. A charon that lets more than this lie is not well: a new connection syncs
// again.
constexpr std::size_t kMaxOutgoing = 64 << 20;
constexpr int kQueueBytes = 4 << 20;
// Messages handled before others get their turn on the thread.
constexpr int kTurn = 256;

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof a.sun_path)
    return fail_field("ike-sync-socket",
                      std::format("'{}' is no path of at most {} bytes", path, sizeof a.sun_path - 1));
  path.copy(a.sun_path, sizeof a.sun_path - 1);
  return a;
}

Fd seqpacket() { return Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

std::optional<IpAddress> address_of(const gw_ha_control& said) {
  const std::span<const std::uint8_t> bytes(said.address);
  if (said.family == 4) return IpAddress::from_bytes(bytes.first(4)).value();
  if (said.family == 6) return IpAddress::from_bytes(bytes).value();
  return std::nullopt;
}

}  // namespace

HaLink::HaLink(asio::any_io_executor executor, Handlers handlers)
    : executor_(executor),
      handlers_(std::move(handlers)),
      listener_(executor),
      charon_(executor),
      patience_(executor),
      buffer_(GW_HA_MAX_MESSAGE),
      alive_(std::make_shared<bool>(true)) {}

HaLink::~HaLink() {
  stop();
  wipe(buffer_.data(), buffer_.size());
}

Status HaLink::listen(const std::string& path) {
  GW_TRY_ASSIGN(const sockaddr_un address, unix_address(path));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (Fd probe = seqpacket(); probe && ::connect(probe.get(), generic, sizeof address) == 0)
    return fail(Errc::kAlreadyExists, std::format("another gwd answers on {}", path));
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  Fd listener = seqpacket();
  if (!listener) return fail_errno("opening the IKE sync socket");
  if (::bind(listener.get(), generic, sizeof address) != 0 || ::chmod(path.c_str(), 0660) != 0 ||
      ::listen(listener.get(), 4) != 0)
    return fail_errno(std::format("making the IKE sync socket {}", path));
  path_ = path;
  listener_.assign(listener.release());
  watch_listener();
  return {};
}

void HaLink::stop() {
  alive_.reset();  // handlers on their way find nobody
  patience_.cancel();
  boost::system::error_code ignored;
  charon_.close(ignored);
  for (std::string& message : outgoing_) wipe(message);
  outgoing_.clear();
  for (const auto& w : std::exchange(waiting_, {})) {
    w->answer = fail(Errc::kClosed, "gwd ends");
    w->wake.cancel();
  }
  stop_waiting_for_last_words();
  if (!listener_.is_open()) return;
  listener_.close(ignored);
  std::error_code gone;
  std::filesystem::remove(path_, gone);
}

// --- charon's connection

void HaLink::watch_listener() {
  listener_.async_wait(Descriptor::wait_read,
                       [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
                         if (error || alive.expired()) return;
                         accept();
                         watch_listener();
                       });
}

void HaLink::accept() {
  Fd fd(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  if (charon_.is_open()) lose_charon("a new one has connected");
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kQueueBytes, sizeof kQueueBytes);
  charon_ = Descriptor(executor_, fd.release());
  watch_charon();
}

void HaLink::watch_charon() {
  charon_.async_wait(Descriptor::wait_read, [this, alive = std::weak_ptr(alive_),
                                             fd = charon_.native_handle()](const boost::system::error_code& error) {
    if (error || alive.expired()) return;
    from_charon();
    if (charon_.is_open() && charon_.native_handle() == fd) watch_charon();
  });
}

void HaLink::lose_charon(std::string_view why) {
  log::info("ike", "charon's plugin gw-ha is gone: {}", why);
  boost::system::error_code ignored;
  charon_.close(ignored);
  patience_.cancel();
  claimed_.clear();
  loaded_ = state_.charon = state_.synced = false;
  for (std::string& message : outgoing_) wipe(message);
  outgoing_.clear();
  outgoing_bytes_ = 0;
  for (const auto& w : std::exchange(waiting_, {})) {
    if (w->order == Order::kRelease) tell_peer(kReleased, w->address);  // nobody is left to say more
    w->answer = fail(Errc::kClosed, std::format("charon is gone ({}); it will be told when it is back", why));
    w->wake.cancel();
  }
  tell_changed();
}

void HaLink::from_charon() {
  for (int i = 0; i < kTurn && charon_.is_open(); ++i) {
    const ssize_t n = ::recv(charon_.native_handle(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return lose_charon(n == 0 ? "it closed the connection" : std::strerror(errno));
    const auto length = static_cast<std::size_t>(n);
    if (length > buffer_.size() || !charon_said(std::span(buffer_).first(length)))
      return lose_charon("it says what no gw-ha of this release says");
  }
}

bool HaLink::charon_said(std::span<const std::uint8_t> message) {
  if (message[0] == GW_HA_SYNC) {
    std::string frame(1, kSync);
    frame.append(reinterpret_cast<const char*>(message.data()) + 1, message.size() - 1);
    to_peer(std::move(frame));
    return true;
  }
  if (message[0] != GW_HA_CONTROL || message.size() != sizeof(gw_ha_control)) return false;
  gw_ha_control said;
  std::memcpy(&said, message.data(), sizeof said);
  if (!state_.charon && said.kind != GW_HA_HELLO) return false;
  if (said.kind == GW_HA_HELLO && said.count != GW_HA_VERSION) return false;
  control(said);
  return true;
}

void HaLink::control(const gw_ha_control& said) {
  switch (said.kind) {
    case GW_HA_HELLO:
      log::info("ike", "charon's plugin gw-ha has connected");
      state_.charon = true;
      return tell_changed();
    case GW_HA_SYNCED:
      state_.synced = true;
      state_.held = said.count;
      ++state_.full_syncs;
      log::info("ike", "the other instance has told its IKE SAs: {} are held here", said.count);
      claim_owned();
      return tell_changed();
    case GW_HA_TAKE:
    case GW_HA_RELEASE: {
      const auto address = address_of(said);
      if (said.kind == GW_HA_RELEASE && address) tell_peer(kReleased, *address);
      const auto done = std::ranges::find_if(waiting_, [&](const auto& w) {
        return static_cast<std::uint8_t>(w->order) == said.kind && w->address == address;
      });
      if (done == waiting_.end()) return;
      (*done)->answer = Moved{said.count, std::chrono::microseconds(said.microseconds)};
      (*done)->wake.cancel();
      waiting_.erase(done);
      return;
    }
    default: return;  // a newer plugin's
  }
}

// The present charon can hold what the other instance has, and be told what is whose.
void HaLink::begin() {
  if (state_.channel) {
    ask_for_everything();
    patience_.expires_after(kPatience);
    patience_.async_wait([this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
      if (!error && !alive.expired()) claim_owned();
    });
  } else {
    order(Order::kAlone, std::nullopt);
    claim_owned();
  }
  if (std::exchange(asked_, false)) order(Order::kSendAll, std::nullopt);
}

void HaLink::connections_loaded() {
  if (!state_.charon) return;
  if (!std::exchange(loaded_, true))
    begin();
  else if (state_.channel)
    ask_for_everything();
}

// Everything that is to be this instance's and that the present charon has not been told of.
void HaLink::claim_owned() {
  patience_.cancel();
  if (!loaded_) return;
  for (const IpAddress& address : owned_) {
    if (claimed_.insert(address).second) order(Order::kTake, address);
  }
}

void HaLink::order(Order what, const std::optional<IpAddress>& address) {
  gw_ha_control said{};
  said.what = GW_HA_CONTROL;
  said.kind = static_cast<std::uint8_t>(what);
  if (address) {
    said.family = address->is_v4() ? 4 : 6;
    std::ranges::copy(address->bytes(), said.address);
  }
  to_charon(std::string(reinterpret_cast<const char*>(&said), sizeof said));
}

void HaLink::to_charon(std::string message) {
  outgoing_bytes_ += message.size();
  outgoing_.push_back(std::move(message));
  if (outgoing_bytes_ > kMaxOutgoing) return lose_charon("it does not read what the other instance says");
  if (!writing_) write_to_charon();
}

void HaLink::write_to_charon() {
  while (!outgoing_.empty()) {
    std::string& first = outgoing_.front();
    if (::send(charon_.native_handle(), first.data(), first.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      if (errno != EAGAIN && errno != EINTR) return;  // reading finds the same, and says so
      writing_ = true;
      return charon_.async_wait(Descriptor::wait_write,
                                [this, alive = std::weak_ptr(alive_)](const boost::system::error_code&) {
                                  if (alive.expired()) return;
                                  writing_ = false;  // also when that connection has ended and there is another
                                  if (charon_.is_open()) write_to_charon();
                                });
    }
    outgoing_bytes_ -= first.size();
    wipe(first);
    outgoing_.pop_front();
  }
}

// --- the other instance

void HaLink::channel_up() {
  state_.channel = true;
  state_.synced = false;
  if (loaded_) ask_for_everything();
  tell_changed();
}

void HaLink::channel_down() {
  state_.channel = state_.synced = false;
  asked_ = false;  // it will ask again
  if (loaded_) order(Order::kAlone, std::nullopt);
  claim_owned();  // nobody is left to wait for
  last_words_.clear();
  stop_waiting_for_last_words();
  tell_changed();
}

void HaLink::ask_for_everything() { to_peer(std::string(1, kSendMeAll)); }

void HaLink::to_peer(std::string frame) {
  if (!state_.channel) {
    ++state_.not_carried;
    return wipe(frame);
  }
  ++state_.sent;
  handlers_.send(std::move(frame));
}

void HaLink::tell_peer(Frame what, const IpAddress& address) {
  if (!state_.channel) return;
  std::string frame(1, what);
  to_peer(frame += address.bytes_string());
}

Status HaLink::receive(std::string_view frame) {
  if (!frame.empty() && frame.size() <= GW_HA_MAX_MESSAGE) {
    if (frame[0] == kSync && frame.size() > 1) {
      ++state_.received;
      if (!loaded_) {
        ++state_.not_carried;
        return {};
      }
      std::string message(frame);
      message[0] = GW_HA_SYNC;
      to_charon(std::move(message));
      return {};
    }
    if (frame[0] == kSendMeAll && frame.size() == 1) {
      ++state_.received;
      if (loaded_)
        order(Order::kSendAll, std::nullopt);
      else
        asked_ = true;
      return {};
    }
    if (heard_last_word(frame)) {
      ++state_.received;
      return {};
    }
  }
  ++state_.refused;
  return fail(Errc::kMalformed, std::format("an IKE sync frame of {} bytes and kind {}", frame.size(),
                                            frame.empty() ? 0 : static_cast<unsigned char>(frame[0])));
}

bool HaLink::heard_last_word(std::string_view frame) {
  if (frame[0] != kReleased && frame[0] != kTaken) return false;
  const auto address = IpAddress::from_bytes(frame.substr(1));
  if (!address) return false;
  if (frame[0] == kTaken) {
    last_words_.erase(*address);
    return true;
  }
  last_words_.insert(*address);
  for (const auto& expected : expected_)
    if (expected->address == *address) expected->wake.cancel();
  return true;
}

// --- moves

awaitable<Result<HaLink::Moved>> HaLink::take(IpAddress address, milliseconds timeout, milliseconds last_word) {
  owned_.insert(address);
  if (last_word > milliseconds(0) && state_.channel && !last_words_.contains(address)) {
    const std::weak_ptr<bool> alive = alive_;
    co_await wait_for_last_word(address, last_word);
    if (alive.expired()) co_return fail(Errc::kClosed, "gwd ends");
    if (!owned_.contains(address)) co_return fail(Errc::kClosed, "it was released meanwhile");
  }
  last_words_.erase(address);
  tell_peer(kTaken, address);
  co_return co_await move(Order::kTake, address, timeout);
}

awaitable<void> HaLink::wait_for_last_word(IpAddress address, milliseconds timeout) {
  const auto expected = std::make_shared<LastWord>(LastWord{address, asio::steady_timer(executor_, timeout)});
  expected_.push_back(expected);
  const std::weak_ptr<bool> alive = alive_;
  const auto [cancelled] = co_await expected->wake.async_wait(kToken);
  if (alive.expired()) co_return;
  expected_.remove(expected);
  if (!cancelled)
    log::warning("ike", "{}: the other instance's charon may have said more of its IKE SAs: {} ms were not enough",
                 address, timeout.count());
}

void HaLink::stop_waiting_for_last_words() {
  for (const auto& expected : expected_) expected->wake.cancel();
}

awaitable<Result<HaLink::Moved>> HaLink::release(IpAddress address, milliseconds timeout) {
  owned_.erase(address);
  if (!loaded_) tell_peer(kReleased, address);  // nobody is there to say more
  return move(Order::kRelease, address, timeout);
}

awaitable<Result<HaLink::Moved>> HaLink::move(Order what, IpAddress address, milliseconds timeout) {
  if (!loaded_)
    co_return fail(Errc::kClosed, state_.charon
                                      ? "charon has no connections yet; it will be told when it has them"
                                      : "charon is away, or has no plugin gw-ha; it will be told when it is there");
  const auto waiting = std::make_shared<Waiting>(Waiting{what, address, asio::steady_timer(executor_, timeout)});
  waiting_.push_back(waiting);
  const bool restoring = patience_.expiry() > std::chrono::steady_clock::now() && !state_.synced && state_.channel;
  if (what == Order::kRelease) {
    claimed_.erase(address);
    order(what, address);
  } else if (!restoring || claimed_.contains(address)) {  // else claim_owned() gives the order
    claimed_.insert(address);
    order(what, address);
  }
  co_await waiting->wake.async_wait(kToken);
  if (waiting->answer) co_return std::move(*waiting->answer);
  waiting_.remove(waiting);
  co_return fail(Errc::kTimeout,
                 std::format("charon has not moved the IKE SAs of {} in {} ms", address.to_string(), timeout.count()));
}

void HaLink::tell_changed() {
  if (!handlers_.changed || !alive_) return;
  asio::post(executor_, [this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) handlers_.changed(state_);
  });
}

}  // namespace gw::ike
