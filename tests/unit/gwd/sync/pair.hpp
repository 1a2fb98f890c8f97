// Two instances' certificates and links in one io_context, with a cuttable wire between them, for the I/O tests of the
// sync channel: real TCP over loopback addresses, real TLS. Nothing leaves the machine.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/spawn.hpp"
#include "gwd/sync/link.hpp"

namespace gw::gwd::sync {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;

inline asio::ip::address loopback(const std::string& text) { return asio::ip::make_address(text); }

/// A folder as `gwctl ha init` makes it; gone at the end.
class TlsDir {
 public:
  explicit TlsDir(const std::string& gateway = "hub-east") : gateway_(gateway) {
    std::string name = (std::filesystem::temp_directory_path() / "gw-sync-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    authority_ = pki::make_authority(gateway_, {std::chrono::system_clock::now(), pki::kAuthorityDays}).value();
    write("ca.crt", authority_.certificate);
    for (const char* instance : {"gw-a", "gw-b"}) issue(instance, instance);
  }
  ~TlsDir() { std::filesystem::remove_all(path_); }
  TlsDir(const TlsDir&) = delete;
  TlsDir& operator=(const TlsDir&) = delete;

  std::string path() const { return path_.string(); }
  const pki::KeyPair& authority() const { return authority_; }
  void write(const std::string& name, std::string_view text, mode_t mode = 0600) const {
    const std::string to = (path_ / name).string();
    std::ofstream(to + ".new", std::ios::binary) << text;
    ::chmod((to + ".new").c_str(), mode);
    std::filesystem::rename(to + ".new", to);
  }
  /// A certificate of `name` in the files of `files`.
  void issue(const std::string& name, const std::string& files,
             pki::Validity validity = {std::chrono::system_clock::now(), pki::kInstanceDays}) const {
    const auto pair = pki::issue(authority_, {gateway_, name}, validity).value();
    write(files + ".crt", pair.certificate);
    write(files + ".key", pair.key.text());
  }

 private:
  std::string gateway_;
  std::filesystem::path path_;
  pki::KeyPair authority_;
};

/// A wire in the middle of a path: passes both ways, until it is told otherwise.
class Wire {
 public:
  enum class Mode : std::uint8_t { kPass, kSilent, kCut };
  Wire(asio::io_context& io, const std::string& address, const std::string& to, std::uint16_t port)
      : io_(io), address_(loopback(address)), to_(loopback(to), port), acceptor_(io, Tcp::endpoint(address_, port)) {
    asio::co_spawn(io_, accept_all(), kEndOnException);
  }
  /// kSilent: nothing passes and nobody is told; kCut: connections break, and new ones are not passed on.
  void set(Mode mode) {
    mode_ = mode;
    if (mode == Mode::kCut) close_all();
  }
  /// After so many more bytes towards the answering side, every connection breaks, in the middle of whatever it is.
  void cut_after(std::size_t bytes) { left_ = bytes; }
  void close_all() {
    for (const auto& socket : sockets_) {
      boost::system::error_code ignored;
      socket->close(ignored);
    }
    sockets_.clear();
  }
  std::size_t connections() const { return connections_; }

 private:
  using Socket = std::shared_ptr<Tcp::socket>;
  static constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

  asio::awaitable<void> accept_all() {
    for (;;) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error) co_return;
      if (mode_ == Mode::kCut) continue;
      const auto from = std::make_shared<Tcp::socket>(std::move(socket));
      const auto to = std::make_shared<Tcp::socket>(io_);
      to->open(to_.protocol());
      to->bind({address_, 0});
      const auto [failed] = co_await to->async_connect(to_, kAwait);
      if (failed) continue;
      ++connections_;
      sockets_.push_back(from);
      sockets_.push_back(to);
      asio::co_spawn(io_, pass(from, to, true), kEndOnException);
      asio::co_spawn(io_, pass(to, from, false), kEndOnException);
    }
  }
  asio::awaitable<void> pass(Socket from, Socket to, bool counted) {
    std::array<char, 16384> buffer;
    for (;;) {
      auto [error, bytes] = co_await from->async_read_some(asio::buffer(buffer), kAwait);
      if (error) break;
      if (mode_ == Mode::kSilent) continue;
      const bool last = counted && left_ && *left_ <= bytes;
      if (last) bytes = *left_;
      if (counted && left_) *left_ -= bytes;
      const auto [failed, written] = co_await asio::async_write(*to, asio::buffer(buffer.data(), bytes), kAwait);
      if (last) {
        left_.reset();
        close_all();
      }
      if (failed || last) break;
    }
    boost::system::error_code ignored;
    from->close(ignored);
    to->close(ignored);
  }

  asio::io_context& io_;
  asio::ip::address address_;
  Tcp::endpoint to_;
  Tcp::acceptor acceptor_;
  Mode mode_ = Mode::kPass;
  std::optional<std::size_t> left_;
  std::vector<Socket> sockets_;
  std::size_t connections_ = 0;
};

/// What a Link told its owner.
struct Heard final : LinkListener {
  void on_reset(const PeerInfo& peer) override {
    ++resets;
    incarnation = peer.incarnation;
    messages.clear();
    if (at_reset) at_reset();
  }
  bool on_message(Kind kind, std::string& payload) override {
    if (full) return false;
    messages[kind].push_back(std::move(payload));
    return true;
  }
  void on_heartbeat(PeerHeartbeat heartbeat) override {
    ++heartbeats;
    last = std::move(heartbeat);
  }
  void on_paths(const std::vector<PathState>& states) override { paths = states; }

  std::map<Kind, std::vector<std::string>> messages;
  std::vector<PathState> paths;
  std::function<void()> at_reset;
  PeerHeartbeat last;
  std::uint64_t incarnation = 0;
  int resets = 0;
  int heartbeats = 0;
  bool full = false;
};

/// gw-a answers on 127.77.p.1, gw-b calls from 127.77.p.2, by a wire on 127.77.p.9; p is the path.
struct Pair {
  explicit Pair(std::size_t path_count) : paths(path_count) {
    // A port that is free there may be in use on a wire, by a test that runs beside this one.
    constexpr int kTries = 10;
    for (int tries = 1; !make_wires(); ++tries)
      if (tries == kTries) throw std::runtime_error("no port is free on all addresses of the wires");
    a = make("gw-a");
    b = make("gw-b");
  }
  bool make_wires() {
    Tcp::acceptor probe(io, Tcp::endpoint(loopback("127.77.0.1"), 0));
    port = probe.local_endpoint().port();
    probe.close();
    wires.clear();
    try {
      for (std::size_t p = 0; p < paths; ++p) wires.push_back(std::make_unique<Wire>(io, end(p, 9), end(p, 1), port));
    } catch (const boost::system::system_error&) {
      return false;
    }
    return true;
  }
  ~Pair() {
    if (a) a->stop();
    if (b) b->stop();
    io.run_for(std::chrono::milliseconds(20));
  }

  static std::string end(std::size_t path, int host) { return std::format("127.77.{}.{}", path, host); }

  LinkSettings settings(const std::string& instance) {
    const bool first = instance == "gw-a";
    LinkSettings out;
    out.party = {.gateway = "hub-east",
                 .instance = instance,
                 .number = first ? 0U : 1U,
                 .incarnation = ++incarnations,
                 .release = "test",
                 .peer_instance = first ? "gw-b" : "gw-a",
                 .peer_number = first ? 1U : 0U};
    for (std::size_t p = 0; p < paths; ++p) out.paths.push_back({loopback(end(p, first ? 1 : 2)), loopback(end(p, 9))});
    out.port = port;
    out.tls_dir = tls.path();
    out.heartbeat = std::chrono::milliseconds(20);
    return out;
  }
  std::unique_ptr<Link> make(const std::string& instance) {
    return std::make_unique<Link>(io, clock, settings(instance), instance == "gw-a" ? at_a : at_b);
  }
  void start() {
    a->start();
    b->start();
  }

  /// Runs until `done`; false after 20 s.
  bool until(const std::function<bool()>& done, std::chrono::seconds longest = std::chrono::seconds(20)) {
    const auto deadline = std::chrono::steady_clock::now() + longest;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      io.run_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  bool connected() {
    return until([&] { return all_up(at_a) && all_up(at_b); });
  }
  bool all_up(const Heard& heard) const {
    return heard.resets > 0 && heard.paths.size() == paths && std::ranges::all_of(heard.paths, &PathState::connected);
  }

  asio::io_context io{1};
  SystemClock clock;
  TlsDir tls;
  std::size_t paths;
  std::uint16_t port = 0;
  std::uint64_t incarnations = 0;
  std::vector<std::unique_ptr<Wire>> wires;
  Heard at_a;
  Heard at_b;
  std::unique_ptr<Link> a;
  std::unique_ptr<Link> b;
};

}  // namespace gw::gwd::sync
