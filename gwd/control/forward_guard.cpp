#include "gwd/control/forward_guard.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <format>
#include <optional>
#include <string_view>

#include "base/fd.hpp"
#include "gwd/control/session_turns.hpp"

extern char** environ;

namespace gw::gwd {
namespace {

constexpr const char* kNft = "/usr/sbin/nft";
constexpr int kTimeoutMs = 5000;

struct Pipe {
  Fd read;
  Fd write;
  static Result<Pipe> make() {
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC) != 0) return fail_errno("pipe");
    return Pipe{Fd(fds[0]), Fd(fds[1])};
  }
};

// What the child printed until it closed its end; nothing if it did not in time.
std::optional<std::string> read_all(const Fd& fd) {
  std::string text;
  std::array<char, 1024> buffer;
  pollfd wait{fd.get(), POLLIN, 0};
  while (poll(&wait, 1, kTimeoutMs) > 0) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got <= 0) return text;
    if (text.size() < 4096) text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return std::nullopt;
}

}  // namespace

namespace {

/// What goes between the circuit and the other ports; a sub-interface of it (eth2.100) is the circuit as well.
std::string render_circuit_forward(const GuardPorts& ports) {
  if (ports.circuit.empty()) return {};
  const std::string transit = std::format(
      "    iifname {{ \"tun*\", \"gw-circuit\" }} oifname {{ \"{0}\", \"{0}.*\" }} accept\n"
      "    iifname {{ \"{0}\", \"{0}.*\" }} oifname \"tun*\" accept\n",
      ports.circuit);
  return std::format(
             "    iifname {{ \"{0}\", \"{0}.*\" }} oifname \"{1}\" accept\n"
             "    iifname \"{1}\" oifname {{ \"{0}\", \"{0}.*\" }} accept\n",
             ports.circuit, ports.vnet) +
         (ports.transit == CircuitTransit::kOpen ? transit : std::string{}) +
         std::format(
             "    iifname {{ \"{0}\", \"{0}.*\" }} counter drop comment \"the circuit: to the VNet only\"\n"
             "    oifname {{ \"{0}\", \"{0}.*\" }} counter drop comment \"to the circuit: from the VNet only\"\n"
             "    iifname \"gw-circuit\" counter drop comment \"out of a tunnel, for the circuit only\"\n",
             ports.circuit);
}

/// "10.0.0.1, 10.0.0.2" of one family.
std::string listed(const std::vector<IpAddress>& addresses, bool v6) {
  std::string out;
  for (const IpAddress& address : addresses)
    if (address.is_v6() == v6) out += std::format("{}{}", out.empty() ? "" : ", ", address);
  return out;
}

/// A site's BGP and BFD come out of its tunnel. Whoever sends them to a tunnel's address in the clear (a spoofed source
/// is enough) could reset a session or tear down BFD, so the wan's are its routers' alone. Both directions of BGP.
std::string render_wan_input(const GuardPorts& ports) {
  std::string out = "  chain wan {\n";
  for (const bool v6 : {false, true})
    if (const std::string routers = listed(ports.wan_routers, v6); !routers.empty())
      out += std::format("    {} saddr {{ {} }} accept\n", v6 ? "ip6" : "ip", routers);
  return out +
         "    tcp dport 179 counter drop comment \"BGP in the clear\"\n"
         "    tcp sport 179 counter drop comment \"BGP in the clear\"\n"
         "    udp dport { 3784, 3785, 4784 } counter drop comment \"BFD in the clear\"\n"
         "  }\n";
}

/// BGP both ways (its answers have no SYN of their own), BFD (RFC 5881 4, RFC 5883 5), ICMP with ping, errors and
/// neighbour discovery.
constexpr std::string_view kCircuitInput =
    "  chain circuit {\n"
    "    meta l4proto { icmp, ipv6-icmp } accept\n"
    "    tcp dport 179 accept\n"
    "    tcp sport 179 tcp flags & (syn | ack) != syn accept\n"
    "    udp dport { 3784, 3785, 4784 } accept\n"
    "    counter drop comment \"the circuit: BGP, BFD and ping only\"\n"
    "  }\n";

/// What comes to the gateway itself, and BGP that it begins. Without connection tracking, which would look at every
/// packet of every port.
std::string render_input_and_output(const GuardPorts& ports) {
  const bool circuit = !ports.circuit.empty();
  return std::format(
      "{0}{1}{2}  chain input {{\n"
      "    type filter hook input priority filter; policy accept;\n"
      "    iifname {{ \"{3}\", \"{3}.*\" }} jump wan\n"
      "{4}{5}"
      "  }}\n"
      "  chain output {{\n"
      "    type filter hook output priority filter; policy accept;\n"
      "{6}"
      "  }}\n",
      render_wan_input(ports), circuit ? kCircuitInput : std::string_view{}, render_turn_chains(), ports.wan,
      circuit ? std::format("    iifname {{ \"{0}\", \"{0}.*\" }} jump circuit\n", ports.circuit) : std::string{},
      render_turn_input(), render_turn_output());
}

}  // namespace

std::string render_forward_guard(const GuardPorts& ports) {
  // "add table; delete table" makes the replacement work whether or not there was one.
  return std::format(
      "add table inet gw_guard\n"
      "delete table inet gw_guard\n"
      "table inet gw_guard {{\n"
      "  chain forward {{\n"
      "    type filter hook forward priority filter; policy accept;\n"
      "{2}"
      "    iifname \"tun*\" oifname {{ \"tun*\", \"{1}\" }} accept\n"
      "    iifname \"{1}\" oifname {{ \"tun*\", \"{1}\" }} accept\n"
      // Decrypted packets of a gso vnet port. What goes the other way is redirected, not forwarded.
      "    iifname \"gw-data\" oifname \"{1}\" accept\n"
      "    iifname {{ \"tun*\", \"gw-data\", \"{1}\", \"{0}\" }} counter drop comment \"not in the clear\"\n"
      "    oifname {{ \"tun*\", \"gw-data\", \"{1}\", \"{0}\" }} counter drop comment \"not around the tunnels\"\n"
      "  }}\n"
      "{3}"
      "}}\n",
      ports.wan, ports.vnet, render_circuit_forward(ports), render_input_and_output(ports));
}

Status install_forward_guard(const GuardPorts& ports) {
  GW_TRY_ASSIGN(Pipe input, Pipe::make());
  GW_TRY_ASSIGN(Pipe output, Pipe::make());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write.get(), STDERR_FILENO);
  std::array<char*, 4> argv{const_cast<char*>(kNft), const_cast<char*>("-f"), const_cast<char*>("-"), nullptr};
  pid_t child = -1;
  const int err = posix_spawn(&child, kNft, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (err != 0) return fail_errno(std::format("cannot run {} (package nftables)", kNft), err);
  input.read.reset();
  output.write.reset();
  const std::string script = render_forward_guard(ports);  // far below a pipe's capacity
  const bool wrote = write(input.write.get(), script.data(), script.size()) == static_cast<ssize_t>(script.size());
  input.write.reset();
  const std::optional<std::string> words = read_all(output.read);
  // It has closed its output (or outstayed its time): it is ending, and a kill changes nothing then.
  const bool late = !words.has_value();
  if (late) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  if (late) return fail(Errc::kTimeout, std::format("{} did not end within {} ms", kNft, kTimeoutMs));
  if (!wrote || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::kIo, std::format("nft refused the forward guard: {}", *words));
  return {};
}

}  // namespace gw::gwd
