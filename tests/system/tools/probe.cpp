// gw-probe: UDP echo with sequence numbers, to count what a tunnel loses, doubles or delays.
//
//   gw-probe echo --at ADDRESS PORT                       answers until SIGTERM
//   gw-probe send --to ADDRESS PORT --rate N [--seconds S] [--size BYTES] [--times FILE]
//
// `send` sends N datagrams a second on an absolute schedule until S seconds are over or SIGTERM/SIGINT
// comes, waits for stragglers, and prints one JSON object. The echo side puts its own count of datagrams
// into each answer, so that a loss can be told to be on the way there or on the way back. FILE gets a line for each
// datagram: when it was sent, in ns of CLOCK_REALTIME, and how many us later its answer came (-1: never).
// One thread, no dependencies.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <print>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr uint32_t kMagic = 0x67775052;  // "gwPR"
// Answers later than this after the last datagram count as lost.
constexpr auto kStragglers = 1s;
constexpr std::size_t kMaxDatagram = 2048;

struct Datagram {
  uint32_t magic = kMagic;
  uint32_t run = 0;  // tells apart two senders behind one address
  uint64_t sequence = 0;
  uint64_t seen_by_echo = 0;
};

struct Options {
  std::string mode;
  std::string address;
  uint16_t port = 0;
  uint32_t rate = 1000;
  uint32_t seconds = 0;
  std::size_t size = 64;
  std::string times;  // a file; empty: none
};

std::atomic<bool> stop_asked = false;

void ask_stop(int /*signal*/) { stop_asked = true; }

[[noreturn]] void fail(std::string_view what) {
  std::println(stderr, "gw-probe: {}: {}", what, std::strerror(errno));
  std::exit(1);
}

[[noreturn]] void usage() {
  std::println(stderr,
               "usage: gw-probe echo --at ADDRESS PORT\n"
               "       gw-probe send --to ADDRESS PORT [--rate N] [--seconds S] [--size BYTES] [--times FILE]");
  std::exit(2);
}

template <typename T>
T number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) usage();
  return value;
}

Options parse(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  Options options;
  if (words.empty()) usage();
  options.mode = words[0];
  for (std::size_t at = 1; at < words.size(); ++at) {
    const auto next = [&] { return ++at < words.size() ? words[at] : (usage(), std::string_view{}); };
    const auto word = words[at];
    if (word == "--at" || word == "--to") {
      options.address = next();
      options.port = number<uint16_t>(next());
    } else if (word == "--rate") {
      options.rate = std::max(1U, number<uint32_t>(next()));
    } else if (word == "--seconds") {
      options.seconds = number<uint32_t>(next());
    } else if (word == "--times") {
      options.times = next();
    } else if (word == "--size") {
      options.size = std::clamp(number<std::size_t>(next()), sizeof(Datagram), kMaxDatagram);
    } else {
      usage();
    }
  }
  if (options.address.empty() || (options.mode != "echo" && options.mode != "send")) usage();
  return options;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Address to_address(const Options& options) {
  Address out;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET, options.address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(options.port);
    std::memcpy(&out.storage, &v4, out.length = sizeof v4);
  } else if (inet_pton(AF_INET6, options.address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(options.port);
    std::memcpy(&out.storage, &v6, out.length = sizeof v6);
  } else {
    usage();
  }
  return out;
}

int open_socket(const Address& address) {
  const int fd = ::socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  // The probe must not be what loses: room for seconds of datagrams while the CPU is elsewhere.
  const int room = 8 << 20;
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  return fd;
}

int echo(const Options& options) {
  const Address at = to_address(options);
  const int fd = open_socket(at);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&at.storage), at.length) != 0) fail("bind");
  // A stop that comes just before recvfrom is seen after this time.
  const timeval wake{.tv_sec = 0, .tv_usec = 200'000};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wake, sizeof wake);
  std::map<uint32_t, uint64_t> seen;
  std::array<std::byte, kMaxDatagram> buffer{};
  while (!stop_asked) {
    Address from;
    from.length = sizeof from.storage;
    const ssize_t got =
        ::recvfrom(fd, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from.storage), &from.length);
    if (got < static_cast<ssize_t>(sizeof(Datagram))) continue;
    Datagram datagram;
    std::memcpy(&datagram, buffer.data(), sizeof datagram);
    if (datagram.magic != kMagic) continue;
    datagram.seen_by_echo = ++seen[datagram.run];
    std::memcpy(buffer.data(), &datagram, sizeof datagram);
    // A refused send (no route for a moment) is a loss that the sender counts.
    (void)::sendto(fd, buffer.data(), static_cast<std::size_t>(got), 0, reinterpret_cast<sockaddr*>(&from.storage),
                   from.length);
  }
  ::close(fd);
  return 0;
}

// What `send` measures. Owns nothing; times are of the steady clock.
class Tally {
 public:
  explicit Tally(Clock::time_point start) : start_(start), last_(start) {}

  void sent() {
    answers_.push_back(0);
    times_.emplace_back(Clock::now() - start_, kNever);
  }
  void refused() { ++refused_; }

  void received(const Datagram& datagram) {
    const auto now = Clock::now();
    if (datagram.sequence >= answers_.size()) return;
    if (++answers_[datagram.sequence] > 1)
      ++duplicated_;
    else
      times_[datagram.sequence].answered = now - start_;
    if (datagram.sequence < highest_) ++reordered_;
    highest_ = std::max(highest_, datagram.sequence);
    seen_by_echo_ = std::max(seen_by_echo_, datagram.seen_by_echo);
    ++received_;
    if (now - last_ > gap_) {
      gap_ = now - last_;
      gap_at_ = last_;
    }
    last_ = now;
  }

  void write_times(const std::string& file) const {
    using std::chrono::duration_cast;
    std::ofstream out(file);
    for (const Times& t : times_) {
      const auto answer =
          t.answered == kNever ? -1 : duration_cast<std::chrono::microseconds>(t.answered - t.sent).count();
      out << duration_cast<std::chrono::nanoseconds>(wall_start_.time_since_epoch() + t.sent).count() << ' ' << answer
          << '\n';
    }
  }

  [[nodiscard]] std::size_t count() const { return answers_.size(); }
  [[nodiscard]] bool complete() const { return received_ - duplicated_ == answers_.size(); }

  void print(uint32_t rate) const {
    const auto milliseconds = [](auto span) { return std::chrono::duration<double, std::milli>(span).count(); };
    const uint64_t lost = answers_.size() - (received_ - duplicated_);
    std::string first;
    for (std::size_t at = 0, shown = 0; at < answers_.size() && shown < 20; ++at) {
      if (answers_[at] != 0) continue;
      first += (first.empty() ? "" : ", ") + std::to_string(at);
      ++shown;
    }
    std::println(R"({{"sent": {}, "received": {}, "lost": {}, "lost_there": {}, "duplicated": {}, "reordered": {}, )"
                 R"("refused": {}, "rate": {}, "longest_gap_ms": {:.1f}, "gap_at_ms": {:.1f}, "first_lost": [{}]}})",
                 answers_.size(), received_ - duplicated_, lost,
                 answers_.size() > seen_by_echo_ ? answers_.size() - seen_by_echo_ : 0, duplicated_, reordered_,
                 refused_, rate, milliseconds(gap_), milliseconds(gap_at_ - start_), first);
  }

 private:
  static constexpr Clock::duration kNever{-1};
  struct Times {
    Clock::duration sent;  // since the start
    Clock::duration answered;
  };

  Clock::time_point start_;
  std::chrono::system_clock::time_point wall_start_ = std::chrono::system_clock::now();
  Clock::time_point last_;
  Clock::time_point gap_at_;
  Clock::duration gap_{};
  std::vector<uint8_t> answers_;
  std::vector<Times> times_;
  uint64_t highest_ = 0;
  uint64_t seen_by_echo_ = 0;
  uint64_t received_ = 0;
  uint64_t duplicated_ = 0;
  uint64_t reordered_ = 0;
  uint64_t refused_ = 0;
};

void receive(int fd, uint32_t run, Tally& tally) {
  std::array<std::byte, kMaxDatagram> buffer{};
  for (;;) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0) return;  // EAGAIN, or an ICMP error of an earlier datagram: its loss is counted anyway
    if (got < static_cast<ssize_t>(sizeof(Datagram))) continue;
    Datagram datagram;
    std::memcpy(&datagram, buffer.data(), sizeof datagram);
    if (datagram.magic == kMagic && datagram.run == run) tally.received(datagram);
  }
}

void wait_readable(int fd, Clock::time_point until) {
  const auto left = std::max(Clock::duration::zero(), until - Clock::now());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(left - seconds).count()};
  pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
  ::ppoll(&wanted, 1, &limit, nullptr);
}

int send(const Options& options) {
  const Address to = to_address(options);
  const int fd = open_socket(to);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) fail("connect");
  std::vector<std::byte> packet(options.size);
  const auto run = static_cast<uint32_t>(::getpid()) ^ (static_cast<uint32_t>(options.port) << 16U);
  const auto start = Clock::now();
  const auto end = options.seconds == 0 ? Clock::time_point::max() : start + std::chrono::seconds(options.seconds);
  const Clock::duration step = std::chrono::nanoseconds(1'000'000'000LL / options.rate);
  Tally tally(start);
  auto due = start;
  while (!stop_asked && due < end) {
    for (; due <= Clock::now() && due < end; due += step) {
      const Datagram datagram{.run = run, .sequence = tally.count()};
      std::memcpy(packet.data(), &datagram, sizeof datagram);
      tally.sent();
      if (::send(fd, packet.data(), packet.size(), 0) < 0) tally.refused();
    }
    wait_readable(fd, due);
    receive(fd, run, tally);
  }
  const auto last = Clock::now() + kStragglers;
  while (!tally.complete() && Clock::now() < last) {
    wait_readable(fd, last);
    receive(fd, run, tally);
  }
  ::close(fd);
  tally.print(options.rate);
  if (!options.times.empty()) tally.write_times(options.times);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  struct sigaction action{};
  action.sa_handler = ask_stop;  // no SA_RESTART: a blocked recvfrom ends
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  return options.mode == "echo" ? echo(options) : send(options);
}
